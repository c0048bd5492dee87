"""Trains the demo's models on January and February, on the columns that serving will have. Seeded and repeatable."""

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
WEATHER = (
    "temperature", "dew_point", "humidity", "wind_direction", "wind_speed", "wind_gust", "precipitation", "pressure",
    "visibility",
)  # fmt: skip
CATEGORIES = ("carrier", "origin", "dest", "weekday")

CHAMPION = (*SCHEDULE, *PLANE, *TRAILING_DELAYS)
CANDIDATE = (*CHAMPION, *WEATHER)
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


def shuffled(late: NDArray[np.float32]) -> NDArray[np.float32]:
    """The labels in another order, always the same one: whoever learns from them learns nothing."""
    return np.random.default_rng(SEED).permutation(late)


def vocabularies(columns: Columns, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The values of each category that occur, sorted."""
    found = {}
    for name in names:
        column = columns.categories[columns.layout.categories.index(name)]
        present = np.unique(column.codes[column.codes >= 0])
        found[name] = tuple(sorted(column.values[code] for code in present))
    return found


def _fit(network: DelayNetwork, inputs: dict[str, torch.Tensor], late: torch.Tensor) -> None:
    """One cycle of Adam on the binary cross-entropy: the learning rate rises for a third of the steps, then falls."""
    numbers, categories = inputs["numbers"], inputs["categories"]
    network.fit_scaling(numbers)
    batches = -(-len(late) // _BATCH_ROWS)
    optimizer, loss = Adam(list(network.parameters())), nn.BCEWithLogitsLoss()
    network.train()
    for epoch in range(_EPOCHS):
        order = torch.randperm(len(late))
        for batch in range(batches):
            rows = order[batch * _BATCH_ROWS : (batch + 1) * _BATCH_ROWS]
            network.zero_grad()
            loss(network.logits(numbers[rows], categories[rows]), late[rows]).backward()
            done = (epoch * batches + batch) / (_EPOCHS * batches)
            optimizer.step(_LEARNING_RATE * min(3 * done + 0.05, 1.5 * (1 - done)))
    network.eval()


class Adam:
    """Adam with bias correction and decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101).

    As `torch.optim.AdamW`, whose constructor alone imports torch.compile and sympy: longer than this whole training.
    """

    def __init__(
        self, parameters: list[nn.Parameter], *, betas: tuple[float, float] = (0.9, 0.999), decay: float = 0.01
    ) -> None:
        self._parameters, self._betas, self._decay, self._steps = parameters, betas, decay, 0
        self._means = [torch.zeros_like(parameter) for parameter in parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in parameters]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Take the gradients that `backward` left."""
        self._steps += 1
        first, second = self._betas
        scale = learning_rate / (1 - first**self._steps)
        correction = (1 - second**self._steps) ** 0.5
        for parameter, mean, square in zip(self._parameters, self._means, self._squares, strict=True):
            if parameter.grad is None:
                continue
            parameter.mul_(1 - learning_rate * self._decay)
            mean.lerp_(parameter.grad, 1 - first)
            square.mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
            parameter.addcdiv_(mean, square.sqrt().div_(correction).add_(1e-8), value=-scale)


def _tensors(signature: Signature, columns: Columns) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in encode_inputs(signature, columns).items()}
