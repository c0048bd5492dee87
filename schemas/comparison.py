"""Comparisons: the mergeable statistics of rows that champion and candidate both scored, and the cells of the gates.

As everywhere, what is summed is an integer, so that merging is exact, associative and commutative, and equals one pass
over the rows, bit by bit: live shadow and replay come to the same bytes.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.schemas.quality_sums import QualitySums

Pair = tuple[str, str]
"""Candidate and served model, both NAME@VERSION. Rows that another variant than the champion answered are in none."""

PairGroup = tuple[int, str, str, str]
"""Start of a time bucket (Unix ms of event time), candidate, served model, slice: "" is every row."""

CellGroup = tuple[int, str, str, str]
"""Start of a time bucket; candidate and served model (paired), or variant and model (each its own rows); and slice: ""
is every row, the others are those of the rollout plan."""


class CellSums(msgspec.Struct, frozen=True):
    """Rows with an outcome and their loss, by group of keys: what a gate needs of a time bucket.

    rows    [64] int64, by the group of the key (`penstock.schemas.keys.group_of`)
    losses  [64, 2] int64: wholes and 2^-32 fractions of the sum of the losses; paired: of the candidate's loss minus
            the served model's
    """

    rows: NDArray[np.int64]
    losses: NDArray[np.int64]


class PairSums(msgspec.Struct, frozen=True):
    """Of rows that both scored, whether or not their outcome is known.

    rows          that the candidate was asked about
    non_finite    of those, for which it gave NaN or an infinity, or failed; they are in none of the sums below
    agreed        both decide alike: on the same side of the threshold, or for the same class; regression: not counted
    yes           both decide yes, and
    candidate_yes the candidate decides yes
    difference    Σ (candidate - served), fixed point, and
    absolute      Σ |candidate - served|
    differences   [slots] int64: histogram of candidate - served
    ranks         [32, 32] int64: joint histogram of the scores (served, candidate), for the rank correlation
    """

    rows: int
    non_finite: int
    agreed: int
    yes: int
    candidate_yes: int
    difference: int
    absolute: int
    differences: NDArray[np.int64]
    ranks: NDArray[np.int64]


class LabelledPair(msgspec.Struct, frozen=True):
    """The quality of both on the same rows with a known outcome."""

    served: QualitySums
    candidate: QualitySums


class ComparisonSummary(msgspec.Struct, frozen=True):
    """The comparison of one segment's paired rows, or of a part of one.

    It comes twice: at once, with `pairs`; and at maturity, with `labelled` and `cells`, and no pairs.

    segment, part, complete, first_offset, last_offset, event_times, watermark   as in
        `penstock.schemas.summaries.Summary`; the watermark is that of the reading, first or second
    mature     which of the two it is
    pairs      by bucket, candidate, served model and slice
    labelled   the same
    cells      by bucket, candidate, served model and slice
    latencies  model → rows and microseconds of its calls: the only figures that a replay need not repeat
    """

    partition: int
    segment: int
    part: int
    complete: bool
    first_offset: int
    last_offset: int
    event_times: tuple[int, int]
    watermark: int
    mature: bool
    pairs: dict[PairGroup, PairSums]
    labelled: dict[PairGroup, LabelledPair]
    cells: dict[CellGroup, CellSums]
    latencies: dict[str, tuple[int, int]]
