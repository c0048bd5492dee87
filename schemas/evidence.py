"""A few rows of a segment that an alert can show: drawn by a hash of their offsets, so that the draw is the data's."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

EVIDENCE_ROWS = 5


class Evidence(msgspec.Struct, frozen=True):
    """A few rows of the segment, drawn by a hash of their offsets so that the draw depends on the data alone.

    Sensitive features are left out.
    """

    offsets: list[int]
    ids: list[str]
    values: dict[str, list[float | str | None]]
    scores: list[float]


def draw(offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The draw that decides which rows become evidence: the smallest numbers win, [rows].

    splitmix64 (Steele, Lea and Flood 2014): a bijection, so no two offsets of a partition tie.

    >>> draw(np.arange(8)).argsort().tolist()
    [3, 5, 7, 4, 1, 2, 6, 0]
    """
    mixed = offsets.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def check_evidence(evidence: Evidence) -> None:
    """Raises ValueError where it cannot be of so many rows: then it could not be merged."""
    rows = len(evidence.offsets)
    if {len(evidence.ids), len(evidence.scores), *map(len, evidence.values.values())} != {rows}:
        raise ValueError("the rows of its evidence do not fit each other")
    if any(not -(2**63) <= offset < 2**63 for offset in evidence.offsets):
        raise ValueError("an offset of its evidence outgrows 64 bits")


def merge_evidence(a: Evidence | None, b: Evidence | None) -> Evidence | None:
    """The rows that would have been drawn from the rows of both."""
    if a is None or b is None:
        return a or b
    offsets, ids = [*a.offsets, *b.offsets], [*a.ids, *b.ids]
    order = draw(np.array(offsets, np.int64)).tolist()
    kept = sorted(range(len(offsets)), key=lambda row: (order[row], ids[row]))[:EVIDENCE_ROWS]
    absent_a: list[float | str | None] = [None] * len(a.offsets)
    absent_b: list[float | str | None] = [None] * len(b.offsets)
    joined = {name: [*a.values.get(name, absent_a), *b.values.get(name, absent_b)] for name in {**a.values, **b.values}}
    scores = [*a.scores, *b.scores]
    return Evidence(
        offsets=[offsets[row] for row in kept],
        ids=[ids[row] for row in kept],
        values={name: [values[row] for row in kept] for name, values in joined.items()},
        scores=[scores[row] for row in kept],
    )
