"""Trains the demo's model on January and February, on the columns that serving will have. Seeded and repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from penstock.models.encoding import encode_inputs
from penstock.models.signature import FIRST_INDEX, Signature, TensorInput
from penstock.schemas.columns import Columns
from penstock.streams.demo.network import DelayNetwork

MODEL = "delay"
FACTORY = "penstock.streams.demo.network:DelayNetwork"
TRAINING_MONTHS = (1, 2)
SEED = 2013

# The numeric features that a model may take.
SCHEDULE = ("hour", "duration", "distance")
PLANE = ("plane_year", "plane_seats", "plane_engines")
TRAILING_DELAYS = ("origin_delay", "carrier_delay")
RAIN_AND_SIGHT = ("precipitation", "visibility")
WEATHER = (
    "temperature", "dew_point", "humidity", "wind_direction", "wind_speed", "wind_gust", "precipitation", "pressure",
    "visibility",
)  # fmt: skip
CATEGORIES = ("carrier", "origin", "dest", "weekday")

CHAMPION = (*SCHEDULE, *PLANE, *TRAILING_DELAYS, *RAIN_AND_SIGHT)
CANDIDATE = (*SCHEDULE, *PLANE, *TRAILING_DELAYS, *WEATHER)
"""With all the weather: better in March, which is like winter; worse in July, when temperatures are new to it."""

_EPOCHS = 3
_BATCH_ROWS = 512
_LEARNING_RATE = 3e-3


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode, what it takes, and the arguments that its factory needs to build it again."""

    network: DelayNetwork
    signature: Signature
    arguments: dict[str, Any]

    def scores(self, columns: Columns) -> NDArray[np.float32]:
        """Probabilities of late arrival, [rows]."""
        with torch.inference_mode():
            found: NDArray[np.float32] = self.network(**_tensors(self.signature, columns)).numpy()
        return found


def train(columns: Columns, late: NDArray[np.float32], *, numbers: tuple[str, ...] = CHAMPION) -> Trained:
    """Fit a DelayNetwork.

    columns  the training flights, [rows]
    late     [rows] 1 or 0; rows with NaN (no label) are left out
    numbers  the numeric features that it takes, beside CATEGORIES
    """
    labelled = np.flatnonzero(~np.isnan(late))
    columns = columns.take(labelled)
    signature = Signature(
        inputs=(TensorInput("numbers", numbers), TensorInput("categories", CATEGORIES, dtype="int64")),
        vocabularies=vocabularies(columns, CATEGORIES),
    )
    cardinalities = [len(signature.vocabularies[name]) + FIRST_INDEX for name in CATEGORIES]
    arguments: dict[str, Any] = {"numbers": len(numbers), "cardinalities": cardinalities}
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = DelayNetwork(**arguments)
        _fit(network, _tensors(signature, columns), torch.from_numpy(late[labelled]))
    return Trained(network, signature, arguments)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums come in the same order everywhere, and small batches gain nothing from more threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def vocabularies(columns: Columns, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The values of each category that occur, sorted."""
    found = {}
    for name in names:
        column = columns.categories[columns.layout.categories.index(name)]
        present = np.unique(column.codes[column.codes >= 0])
        found[name] = tuple(sorted(column.values[code] for code in present))
    return found


def _fit(network: DelayNetwork, inputs: dict[str, torch.Tensor], late: torch.Tensor) -> None:
    """One cycle of AdamW on the binary cross-entropy."""
    numbers, categories = inputs["numbers"], inputs["categories"]
    network.fit_scaling(numbers)
    steps = _EPOCHS * -(-len(late) // _BATCH_ROWS)
    optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    loss = nn.BCEWithLogitsLoss()
    network.train()
    for _ in range(_EPOCHS):
        order = torch.randperm(len(late))
        for start in range(0, len(late), _BATCH_ROWS):
            rows = order[start : start + _BATCH_ROWS]
            optimizer.zero_grad()
            loss(network.logits(numbers[rows], categories[rows]), late[rows]).backward()
            optimizer.step()
            schedule.step()
    network.eval()


def _tensors(signature: Signature, columns: Columns) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in encode_inputs(signature, columns).items()}
