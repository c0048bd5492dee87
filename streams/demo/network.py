"""The demo's network: embeddings of what has a name, beside numbers that it scales and imputes itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CLIP = 5.0
"""Scaled numbers stay within ± this many standard deviations: one broken sensor moves a score, but not to the moon."""


class DelayNetwork(nn.Module):
    """Probability that a flight arrives late.

    Scaling and imputation are buffers, so they travel with the weights and are the same in training and in serving: a
    missing number counts as the training mean, and says so in a flag of its own where training saw it missing.

    numbers       how many numeric features
    cardinalities of each category, its two indices for missing and unknown included
    """

    mean: Tensor
    scale: Tensor
    flagged: Tensor

    def __init__(self, numbers: int, cardinalities: Sequence[int], hidden: int = 64) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("scale", torch.ones(numbers))
        self.register_buffer("flagged", torch.zeros(numbers))
        self.embeddings = nn.ModuleList(nn.Embedding(size, min(8, (size + 1) // 2)) for size in cardinalities)
        width = 2 * numbers + sum(embedding.weight.shape[1] for embedding in self._tables())
        self.layers = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, hidden // 2), nn.ReLU(),
            nn.Linear(hidden // 2, 1),
        )  # fmt: skip
        with torch.no_grad():
            for embedding in self._tables():
                embedding.weight.normal_(0.0, 0.1)
                embedding.weight[:2] = 0.0  # what training never saw stays neutral

    def fit_scaling(self, numbers: Tensor) -> None:
        """Take means, spreads and what is ever missing from training data, [rows, numbers] float32 with NaN."""
        missing = torch.isnan(numbers)
        self.mean.copy_(torch.nan_to_num(torch.nanmean(numbers, 0)))
        spread = torch.nan_to_num(torch.nanmean((numbers - self.mean) ** 2, 0)).sqrt()
        self.scale.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))
        self.flagged.copy_(missing.float().mean(0) > 0.001)

    def logits(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Log odds, [rows]."""
        missing = torch.isnan(numbers)
        scaled = ((numbers - self.mean) / self.scale).clamp(-CLIP, CLIP).masked_fill(missing, 0.0)
        embedded = [table(categories[:, column]) for column, table in enumerate(self._tables())]
        found: Tensor = self.layers(torch.cat([scaled, missing * self.flagged, *embedded], 1))
        return found[:, 0]

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """From [rows, numbers] float32 with NaN and [rows, categories] int64 to probabilities, [rows]."""
        return torch.sigmoid(self.logits(numbers, categories))

    def _tables(self) -> list[nn.Embedding]:
        return [module for module in self.embeddings if isinstance(module, nn.Embedding)]
