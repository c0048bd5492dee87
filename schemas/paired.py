"""Shadow scores: rows of the scored log with what candidates say about them, as they travel on `shadow-scores`.

One record per record of the scored log, in the same partition and order. It repeats what was served, so that whoever
compares needs no second look at the log.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.schemas.columns import Category, Columns, Floats


@dataclass(slots=True)
class CandidateScores:
    """What one candidate says about the rows of a block.

    model    NAME@VERSION
    sampled  [rows] bool: rows that it was asked about; what stands in the others has no meaning
    score    [rows] float32; NaN or infinite where the model gave that, or failed
    scores   [rows, outputs] float32 where the model has several outputs, else None
    took_us  microseconds of the model's calls, shared out by rows
    runtime  what computed the scores
    """

    model: str
    sampled: NDArray[np.bool_]
    score: Floats
    scores: Floats | None
    took_us: int
    runtime: str


@dataclass(slots=True)
class PairedBlock:
    """Rows of one record of the scored log that at least one candidate was asked about, in ascending order of offset.

    partition   of the events topic
    record      offset of the record in the scored log
    offsets     [rows] int64, in the events topic
    ids         [rows] uint64: `hash_keys` of the events' ids; labels are joined by them
    keys        [rows] uint64: hash of what routing used (`penstock.schemas.keys.routing_keys`)
    event_times [rows] int64 Unix ms
    timestamps  [rows] int64 Unix ms, the broker's
    slices      the features by which quality is told apart, and no others
    variants    [rows] which share of the traffic answered, and
    models      [rows] with which model, NAME@VERSION
    score       [rows] float32: what was served
    scores      [rows, outputs] float32, or None
    took_us     of the served model's calls, shared out by rows; None where the log does not say
    runtime     what computed the served scores
    candidates  in the order of the control record
    """

    partition: int
    record: int
    offsets: NDArray[np.int64]
    ids: NDArray[np.uint64]
    keys: NDArray[np.uint64]
    event_times: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    slices: Columns
    variants: Category
    models: Category
    score: Floats
    scores: Floats | None
    took_us: int | None
    runtime: str
    candidates: tuple[CandidateScores, ...]

    @property
    def rows(self) -> int:
        return len(self.offsets)
