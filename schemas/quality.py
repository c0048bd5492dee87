"""Quality summaries: the mergeable statistics of what was predicted of a segment's rows and what came true.

They go to the topic of the summaries; the schema in the record's header tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.schemas.arrays import from_array, to_array
from penstock.schemas.cells_wire import CellsOnWire, pack_cells, unpack_cells
from penstock.schemas.comparison import CellGroup, CellSums, merge_by, merge_cell_sums
from penstock.schemas.profile import SLOTS
from penstock.schemas.quality_sums import (
    CorruptQuality,
    Group,
    GroupsOnWire,
    QualitySums,
    merge_groups,
    merge_sums,
    pack_groups,
    unpack_groups,
)
from penstock.schemas.records import SCHEMA_HEADER
from penstock.schemas.summaries import Served, hull, merge_served

__all__ = [
    "QUALITY_SCHEMA", "CorruptQuality", "Group", "QualitySummary", "QualitySums", "decode_quality", "encode_quality",
    "merge_quality", "merge_sums",
]  # fmt: skip

QUALITY_SCHEMA = (SCHEMA_HEADER, b"quality/1")


class QualitySummary(msgspec.Struct, frozen=True):
    """What came true of the scored rows of one segment, or of a part of one, read again at their maturity.

    segment, part, complete, first_offset, last_offset, event_times, served   as in `penstock.schemas.summaries.Summary`
    watermark       of the partition after these rows: no row that is still to be read again is older, Unix ms
    rows            = labelled + silent + invalid + missing
    labelled        whose label came in time
    silent          that got none in time, where silence is an outcome
    missing         that got none in time, where it is not
    invalid         whose label or score is nothing that the task knows: they are in no group
    late            labels that came after the maturity, corrections too: their rows count as silent or missing
    errors          variant → rows and wrong decisions; empty for regression
    delays          [36] int64 slots over `LOG_EDGES` of the seconds from an event to its label, late ones too
    groups          bucket, variant and slice → sums over the labelled and the silent rows
    cells           bucket, variant, model and slice → rows and losses by group of keys, for the gates
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
    served: Served
    errors: dict[str, tuple[int, int]]
    delays: NDArray[np.int64]
    groups: dict[Group, QualitySums]
    cells: dict[CellGroup, CellSums] = {}


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
        event_times=hull([one.event_times for one in with_rows]),
        watermark=max(a.watermark, b.watermark),
        served=merge_served(a.served, b.served),
        errors=errors,
        delays=a.delays + b.delays,
        groups=merge_groups(a.groups, b.groups),
        cells=merge_by(merge_cell_sums, a.cells, b.cells),
    )


def _pair(a: tuple[int, int] | None, b: tuple[int, int] | None) -> tuple[int, int]:
    (rows, wrong), (more_rows, more_wrong) = a or (0, 0), b or (0, 0)
    return rows + more_rows, wrong + more_wrong


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
    groups: GroupsOnWire
    cells: CellsOnWire | None = None


_encoder = msgspec.msgpack.Encoder(enc_hook=from_array)
_decoder = msgspec.msgpack.Decoder(_Summary, dec_hook=to_array)


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
        pack_groups(summary.groups),
        pack_cells(summary.cells) if summary.cells else None,
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
        groups = unpack_groups(wire.groups)
        cells = unpack_cells(wire.cells) if wire.cells else {}
        delays = np.array(wire.delays, np.int64)
        if len(delays) != SLOTS:
            raise ValueError(f"{len(delays)} slots of delays where {SLOTS} belong")
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
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
        cells=cells,
    )
