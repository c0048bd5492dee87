"""Quality: the mergeable statistics of what was predicted and what came true, and their wire form.

Everything summed is an integer (counts, and sums in fixed point 2^-32), so that merging is exact, associative and
commutative, and equals one pass over the rows, bit by bit. Quality summaries go to the topic of the summaries; the
schema in the record's header tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.schemas.errors import PenstockError
from penstock.schemas.records import SCHEMA_HEADER
from penstock.schemas.summaries import FIXED_POINT

QUALITY_SCHEMA = (SCHEMA_HEADER, b"quality/1")

SCORE_BINS = 64
BIN_EDGES = np.sin(np.pi / 2 * np.arange(1, SCORE_BINS) / SCORE_BINS) ** 2
"""[63] bins of equal width in asin √p, where a rate's standard error is the same everywhere: fine near 0 and 1, so
that rare outcomes are ranked and calibrated as well as common ones."""

LARGEST = 2.0**36
"""Scores, labels and errors are clipped to ±LARGEST before they are summed."""


class CorruptQuality(PenstockError):
    """A record of the summaries topic that is no quality summary, or one of another version.

    >>> print(CorruptQuality("flights.summaries, partition 0, offset 7", "its schema is b'summary/1'"))
    flights.summaries, partition 0, offset 7: the quality summary cannot be read: its schema is b'summary/1'.
    """

    def __init__(self, place: str, cause: str) -> None:
        self.place, self.cause = place, cause
        super().__init__(f"{place}: the quality summary cannot be read: {cause}.")


class QualitySums(msgspec.Struct, frozen=True):
    """Sums over rows whose outcome is known. What a task does not use stays 0 or None.

    rows            every task
    correct         binary, multiclass: the decision is the outcome
    positives       binary: the outcome is yes
    decided         binary: the score is at or above the threshold
    log_loss        binary, multiclass: of probabilities clipped to [.001, .999]; fixed point
    squared_error   binary: Brier's (p - y)²; regression: of errors clipped to ±error_limit; fixed point
    absolute_error  binary: |p - y|; regression; fixed point
    score, label    binary, regression: fixed point
    bins            binary: [2, 64] int64 rows per outcome and bin of the score
    bin_scores      binary: [2, 64] int64 sums of the scores in them, fixed point
    """

    rows: int = 0
    correct: int = 0
    positives: int = 0
    decided: int = 0
    log_loss: int = 0
    squared_error: int = 0
    absolute_error: int = 0
    score: int = 0
    label: int = 0
    bins: NDArray[np.int64] | None = None
    bin_scores: NDArray[np.int64] | None = None

    @property
    def true_positives(self) -> int:
        """Decided yes, and rightly.

        >>> QualitySums(rows=10, correct=7, positives=4, decided=3).true_positives  # and 5 true negatives
        2
        """
        return (self.correct - self.rows + self.positives + self.decided) // 2


Group = tuple[int, str, str]
"""Start of a time bucket (Unix ms of event time), variant, slice: "" is every row, FEATURE=VALUE some."""


class QualitySummary(msgspec.Struct, frozen=True):
    """What came true of the scored rows of one segment, or of a part of one, read again at their maturity.

    segment, part, complete, first_offset, last_offset, event_times, served   as in `penstock.schemas.summaries.Summary`
    watermark       of the partition after these rows: no row that is still to be read again is older, Unix ms
    rows            = labelled + silent + invalid + missing
    labelled        whose label came in time
    silent          that got none in time, where silence is an outcome
    missing         that got none in time, where it is not
    invalid         whose label or score is nothing that the task knows: they are in no group
    late            labels that came after the maturity: their rows count as silent or missing
    errors          variant → rows and wrong decisions; empty for regression
    delays          [36] int64 slots over `LOG_EDGES` of the seconds from an event to its label, late ones too
    groups          bucket, variant and slice → sums over the labelled and the silent rows
    """

    partition: int
    segment: int
    part: int
    complete: bool
    first_offset: int
    last_offset: int
    rows: int
    labelled: int
    silent: int
    missing: int
    invalid: int
    late: int
    event_times: tuple[int, int]
    watermark: int
    served: dict[tuple[str, str, int], int]
    errors: dict[str, tuple[int, int]]
    delays: NDArray[np.int64]
    groups: dict[Group, QualitySums]


def merge_sums(a: QualitySums, b: QualitySums) -> QualitySums:
    """The sums over the rows of both.

    >>> both = merge_sums(QualitySums(rows=2, correct=1), QualitySums(rows=3, correct=3))
    >>> both.rows, both.correct
    (5, 4)
    """
    return QualitySums(
        a.rows + b.rows,
        a.correct + b.correct,
        a.positives + b.positives,
        a.decided + b.decided,
        a.log_loss + b.log_loss,
        a.squared_error + b.squared_error,
        a.absolute_error + b.absolute_error,
        a.score + b.score,
        a.label + b.label,
        _added(a.bins, b.bins),
        _added(a.bin_scores, b.bin_scores),
    )


def merge_groups(a: Mapping[Group, QualitySums], b: Mapping[Group, QualitySums]) -> dict[Group, QualitySums]:
    merged = {**a, **b}
    for group in a.keys() & b.keys():
        merged[group] = merge_sums(a[group], b[group])
    return merged


def merge_quality(a: QualitySummary, b: QualitySummary) -> QualitySummary:
    """The summary of the rows of both: of the parts of one segment, or of several, where the lowest numbers stay."""
    with_rows = [one for one in (a, b) if one.rows] or [a, b]
    errors = {variant: _pair(a.errors.get(variant), b.errors.get(variant)) for variant in {**a.errors, **b.errors}}
    return QualitySummary(
        partition=min(a.partition, b.partition),
        segment=min(a.segment, b.segment),
        part=min(a.part, b.part),
        complete=a.complete or b.complete,
        first_offset=min(one.first_offset for one in with_rows),
        last_offset=max(one.last_offset for one in with_rows),
        rows=a.rows + b.rows,
        labelled=a.labelled + b.labelled,
        silent=a.silent + b.silent,
        missing=a.missing + b.missing,
        invalid=a.invalid + b.invalid,
        late=a.late + b.late,
        event_times=(min(one.event_times[0] for one in with_rows), max(one.event_times[1] for one in with_rows)),
        watermark=max(a.watermark, b.watermark),
        served={key: a.served.get(key, 0) + b.served.get(key, 0) for key in {**a.served, **b.served}},
        errors=errors,
        delays=a.delays + b.delays,
        groups=merge_groups(a.groups, b.groups),
    )


def _added(a: NDArray[np.int64] | None, b: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _pair(a: tuple[int, int] | None, b: tuple[int, int] | None) -> tuple[int, int]:
    (rows, wrong), (more_rows, more_wrong) = a or (0, 0), b or (0, 0)
    return rows + more_rows, wrong + more_wrong


class _Sums(msgspec.Struct, array_like=True):
    """Fixed-point sums outgrow 64 bits, so each is two numbers; of the bins, only those that hold rows."""

    bucket: int
    variant: str
    slice: str
    counts: tuple[int, int, int, int]
    sums: list[tuple[int, int]]
    bins: list[int] | None
    bin_rows: list[int]
    bin_scores: list[int]


class _Summary(msgspec.Struct, omit_defaults=True):
    """On the wire a map, so that a later version may add fields."""

    partition: int
    segment: int
    part: int
    complete: bool
    offsets: tuple[int, int]
    rows: tuple[int, int, int, int, int]
    late: int
    event_times: tuple[int, int]
    watermark: int
    served: list[tuple[str, str, int, int]]
    errors: dict[str, tuple[int, int]]
    delays: list[int]
    groups: list[_Sums]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Summary)
_groups_decoder = msgspec.msgpack.Decoder(list[_Sums])


def encode_quality(summary: QualitySummary) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Value and headers of the summary's record. A group takes about 2 kB where it fills every bin, 200 bytes where
    it holds a few rows.
    """
    wire = _Summary(
        summary.partition,
        summary.segment,
        summary.part,
        summary.complete,
        (summary.first_offset, summary.last_offset),
        (summary.rows, summary.labelled, summary.silent, summary.missing, summary.invalid),
        summary.late,
        summary.event_times,
        summary.watermark,
        [(*key, rows) for key, rows in summary.served.items()],
        summary.errors,
        summary.delays.tolist(),
        [_packed(group, sums) for group, sums in summary.groups.items()],
    )
    return _encoder.encode(wire), [QUALITY_SCHEMA]


def decode_quality(
    value: bytes | None, headers: Sequence[tuple[str, bytes]], *, place: str = "the summaries topic"
) -> QualitySummary:
    """What `encode_quality` was given. Raises CorruptQuality, which names `place`, for anything else."""
    schema = dict(headers).get(SCHEMA_HEADER)
    if schema != QUALITY_SCHEMA[1]:
        raise CorruptQuality(place, f"its schema is {schema!r}, not {QUALITY_SCHEMA[1]!r}")
    try:
        wire = _decoder.decode(value or b"")
        groups = dict(map(_unpacked, wire.groups))
        delays = np.array(wire.delays, np.int64)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise CorruptQuality(place, str(error)) from error
    rows, labelled, silent, missing, invalid = wire.rows
    return QualitySummary(
        partition=wire.partition,
        segment=wire.segment,
        part=wire.part,
        complete=wire.complete,
        first_offset=wire.offsets[0],
        last_offset=wire.offsets[1],
        rows=rows,
        labelled=labelled,
        silent=silent,
        missing=missing,
        invalid=invalid,
        late=wire.late,
        event_times=wire.event_times,
        watermark=wire.watermark,
        served={(variant, model, revision): count for variant, model, revision, count in wire.served},
        errors=wire.errors,
        delays=delays,
        groups=groups,
    )


def encode_groups(groups: Mapping[Group, QualitySums]) -> bytes:
    """Groups alone, for snapshots."""
    return _encoder.encode([_packed(group, sums) for group, sums in groups.items()])


def decode_groups(data: bytes) -> dict[Group, QualitySums]:
    """Raises CorruptQuality."""
    try:
        return dict(map(_unpacked, _groups_decoder.decode(data)))
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise CorruptQuality("a snapshot of the quality", str(error)) from error


_FIXED = ("log_loss", "squared_error", "absolute_error", "score", "label")


def _packed(group: Group, sums: QualitySums) -> _Sums:
    bins: list[int] | None = None
    rows: list[int] = []
    scores: list[int] = []
    if sums.bins is not None and sums.bin_scores is not None:
        flat = sums.bins.ravel()
        [used] = np.nonzero(flat)
        bins, rows, scores = used.tolist(), flat[used].tolist(), sums.bin_scores.ravel()[used].tolist()
    counts = (sums.rows, sums.correct, sums.positives, sums.decided)
    fixed = [divmod(getattr(sums, name), FIXED_POINT) for name in _FIXED]
    return _Sums(*group, counts, fixed, bins, rows, scores)


def _unpacked(wire: _Sums) -> tuple[Group, QualitySums]:
    bins = bin_scores = None
    if wire.bins is not None:
        bins, bin_scores = (_filled(wire.bins, values) for values in (wire.bin_rows, wire.bin_scores))
    fixed = {name: whole * FIXED_POINT + rest for name, (whole, rest) in zip(_FIXED, wire.sums, strict=True)}
    return (wire.bucket, wire.variant, wire.slice), QualitySums(*wire.counts, **fixed, bins=bins, bin_scores=bin_scores)


def _filled(bins: list[int], values: list[int]) -> NDArray[Any]:
    if len(bins) != len(values) or not all(0 <= number < 2 * SCORE_BINS for number in bins):
        raise ValueError("bins of scores that do not exist")
    flat = np.zeros(2 * SCORE_BINS, np.int64)
    flat[bins] = values
    return flat.reshape(2, SCORE_BINS)
