"""Sums of quality: what any number of scored rows and their outcomes come to, and their wire form.

Everything summed is an integer (counts, and sums in fixed point 2^-32), so that merging is exact, associative and
commutative, and equals one pass over the rows, bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.schemas.arrays import from_array, to_array
from penstock.schemas.errors import PenstockError
from penstock.schemas.summaries import FIXED_POINT

_FRACTION = FIXED_POINT.bit_length() - 1

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


def _added(a: NDArray[np.int64] | None, b: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


class _Sums(msgspec.Struct, array_like=True):
    """Fixed-point sums outgrow 64 bits, so each is two numbers."""

    bucket: int
    variant: str
    slice: str
    counts: tuple[int, int, int, int]
    sums: tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]


class GroupsOnWire(msgspec.Struct, array_like=True):
    """Of the bins, only those that hold rows: their numbers over all groups that have bins, which `binned` names."""

    sums: list[_Sums]
    binned: list[int]
    cells: NDArray[Any]
    cell_rows: NDArray[Any]
    cell_scores: NDArray[Any]


_encoder = msgspec.msgpack.Encoder(enc_hook=from_array)
_decoder = msgspec.msgpack.Decoder(GroupsOnWire, dec_hook=to_array)


def encode_groups(groups: Mapping[Group, QualitySums]) -> bytes:
    """Groups alone, for snapshots."""
    return _encoder.encode(pack_groups(groups))


def decode_groups(data: bytes) -> dict[Group, QualitySums]:
    """Raises CorruptQuality."""
    try:
        return unpack_groups(_decoder.decode(data))
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise CorruptQuality("a snapshot of the quality", str(error)) from error


def pack_groups(groups: Mapping[Group, QualitySums]) -> GroupsOnWire:
    """The wire form of groups."""
    binned = [(at, sums) for at, sums in enumerate(groups.values()) if sums.bins is not None]
    rows = np.array([sums.bins for _, sums in binned], np.int64).ravel()
    scores = np.array([sums.bin_scores for _, sums in binned], np.int64).ravel()
    [used] = np.nonzero(rows)
    packed = [_packed_sums(group, sums) for group, sums in groups.items()]
    return GroupsOnWire(packed, [at for at, _ in binned], _narrow(used), _narrow(rows[used]), _narrow(scores[used]))


def _packed_sums(group: Group, sums: QualitySums) -> _Sums:
    fixed = (sums.log_loss, sums.squared_error, sums.absolute_error, sums.score, sums.label)
    halves: Any = tuple((value >> _FRACTION, value & (FIXED_POINT - 1)) for value in fixed)
    return _Sums(*group, (sums.rows, sums.correct, sums.positives, sums.decided), halves)


def unpack_groups(wire: GroupsOnWire) -> dict[Group, QualitySums]:
    """Raises ValueError, OverflowError where it is nonsense."""
    shape = (len(wire.binned), 2, SCORE_BINS)
    rows = _filled(wire.cells, wire.cell_rows, shape)
    scores = _filled(wire.cells, wire.cell_scores, shape)
    bins = {at: (rows[number], scores[number]) for number, at in enumerate(wire.binned)}
    return {
        (sums.bucket, sums.variant, sums.slice): _unpacked_sums(sums, *bins.get(at, (None, None)))
        for at, sums in enumerate(wire.sums)
    }


def _unpacked_sums(wire: _Sums, bins: NDArray[np.int64] | None, bin_scores: NDArray[np.int64] | None) -> QualitySums:
    log_loss, squares, absolutes, score, label = [(whole << _FRACTION) + rest for whole, rest in wire.sums]
    return QualitySums(*wire.counts, log_loss, squares, absolutes, score, label, bins, bin_scores)


def _narrow(values: NDArray[np.integer]) -> NDArray[np.unsignedinteger]:
    """In the smallest unsigned integers that hold them."""
    return values.astype(np.min_scalar_type(values.max(initial=0)))


def _filled(cells: NDArray[Any], values: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[np.int64]:
    if cells.dtype.kind != "u" or values.dtype.kind != "u" or cells.shape != values.shape:
        raise ValueError("bins of scores and what they hold do not match")
    flat = np.zeros(shape[0] * 2 * SCORE_BINS, np.int64)
    if len(cells) and int(cells.max()) >= len(flat):
        raise ValueError("a bin of scores that does not exist")
    flat[cells] = values
    return flat.reshape(shape)
