"""From columns to scores: the protocol that every runtime keeps. torch lives in `penstock.models.torch_runtime`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from penstock.schemas.columns import Columns, Floats
from penstock.schemas.records import ModelRef


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model says of a window.

    score   [rows] float32: the probability of the positive class, or the predicted value; for several classes that of
            the most probable one
    scores  [rows, outputs] float32 where the model has more than one output, else None
    finite  [rows] bool: False where any output is NaN or infinite; such a row is never published
    """

    score: Floats
    scores: Floats | None
    finite: NDArray[np.bool_]


class Runtime(Protocol):
    """A loaded model. `score` blocks; any one thread at a time may call it. It releases the GIL where it can."""

    @property
    def model(self) -> ModelRef: ...

    @property
    def features(self) -> tuple[str, ...]:
        """Those of the catalogue that the model reads."""
        ...

    @property
    def description(self) -> str:
        """Runtime, version and processor, for the scored log: scores are equal bit by bit only where this is equal."""
        ...

    @property
    def bit_stable(self) -> bool:
        """Whether the self-test at start found that a row's score does not depend on the window it is in."""
        ...

    def score(self, columns: Columns) -> Scores: ...

    def check(self) -> None:
        """Score the golden rows of its package: raises when it fails on them, too, or gives other outputs."""
        ...

    def close(self) -> None: ...
