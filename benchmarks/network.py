"""The network that every contender scores with: an MLP 16-64-64-1 with a sigmoid, its weights from a fixed seed."""

from __future__ import annotations

import threading
import time
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


SLEEP_S = 5.0


class Sleeping(nn.Module):
    """The same, but that a shadow worker waits for it: `SLEEP_S` for every call, once it is asked about the stream.

    Its checks at loading, dozens of calls, it passes at once: they run in another thread than the one for candidates.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = mlp()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if threading.current_thread().name.startswith("candidates"):
            time.sleep(SLEEP_S)
        scores: torch.Tensor = self.network(input)
        return scores


def seeded() -> nn.Module:
    torch.manual_seed(SEED)
    return mlp().eval()


def write_weights(path: Path) -> None:
    save_file(seeded().state_dict(), path)
