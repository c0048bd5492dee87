"""Summaries: the mergeable statistics of a segment, and their wire form.

A segment is a fixed run of one source partition's offsets, so its statistics depend on the data alone. What is summed
is an integer (counts, and sums in fixed point), so that merging is exact, associative and commutative: a summary of two
runs of rows equals the merge of their summaries, bit by bit.

A signal is one thing that is watched, under a name that says what it is:

| name | what its slots count |
|---|---|
| feature:NAME | a feature's values: the reference profile's bins or categories; a vector by its Euclidean norm |
| age:NAME | seconds between writing and event of a looked-up feature, log bins |
| length:NAME | characters of a category's strings, log bins |
| size | bytes of an event, log bins |
| lag | ms from the event's time to its broker timestamp, log bins |
| score:VARIANT | a variant's scores: the reference profile's bins |
| class:VARIANT | the most probable output of a variant with several outputs, one slot each |
| distance | Mahalanobis distance of a row's numbers from the reference: joint drift |
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

FIXED_POINT = 2**32
"""Sums of fractions are integers in units of 1/FIXED_POINT."""

Scale = Literal["bins", "categories", "log"]


class Signal(msgspec.Struct, frozen=True):
    """How the values of one signal fall into slots.

    scale       bins: as `penstock.schemas.profile` lays out 36 slots over `edges`; log: the same 36 slots over fixed
                edges, `LOG_EDGES`; categories: one slot per value, then any other, then missing
    edges       [E ≤ 32] float64, of bins
    values      of categories
    centre, spread   what moments are standardised with before they are summed: z = (x - centre) / spread
    range       the catalogue's allowed range: values outside are counted
    season      coefficients of the seasonal shift of the edges (`penstock.schemas.seasons`), or empty
    sensitive   no value of it may stand in a sample, a log, an alert or a report
    """

    name: str
    scale: Scale
    edges: NDArray[np.float64]
    values: tuple[str, ...] = ()
    centre: float = 0.0
    spread: float = 1.0
    range: tuple[float, float] | None = None
    season: NDArray[np.float64] | None = None
    sensitive: bool = False


class SignalCounts(msgspec.Struct, frozen=True):
    """One signal's statistics of a run of rows.

    slots         [36], or [values + 2] for categories: int64 rows per slot
    finite        rows whose value is a finite number (categories: 0)
    sum_z, sum_z2 of the finite values' z, clipped to ±16: fixed point
    lowest, highest   of the finite values; +inf, -inf where there is none
    out_of_range  rows outside the catalogue's range
    defaulted     rows where the value was missing, stale or malformed and the catalogue's default stands in
    """

    slots: NDArray[np.int64]
    finite: int = 0
    sum_z: int = 0
    sum_z2: int = 0
    lowest: float = float("inf")
    highest: float = float("-inf")
    out_of_range: int = 0
    defaulted: int = 0


class Evidence(msgspec.Struct, frozen=True):
    """A few rows of the segment, drawn by a hash of their offsets so that the draw depends on the data alone.

    Sensitive features are left out.
    """

    offsets: list[int]
    ids: list[str]
    values: dict[str, list[float | str | None]]
    scores: list[float]


class Summary(msgspec.Struct, frozen=True):
    """Statistics of the scored rows of one segment, or of a part of one that a quiet partition left open.

    segment         source offset // segment_rows
    part            0, 1, …: the parts of a segment in order; most segments have one
    complete        no further part of this segment will come
    first_offset, last_offset   source offsets, both inside
    rows            scored rows: offsets also hold dead letters and transaction markers
    reference       NAME@VERSION of the model whose profile gave the bins
    signals         name → counts; a signal that saw no row is left out
    event_times     first and last, Unix ms
    timestamps      the broker's, first and last, Unix ms
    watermark       of the partition after these rows: no row is expected to be older, Unix ms
    late_rows       rows older than the watermark was before them
    bad_time        rows dated too far in the future; they move no watermark
    served          (variant, NAME@VERSION, routing revision) → rows
    """

    partition: int
    segment: int
    part: int
    complete: bool
    first_offset: int
    last_offset: int
    rows: int
    reference: str
    signals: dict[str, SignalCounts]
    event_times: tuple[int, int]
    timestamps: tuple[int, int]
    watermark: int
    late_rows: int
    bad_time: int
    served: dict[tuple[str, str, int], int]
    evidence: Evidence | None = None
