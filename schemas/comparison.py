"""Comparisons: the mergeable statistics of rows that champion and candidate both scored, and the cells of the gates.

As everywhere, what is summed is an integer, so that merging is exact, associative and commutative, and equals one pass
over the rows, bit by bit: live shadow and replay come to the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.schemas.quality_sums import BIN_EDGES, QualitySums, merge_sums
from penstock.schemas.summaries import FIXED_POINT, hull

_FRACTION = FIXED_POINT.bit_length() - 1

_UP = 10.0 ** (np.arange(-48, 49) / 8)
DIFFERENCE_EDGES = np.concatenate((-_UP[::-1], _UP))
"""[194] edges of the histogram of differences, of either sign: eight bins a decade from 1e-6 to 1e6."""

RANKS = 32
_STEPS = 10.0 ** np.arange(-1.5, 6.0, 0.5)
PROBABILITY_EDGES = BIN_EDGES[1::2]
"""[31] edges of the joint histogram where scores are probabilities, and"""
VALUE_EDGES = np.concatenate((-_STEPS[::-1], [0.0], _STEPS))
"""[31] where they are values: half a decade a bin. Their ranks are coarse."""

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
            the served model's. Fractions are in [0, 2^32), so that equal sums are equal arrays
    """

    rows: NDArray[np.int64]
    losses: NDArray[np.int64]


class PairSums(msgspec.Struct, frozen=True):
    """Of rows that both scored, whether or not their outcome is known; the served score is finite.

    rows          that the candidate was asked about
    non_finite    of those, for which it gave NaN or an infinity, or failed; they are in none of the sums below
    agreed        both decide alike: on the same side of the threshold, or for the same class; regression: not counted
    yes           both decide yes, and
    candidate_yes the candidate decides yes
    difference    Σ (candidate - served), fixed point, and
    absolute      Σ |candidate - served|
    differences   [195] int64: histogram of candidate - served over `DIFFERENCE_EDGES`; [k-1] ≤ slot k < [k]
    ranks         [32, 32] int64: joint histogram of the scores (served, candidate) over `PROBABILITY_EDGES` or
                  `VALUE_EDGES`, for the rank correlation
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


_Key = TypeVar("_Key")
_Sums = TypeVar("_Sums")


def merge_pair_sums(a: PairSums, b: PairSums) -> PairSums:
    """The sums over the rows of both."""
    return PairSums(
        a.rows + b.rows,
        a.non_finite + b.non_finite,
        a.agreed + b.agreed,
        a.yes + b.yes,
        a.candidate_yes + b.candidate_yes,
        a.difference + b.difference,
        a.absolute + b.absolute,
        a.differences + b.differences,
        a.ranks + b.ranks,
    )


def merge_labelled(a: LabelledPair, b: LabelledPair) -> LabelledPair:
    """The sums over the rows of both."""
    return LabelledPair(merge_sums(a.served, b.served), merge_sums(a.candidate, b.candidate))


def merge_cell_sums(a: CellSums, b: CellSums) -> CellSums:
    """The sums over the rows of both."""
    return CellSums(a.rows + b.rows, carried(a.losses + b.losses))


def carried(halves: NDArray[np.int64]) -> NDArray[np.int64]:
    """Wholes and fractions, [..., 2], with the fractions' wholes carried over.

    >>> carried(np.array([[-1, 3 * FIXED_POINT + 5]])).tolist()
    [[2, 5]]
    """
    wholes, fractions = halves[..., 0], halves[..., 1]
    return np.stack((wholes + (fractions >> _FRACTION), fractions & (FIXED_POINT - 1)), axis=-1)


def merge_by(
    merge: Callable[[_Sums, _Sums], _Sums], a: Mapping[_Key, _Sums], b: Mapping[_Key, _Sums]
) -> dict[_Key, _Sums]:
    """Both mappings; what stands in both is merged.

    >>> merge_by(int.__add__, {"JFK": 1, "LGA": 2}, {"LGA": 3})
    {'JFK': 1, 'LGA': 5}
    """
    merged = {**a, **b}
    for key in a.keys() & b.keys():
        merged[key] = merge(a[key], b[key])
    return merged


def merge_comparison(a: ComparisonSummary, b: ComparisonSummary) -> ComparisonSummary:
    """The comparison of the rows of both: of the parts of one segment, or of several, where the lowest numbers stay.

    Merged with what came at maturity, what came at once keeps both: `mature` says that labels are in it.
    """
    return ComparisonSummary(
        partition=min(a.partition, b.partition),
        segment=min(a.segment, b.segment),
        part=min(a.part, b.part),
        complete=a.complete or b.complete,
        first_offset=min(a.first_offset, b.first_offset),
        last_offset=max(a.last_offset, b.last_offset),
        event_times=hull([a.event_times, b.event_times]),
        watermark=max(a.watermark, b.watermark),
        mature=a.mature or b.mature,
        pairs=merge_by(merge_pair_sums, a.pairs, b.pairs),
        labelled=merge_by(merge_labelled, a.labelled, b.labelled),
        cells=merge_by(merge_cell_sums, a.cells, b.cells),
        latencies=merge_by(_added, a.latencies, b.latencies),
    )


def _added(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return a[0] + b[0], a[1] + b[1]
