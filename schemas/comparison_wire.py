"""The wire form of comparison summaries. They go to the topic of the summaries; the schema in the record's header tells
them apart. Equal summaries have equal bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from penstock.schemas.arrays import from_array, to_array
from penstock.schemas.cells_wire import CellsOnWire, Sparse, pack_cells, pack_sparse, unpack_cells, unpack_sparse
from penstock.schemas.checksums import damage, seal
from penstock.schemas.comparison import (
    DIFFERENCE_EDGES,
    RANKS,
    ComparisonSummary,
    LabelledPair,
    Pair,
    PairGroup,
    PairSums,
)
from penstock.schemas.errors import PenstockError
from penstock.schemas.quality_sums import Group, GroupsOnWire, QualitySums, pack_groups, unpack_groups
from penstock.schemas.records import SCHEMA_HEADER
from penstock.schemas.summaries import FIXED_POINT

COMPARISON_SCHEMA = (SCHEMA_HEADER, b"comparison/1")

_DIFFERENCES = len(DIFFERENCE_EDGES) + 1
_FRACTION = FIXED_POINT.bit_length() - 1
_SERVED, _CANDIDATE = "served", "candidate"


class CorruptComparison(PenstockError):
    """A record of the summaries topic that is no comparison, or one of another version.

    >>> print(CorruptComparison("flights.summaries, partition 0, offset 7", "its checksum does not match"))
    flights.summaries, partition 0, offset 7: the comparison cannot be read: its checksum does not match.
    """

    def __init__(self, place: str, cause: str) -> None:
        self.place, self.cause = place, cause
        super().__init__(f"{place}: the comparison cannot be read: {cause}.")


class _PairSums(msgspec.Struct, array_like=True):
    """The sums of differences outgrow 64 bits, so each is two numbers."""

    group: PairGroup
    counts: tuple[int, int, int, int, int]
    difference: tuple[int, int]
    absolute: tuple[int, int]


class _Pairs(msgspec.Struct, array_like=True):
    """`differences` [groups, 195], `ranks` [groups, 32, 32]."""

    sums: list[_PairSums]
    differences: Sparse
    ranks: Sparse


class _Summary(msgspec.Struct, omit_defaults=True):
    """On the wire a map, so that a later version may add fields."""

    partition: int
    segment: int
    part: int
    complete: bool
    first_offset: int
    last_offset: int
    event_times: tuple[int, int]
    watermark: int
    mature: bool
    latencies: dict[str, tuple[int, int]] = {}
    pairs: _Pairs | None = None
    labelled: list[tuple[str, str, GroupsOnWire]] = []
    """Of candidate and served model: groups whose variant says whose they are."""
    cells: CellsOnWire | None = None


_SAME = _Summary.__struct_fields__[:10]
_encoder = msgspec.msgpack.Encoder(enc_hook=from_array, order="deterministic")
_decoder = msgspec.msgpack.Decoder(_Summary, dec_hook=to_array)


def encode_comparison(summary: ComparisonSummary) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Value and headers of the summary's record."""
    wire = _Summary(
        **{name: getattr(summary, name) for name in _SAME},
        pairs=_pack_pairs(summary.pairs) if summary.pairs else None,
        labelled=_pack_labelled(summary.labelled),
        cells=pack_cells(summary.cells) if summary.cells else None,
    )
    value = _encoder.encode(wire)
    return value, seal(value, COMPARISON_SCHEMA)


def decode_comparison(
    value: bytes | None, headers: Sequence[tuple[str, bytes]], *, place: str = "the summaries topic"
) -> ComparisonSummary:
    """What `encode_comparison` was given. Raises CorruptComparison, which names `place`, for anything else."""
    if (cause := damage(value, headers, COMPARISON_SCHEMA)) is not None:
        raise CorruptComparison(place, cause)
    try:
        wire = _decoder.decode(value or b"")
        return ComparisonSummary(
            **{name: getattr(wire, name) for name in _SAME},
            pairs=_unpack_pairs(wire.pairs) if wire.pairs else {},
            labelled=_unpack_labelled(wire.labelled),
            cells=unpack_cells(wire.cells) if wire.cells else {},
        )
    except (msgspec.MsgspecError, ValueError, OverflowError, LookupError, RecursionError) as error:
        raise CorruptComparison(place, f"the checksum is right, the content is not: {error}") from error


def _pack_pairs(pairs: Mapping[PairGroup, PairSums]) -> _Pairs:
    ordered = [(group, pairs[group]) for group in sorted(pairs)]
    return _Pairs(
        [
            _PairSums(
                group, (sums.rows, sums.non_finite, sums.agreed, sums.yes, sums.candidate_yes),
                _halves(sums.difference), _halves(sums.absolute),
            )
            for group, sums in ordered
        ],
        pack_sparse(np.array([sums.differences for _, sums in ordered], np.int64)),
        pack_sparse(np.array([sums.ranks for _, sums in ordered], np.int64)),
    )  # fmt: skip


def _unpack_pairs(wire: _Pairs) -> dict[PairGroup, PairSums]:
    differences = unpack_sparse(wire.differences, (len(wire.sums), _DIFFERENCES))
    ranks = unpack_sparse(wire.ranks, (len(wire.sums), RANKS, RANKS))
    return {
        sums.group: PairSums(*sums.counts, _whole(sums.difference), _whole(sums.absolute), differences[at], ranks[at])
        for at, sums in enumerate(wire.sums)
    }


def _halves(fixed: int) -> tuple[int, int]:
    return fixed >> _FRACTION, fixed & (FIXED_POINT - 1)


def _whole(halves: tuple[int, int]) -> int:
    return (halves[0] << _FRACTION) + halves[1]


def _pack_labelled(labelled: Mapping[PairGroup, LabelledPair]) -> list[tuple[str, str, GroupsOnWire]]:
    by_pair: defaultdict[Pair, dict[Group, QualitySums]] = defaultdict(dict)
    for group in sorted(labelled):
        (bucket, candidate, served, name), sums = group, labelled[group]
        by_pair[candidate, served][bucket, _SERVED, name] = sums.served
        by_pair[candidate, served][bucket, _CANDIDATE, name] = sums.candidate
    return [(*pair, pack_groups(by_pair[pair])) for pair in sorted(by_pair)]


def _unpack_labelled(wire: Sequence[tuple[str, str, GroupsOnWire]]) -> dict[PairGroup, LabelledPair]:
    labelled = {}
    for candidate, served, on_wire in wire:
        groups = unpack_groups(on_wire)
        for bucket, who, name in groups:
            if who == _SERVED:
                sums = LabelledPair(groups[bucket, _SERVED, name], groups[bucket, _CANDIDATE, name])
                labelled[bucket, candidate, served, name] = sums
    return labelled
