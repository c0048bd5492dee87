"""Candidates that need no package: what they say can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from penstock.models.runtime import Scores
from penstock.schemas.columns import Columns
from penstock.schemas.records import ModelRef

CANDIDATE = ModelRef("delay", 5)


@dataclass
class Multiplying:
    """The score is `factor` times the float feature `of`; it fails on what `fails` says, and may have more outputs."""

    model: ModelRef = CANDIDATE
    of: str = "distance"
    factor: float = 2.0
    outputs: int = 0
    fails: Callable[[float], bool] = lambda x: False
    description: str = "by hand"
    bit_stable: bool = True
    closed: bool = False
    rows: list[int] = field(default_factory=list)
    """Of each call."""

    @property
    def features(self) -> tuple[str, ...]:
        return (self.of,)

    def score(self, columns: Columns) -> Scores:
        self.rows.append(columns.rows)
        x = columns.floats[:, columns.layout.floats.index(self.of)] if columns.rows else np.empty(0, np.float32)
        if any(map(self.fails, x.tolist())):
            raise ValueError("this one is too hard")
        score = (x * np.float32(self.factor)).astype(np.float32)
        several = np.repeat(score[:, None], self.outputs, axis=1) if self.outputs else None
        return Scores(score, several, np.isfinite(score))

    def check(self) -> None: ...

    def close(self) -> None:
        self.closed = True
