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
| distance | squared Mahalanobis distance of a row's numbers from the reference: joint drift |

On the wire a summary is a MessagePack map, so that a later version may add fields; a reader ignores those that it does
not know. Counts are arrays in the order of `SignalCounts`, and slots the smallest unsigned integers that hold them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.schemas.errors import PenstockError
from penstock.schemas.evidence import Evidence, check_evidence, merge_evidence
from penstock.schemas.records import CHECKSUM_HEADER, SCHEMA_HEADER

SUMMARY_SCHEMA = (SCHEMA_HEADER, b"summary/1")

FIXED_POINT = 2**32
"""Sums of fractions are integers in units of 1/FIXED_POINT."""

CLIP = 16.0
"""Standardised values are clipped to ±CLIP before they are summed: one outlier must not drown its segment."""

_STEPS = [step * 10.0**power for power in range(9) for step in (1.0, 3.0)]
LOG_EDGES = np.array([-1e9, -1e6, -1e4, -1e3, -1e2, -1e1, -1.0, -0.01, 0.0, 0.01, 0.03, 0.1, 0.3, *_STEPS, 1e9])
"""[32] the edges of numbers without a reference, of either sign: half a decade a bin above zero, wider ones below."""

NO_WATERMARK = -(2**62)
"""The watermark of a partition of which no row was seen."""

_WIDTHS = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}

Scale = Literal["bins", "categories", "log"]


class Signal(msgspec.Struct, frozen=True):
    """How the values of one signal fall into slots.

    scale       bins: as `penstock.schemas.profile` lays out 36 slots over `edges`; log: the same 36 slots over fixed
                edges, `LOG_EDGES`; categories: one slot per value, then any other, then missing
    edges       [E ≤ 32] float64, of bins
    values      of categories
    centre, spread   what moments are standardised with before they are summed: z = (x - centre) / spread
    range       the catalogue's allowed range: rows with a value, or a component, outside are counted
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


Served = dict[tuple[str, str, int], int]
"""(variant, NAME@VERSION, routing revision) → rows."""


class SignalCounts(msgspec.Struct, frozen=True):
    """One signal's statistics of a run of rows.

    slots         [36], or [values + 2] for categories: int64 rows per slot
    finite        rows whose value is a finite number (categories: 0)
    sum_z, sum_z2 of the finite values' z, clipped to ±16: fixed point
    lowest, highest   of the finite values; +inf, -inf where there is none, or the signal is sensitive
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


class Summary(msgspec.Struct, frozen=True):
    """Statistics of the scored rows of one segment, or of a part of one that a quiet partition left open.

    segment         source offset // segment_rows
    part            0, 1, …: the parts of a segment in order; most segments have one
    complete        no further part of this segment will come
    first_offset, last_offset   source offsets, both inside
    rows            scored rows: offsets also hold dead letters and transaction markers
    reference       NAME@VERSION of the model whose profile gave the bins
    signals         name → counts; a signal that saw no row is left out
    event_times     first and last, Unix ms; a row dated too far in the future stands at its broker timestamp instead
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
    served: Served
    evidence: Evidence | None = None


def merge_counts(a: SignalCounts, b: SignalCounts) -> SignalCounts:
    """The statistics of the rows of both. Raises ValueError when the two count other slots.

    >>> left = SignalCounts(np.array([2, 0]), finite=2, lowest=1.0, highest=3.0)
    >>> both = merge_counts(left, SignalCounts(np.array([0, 1]), finite=1, lowest=7.0, highest=7.0))
    >>> both.slots.tolist(), both.finite, both.lowest, both.highest
    ([2, 1], 3, 1.0, 7.0)
    """
    if a.slots.shape != b.slots.shape:
        raise ValueError(f"counts of {len(a.slots)} and of {len(b.slots)} slots are not of one signal")
    return SignalCounts(
        slots=a.slots + b.slots,
        finite=a.finite + b.finite,
        sum_z=a.sum_z + b.sum_z,
        sum_z2=a.sum_z2 + b.sum_z2,
        lowest=min(a.lowest, b.lowest),
        highest=max(a.highest, b.highest),
        out_of_range=a.out_of_range + b.out_of_range,
        defaulted=a.defaulted + b.defaulted,
    )


def merge(a: Summary, b: Summary) -> Summary:
    """The summary of the rows of both: exact, associative and commutative. One without rows changes no more than
    `complete` and the watermark.

    Parts of one segment give the segment's summary. Of summaries of several segments or partitions the lowest numbers
    stay. Raises ValueError when the two were counted against different references.
    """
    if a.reference != b.reference:
        raise ValueError(f"summaries against {a.reference} and against {b.reference} have different bins")
    with_rows = [one for one in (a, b) if one.rows] or [a, b]
    return Summary(
        partition=min(a.partition, b.partition),
        segment=min(a.segment, b.segment),
        part=min(a.part, b.part),
        complete=a.complete or b.complete,
        first_offset=min(one.first_offset for one in with_rows),
        last_offset=max(one.last_offset for one in with_rows),
        rows=a.rows + b.rows,
        reference=a.reference,
        signals=_merge_signals(a.signals, b.signals),
        event_times=hull([one.event_times for one in with_rows]),
        timestamps=hull([one.timestamps for one in with_rows]),
        watermark=max(a.watermark, b.watermark),
        late_rows=a.late_rows + b.late_rows,
        bad_time=a.bad_time + b.bad_time,
        served=merge_served(a.served, b.served),
        evidence=merge_evidence(a.evidence, b.evidence),
    )


def _merge_signals(a: Mapping[str, SignalCounts], b: Mapping[str, SignalCounts]) -> dict[str, SignalCounts]:
    merged = {**a, **b}
    for name in a.keys() & b.keys():
        merged[name] = merge_counts(a[name], b[name])
    return merged


def merge_served(a: Served, b: Served) -> Served:
    """The rows of both, by what served them."""
    return {key: a.get(key, 0) + b.get(key, 0) for key in {**a, **b}}


def hull(intervals: list[tuple[int, int]]) -> tuple[int, int]:
    """From the first beginning to the last end."""
    return min(first for first, _ in intervals), max(last for _, last in intervals)


class CorruptSummary(PenstockError):
    """A record of the summaries topic that is not what was written, or is of a version this Penstock cannot read.

    >>> print(CorruptSummary("flights.summaries, partition 0, offset 7", "its checksum does not match"))
    flights.summaries, partition 0, offset 7: the summary cannot be read: its checksum does not match.
    """

    def __init__(self, place: str, cause: str) -> None:
        self.place, self.cause = place, cause
        super().__init__(f"{place}: the summary cannot be read: {cause}.")


class _Counts(msgspec.Struct, array_like=True):
    width: int
    slots: bytes
    finite: int
    sum_z: int
    sum_z2: int
    lowest: float
    highest: float
    out_of_range: int
    defaulted: int


class _Wire(msgspec.Struct):
    partition: int
    segment: int
    part: int
    complete: bool
    first_offset: int
    last_offset: int
    rows: int
    reference: str
    signals: dict[str, _Counts]
    event_times: tuple[int, int]
    timestamps: tuple[int, int]
    watermark: int
    late_rows: int
    bad_time: int
    served: list[tuple[str, str, int, int]]
    evidence: Evidence | None = None


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(_Wire)
_SAME = tuple(name for name in _Wire.__struct_fields__ if name not in ("signals", "served"))


def encode_summary(summary: Summary) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The record's value and headers; equal summaries have equal bytes."""
    value = _encoder.encode(
        _Wire(
            signals=_packed(summary.signals),
            served=[(*key, rows) for key, rows in sorted(summary.served.items())],
            **{name: getattr(summary, name) for name in _SAME},
        )
    )
    return value, [SUMMARY_SCHEMA, (CHECKSUM_HEADER, b"%08x" % zlib.crc32(value))]


def decode_summary(
    value: bytes | None, headers: Sequence[tuple[str, bytes]], *, place: str = "the summaries"
) -> Summary:
    """What `encode_summary` was given. Raises CorruptSummary, which names `place`, for anything else."""
    found = dict(headers)
    schema, checksum = found.get(SUMMARY_SCHEMA[0]), found.get(CHECKSUM_HEADER)
    if schema != SUMMARY_SCHEMA[1]:
        newer = schema is not None and schema.startswith(b"summary/")
        cause = f"its schema is {schema!r}, not {SUMMARY_SCHEMA[1]!r}"
        raise CorruptSummary(place, f"{cause}; update this Penstock" if newer else cause)
    if value is None or checksum != b"%08x" % zlib.crc32(value):
        raise CorruptSummary(place, "its checksum does not match")
    try:
        wire = _decoder.decode(value)
        if wire.evidence is not None:
            check_evidence(wire.evidence)
        return Summary(
            signals={name: _unpacked(counts) for name, counts in wire.signals.items()},
            served={(variant, model, revision): rows for variant, model, revision, rows in wire.served},
            **{name: getattr(wire, name) for name in _SAME},
        )
    except (msgspec.MsgspecError, ValueError, KeyError, RecursionError) as error:
        raise CorruptSummary(place, f"the checksum is right, the content is not: {error}") from error


def _packed(signals: Mapping[str, SignalCounts]) -> dict[str, _Counts]:
    """All slots are narrowed at once: array by array it would take three times as long."""
    if not signals:
        return {}
    ends = np.cumsum([len(counts.slots) for counts in signals.values()])
    slots = np.concatenate([counts.slots for counts in signals.values()])
    most = np.maximum.reduceat(slots, np.concatenate([[0], ends[:-1]]))
    widths = [next(width for width in _WIDTHS if largest < 256**width) for largest in most.tolist()]
    narrowed = {width: slots.astype(_WIDTHS[width]).tobytes() for width in set(widths)}
    packed = {}
    for (name, counts), stop, width in zip(signals.items(), ends.tolist(), widths, strict=True):
        packed[name] = _Counts(
            width, narrowed[width][width * (stop - len(counts.slots)) : width * stop],
            counts.finite, counts.sum_z, counts.sum_z2,
            counts.lowest, counts.highest, counts.out_of_range, counts.defaulted,
        )  # fmt: skip
    return packed


def _unpacked(counts: _Counts) -> SignalCounts:
    slots: NDArray[Any] = np.frombuffer(counts.slots, _WIDTHS[counts.width]).astype(np.int64)
    return SignalCounts(
        slots, counts.finite, counts.sum_z, counts.sum_z2,
        counts.lowest, counts.highest, counts.out_of_range, counts.defaulted,
    )  # fmt: skip
