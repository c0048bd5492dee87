"""The network that every contender scores with: an MLP 16-64-64-1 with a sigmoid, its weights from a fixed seed."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

SEED = 2013
INPUTS = 16


def mlp(width: int = 64) -> nn.Module:
    """Untrained: the factory that Penstock's model package names."""
    return nn.Sequential(
        nn.Linear(INPUTS, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 1),
        nn.Sigmoid(),
    )


def seeded() -> nn.Module:
    torch.manual_seed(SEED)
    return mlp().eval()


def write_weights(path: Path) -> None:
    save_file(seeded().state_dict(), path)
