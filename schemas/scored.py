"""The scored log: blocks of rows with everything that a later reader needs, as Arrow IPC streams.

Shadow, watch, replay, training sets and notebooks all read this log, so each value is plain Arrow (LZ4) that any reader
opens. Features lie in one matrix per type, which is cheaper than a column each; the schema's metadata, key `penstock`,
is a JSON object that names them. Arrow IPC has no checksum of its own and decodes nearly every flipped bit to something
wrong: the header `penstock-crc32` of the record holds the CRC-32 of the value, and `decode` insists on it.

| column | type |
|---|---|
| id, key | string, binary or null |
| offset, event_time, timestamp, routing_revision | int64; times in Unix ms, `timestamp` is the broker's |
| size | int32 bytes of the event's value; records of before it was written lack it |
| floats, integers | fixed_size_list of float32 (NaN: missing), int64 (-2^63: missing; bools 0 and 1) |
| category:NAME | dictionary of string, null: missing |
| vector:NAME | fixed_size_list of float32, all NaN: missing |
| ages | fixed_size_list of float32: seconds from writing to the event, per looked-up feature (NaN: no value) |
| defaulted | fixed_size_binary, one bit per feature, the first feature in the highest bit |
| score, scores | float32, fixed_size_list of float32 where the model has several outputs |
| variant, model | dictionary of string; the model as NAME@VERSION |

The metadata also says which features lie where, when and by what the rows were scored (`scored_at`, `runtime`), and how
many microseconds the models' calls took for them (`took_us`; records of before it was written lack it).

A reader ignores columns and metadata that it does not know.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from penstock.schemas import arrow_columns
from penstock.schemas.checksums import damage, seal
from penstock.schemas.columns import Category, Columns, Floats
from penstock.schemas.errors import PenstockError
from penstock.schemas.records import SCORED_SCHEMA
from penstock.schemas.topics import SCORED_RECORD_LIMIT

_METADATA = b"penstock"


class CorruptBlock(PenstockError):
    """A record of the scored log that is not what was written.

    >>> print(CorruptBlock("flights.scored, partition 0, offset 7", "its checksum does not match"))
    flights.scored, partition 0, offset 7: the scored block cannot be read: its checksum does not match.
    """

    def __init__(self, place: str, cause: str) -> None:
        self.place, self.cause = place, cause
        super().__init__(f"{place}: the scored block cannot be read: {cause}.")


class RowTooLarge(PenstockError):
    """One row alone exceeds a record of the scored log. The caller makes it a dead letter and encodes the others."""

    def __init__(self, partition: int, offset: int, size: int, limit: int) -> None:
        self.partition, self.offset, self.size, self.limit = partition, offset, size, limit
        super().__init__(
            f"The event at partition {partition}, offset {offset} takes {size} bytes in the scored log; "
            f"a record holds {limit}. Shorten its id, key or categories."
        )


class EncodedRecord(NamedTuple):
    """One record of the `scored` topic, without a key."""

    value: bytes
    headers: list[tuple[str, bytes]]
    first_offset: int
    last_offset: int
    rows: int


@dataclass(slots=True)
class ScoredBlock:
    """Scored rows of one source partition, in ascending order of offset.

    ids                [rows]
    keys               [rows] the keys that routing and sampling used
    offsets            [rows] int64, in the events topic
    event_times        [rows] int64 Unix ms
    timestamps         [rows] int64 Unix ms, the broker's
    columns            every feature of the catalogue, before any model's vocabulary or scaling
    aged               names of the looked-up features
    ages               [rows, len(aged)] float32 seconds; NaN: no value was found
    defaulted          [rows, len(columns.layout.names)] bool
    score              [rows] float32
    scores             [rows, outputs] float32, or None
    variants, models   which share of the traffic, and which model as NAME@VERSION; nothing is missing
    routing_revisions  [rows] int64
    partition          of the events topic
    scored_at          Unix ms
    runtime            what computed the scores: equal bit by bit only where this is equal
    sizes              [rows] int32 bytes of the event's value; None in a record of before they were written
    took_us            of the model's calls, shared out by rows; None in a record of before it was written
    """

    ids: list[str]
    keys: list[bytes | None]
    offsets: NDArray[np.int64]
    event_times: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    columns: Columns
    aged: tuple[str, ...]
    ages: Floats
    defaulted: NDArray[np.bool_]
    score: Floats
    scores: Floats | None
    variants: Category
    models: Category
    routing_revisions: NDArray[np.int64]
    partition: int
    scored_at: int
    runtime: str
    sizes: NDArray[np.int32] | None = None
    took_us: int | None = None

    @property
    def rows(self) -> int:
        return len(self.ids)

    def take(self, rows: slice | NDArray[np.intp]) -> ScoredBlock:
        """Some of the rows, in ascending order; a slice shares memory, an index array copies."""
        indices = range(self.rows)[rows] if isinstance(rows, slice) else rows.tolist()
        taken: dict[str, Any] = {}
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if isinstance(value, list):
                taken[name] = [value[index] for index in indices]
            elif isinstance(value, np.ndarray):
                taken[name] = value[rows]
            elif isinstance(value, Category):
                taken[name] = Category(value.codes[rows], value.values)
        if self.took_us is not None and self.rows:
            taken["took_us"] = self.took_us * len(indices) // self.rows
        return replace(self, columns=self.columns.take(rows), **taken)

    def to_table(self) -> pa.Table:
        """For notebooks: one column per feature under its own name, missing values null, times as timestamps."""
        from penstock.schemas.scored_table import table

        return table(self)


class _Metadata(msgspec.Struct):
    partition: int
    scored_at: int
    runtime: str
    floats: list[str]
    integers: list[str]
    categories: list[str]
    vectors: list[tuple[str, int]]
    aged: list[str]
    outputs: int
    """0: no `scores`."""
    took_us: int | None = None


def encode(
    block: ScoredBlock, withhold: Collection[str] = (), *, limit: int = SCORED_RECORD_LIMIT
) -> list[EncodedRecord]:
    """The records of a block, in order; cut where one would exceed `limit` bytes. No rows, no record.

    `withhold` names the features, sensitive ones, whose values stay out of the log: they read back as missing.

    Raises RowTooLarge when a row does not fit into a record of its own; then nothing was encoded.
    """
    if not block.rows:
        return []
    value = _write(block, withhold)
    if len(value) <= limit:
        headers = seal(value, SCORED_SCHEMA)
        return [EncodedRecord(value, headers, int(block.offsets[0]), int(block.offsets[-1]), block.rows)]
    if block.rows == 1:
        raise RowTooLarge(block.partition, int(block.offsets[0]), len(value), limit)
    step = -(-block.rows // (len(value) // limit + 1))
    parts = (block.take(slice(start, start + step)) for start in range(0, block.rows, step))
    return [record for part in parts for record in encode(part, withhold, limit=limit)]


def decode(value: bytes | None, headers: Sequence[tuple[str, bytes]], *, place: str = "the scored log") -> ScoredBlock:
    """What `encode` was given. Its arrays are read-only views of the value.

    Raises CorruptBlock, which names `place`, for anything else.
    """
    if (cause := damage(value, headers, SCORED_SCHEMA)) is not None:
        raise CorruptBlock(place, cause)
    try:
        return _read(value or b"")
    except arrow_columns.UNREADABLE as error:
        raise CorruptBlock(place, f"the checksum is right, the content is not: {error}") from error


def without_repeats(blocks: Iterable[ScoredBlock]) -> Iterator[ScoredBlock]:
    """The rows of a log, its partitions' records in their order, each row once.

    A log that was written at least once begins again further back after a crash: what is not above the highest offset
    of its partition came before.
    """
    seen: dict[int, int] = {}
    for block in blocks:
        fresh = int(np.searchsorted(block.offsets, seen.get(block.partition, -1), side="right"))
        if fresh < block.rows:
            seen[block.partition] = int(block.offsets[-1])
            yield block.take(slice(fresh, block.rows)) if fresh else block


def _write(block: ScoredBlock, withhold: Collection[str]) -> bytes:
    columns = arrow_columns.without(block.columns, withhold)
    layout = columns.layout
    arrays = {
        "id": pa.array(block.ids, pa.string()),
        "key": pa.array(block.keys, pa.binary()),
        "offset": pa.array(block.offsets),
        "event_time": pa.array(block.event_times),
        "timestamp": pa.array(block.timestamps),
        "size": None if block.sizes is None else pa.array(block.sizes),
        **arrow_columns.parts(columns),
        "ages": arrow_columns.matrix(block.ages),
        "defaulted": arrow_columns.bits(block.defaulted),
        "score": pa.array(block.score),
        "scores": None if block.scores is None else arrow_columns.matrix(block.scores),
        "variant": arrow_columns.dictionary(block.variants),
        "model": arrow_columns.dictionary(block.models),
        "routing_revision": pa.array(block.routing_revisions),
    }
    outputs = 0 if block.scores is None else block.scores.shape[1]
    metadata = _Metadata(
        block.partition, block.scored_at, block.runtime, list(layout.floats), list(layout.integers),
        list(layout.categories), list(layout.vectors), list(block.aged), outputs, block.took_us,
    )  # fmt: skip
    return arrow_columns.write(arrays, {_METADATA: msgspec.json.encode(metadata)})


def _read(value: bytes) -> ScoredBlock:
    batch = arrow_columns.read(value)
    about = msgspec.json.decode(batch.schema.metadata[_METADATA], type=_Metadata)
    layout = arrow_columns.layout(about)

    def numbers(name: str, dtype: type[np.generic] = np.int64) -> NDArray[Any]:
        return arrow_columns.numbers(batch, name, dtype)

    return ScoredBlock(
        ids=arrow_columns.typed(batch, "id", pa.string()).to_pylist(),
        keys=arrow_columns.typed(batch, "key", pa.binary(), nulls=True).to_pylist(),
        offsets=numbers("offset"),
        event_times=numbers("event_time"),
        timestamps=numbers("timestamp"),
        columns=arrow_columns.columns(batch, layout),
        aged=tuple(about.aged),
        ages=arrow_columns.values(batch, "ages", len(about.aged), np.float32),
        defaulted=arrow_columns.mask(batch, "defaulted", len(layout.names)),
        score=numbers("score", np.float32),
        scores=arrow_columns.values(batch, "scores", about.outputs, np.float32) if about.outputs else None,
        variants=arrow_columns.category(batch, "variant"),
        models=arrow_columns.category(batch, "model"),
        routing_revisions=numbers("routing_revision"),
        partition=about.partition,
        scored_at=about.scored_at,
        runtime=about.runtime,
        sizes=numbers("size", np.int32) if "size" in batch.schema.names else None,
        took_us=about.took_us,
    )
