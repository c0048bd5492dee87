"""Shadow scores as Arrow IPC streams (LZ4), sealed like the scored log; and how blocks of them are cut and joined.

The schema's metadata, key `penstock`, is a JSON object that names the slices and the candidates.

| column | type |
|---|---|
| offset, event_time, timestamp | int64; times in Unix ms |
| id, key | uint64: hashes |
| floats, integers, category:NAME, vector:NAME | the slices, as in the scored log |
| variant, model, score, scores | what was served, as in the scored log |
| sampled:N, score:N, scores:N | bool, float32 and fixed_size_list of float32: of candidate N, from 0 |

A reader ignores columns and metadata that it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from penstock.schemas import arrow_columns
from penstock.schemas.checksums import Header, damage, seal
from penstock.schemas.columns import Category, Columns, Floats
from penstock.schemas.errors import PenstockError
from penstock.schemas.paired import CandidateScores, PairedBlock
from penstock.schemas.records import PAIRED_SCHEMA
from penstock.schemas.topics import SCORED_RECORD_LIMIT

_METADATA = b"penstock"


class CorruptPaired(PenstockError):
    """A record of the shadow scores that is not what was written.

    >>> print(CorruptPaired("flights.shadow-scores, partition 0, offset 7", "its checksum does not match"))
    flights.shadow-scores, partition 0, offset 7: the shadow scores cannot be read: its checksum does not match.
    """

    def __init__(self, place: str, cause: str) -> None:
        self.place, self.cause = place, cause
        super().__init__(f"{place}: the shadow scores cannot be read: {cause}.")


class PairedRowTooLarge(PenstockError):
    """One row alone exceeds a record of the shadow scores. The caller leaves it out and encodes the others."""

    def __init__(self, partition: int, offset: int, size: int, limit: int) -> None:
        self.partition, self.offset, self.size, self.limit = partition, offset, size, limit
        super().__init__(
            f"The event at partition {partition}, offset {offset} takes {size} bytes in the shadow scores; a record "
            f"holds {limit}. Shorten the values of its slices, or stop a candidate."
        )


class _Candidate(msgspec.Struct):
    model: str
    took_us: int
    runtime: str
    outputs: int
    """0: no `scores`."""


class _Metadata(msgspec.Struct):
    partition: int
    record: int
    runtime: str
    took_us: int | None
    outputs: int
    floats: list[str]
    integers: list[str]
    categories: list[str]
    vectors: list[tuple[str, int]]
    candidates: list[_Candidate]


def encode(block: PairedBlock, *, limit: int = SCORED_RECORD_LIMIT) -> list[tuple[bytes, list[Header]]]:
    """Values and headers of the block's records, in order; cut where one would exceed `limit` bytes; none of no rows.

    Raises PairedRowTooLarge when a row does not fit into a record of its own; then nothing was encoded.
    """
    if not block.rows:
        return []
    value = _write(block)
    if len(value) <= limit:
        return [(value, seal(value, PAIRED_SCHEMA))]
    if block.rows == 1:
        raise PairedRowTooLarge(block.partition, int(block.offsets[0]), len(value), limit)
    step = -(-block.rows // (len(value) // limit + 1))
    parts = (take(block, slice(start, start + step)) for start in range(0, block.rows, step))
    return [record for part in parts for record in encode(part, limit=limit)]


def decode(value: bytes | None, headers: Sequence[Header], *, place: str = "the shadow scores") -> PairedBlock:
    """What `encode` was given. Its arrays are read-only; all but the masks are views of the value.

    Raises CorruptPaired, which names `place`, for anything else.
    """
    if (cause := damage(value, headers, PAIRED_SCHEMA)) is not None:
        raise CorruptPaired(place, cause)
    try:
        return _read(value or b"")
    except arrow_columns.UNREADABLE as error:
        raise CorruptPaired(place, f"the checksum is right, the content is not: {error}") from error


def take(block: PairedBlock, rows: slice | NDArray[np.intp]) -> PairedBlock:
    """Some of the rows, in ascending order; a slice shares memory, an index array copies. They take their share of the
    time, rounded down.
    """
    kept = len(block.offsets[rows])
    return replace(
        block,
        offsets=block.offsets[rows],
        ids=block.ids[rows],
        keys=block.keys[rows],
        event_times=block.event_times[rows],
        timestamps=block.timestamps[rows],
        slices=block.slices.take(rows),
        variants=Category(block.variants.codes[rows], block.variants.values),
        models=Category(block.models.codes[rows], block.models.values),
        score=block.score[rows],
        scores=None if block.scores is None else block.scores[rows],
        took_us=None if block.took_us is None else _share(block.took_us, kept, block.rows),
        candidates=tuple(_take_candidate(candidate, rows) for candidate in block.candidates),
    )


def joinable(first: PairedBlock, second: PairedBlock) -> bool:
    """Whether the two have the same columns: other slices or other candidates may have come in between."""
    return _shape(first) == _shape(second)


def join(blocks: Sequence[PairedBlock]) -> PairedBlock:
    """The rows of joinable blocks, in order, and the sum of their times. Record and runtimes are the first one's."""
    first = blocks[0]
    if len(blocks) == 1:
        return first
    return replace(
        first,
        offsets=np.concatenate([block.offsets for block in blocks]),
        ids=np.concatenate([block.ids for block in blocks]),
        keys=np.concatenate([block.keys for block in blocks]),
        event_times=np.concatenate([block.event_times for block in blocks]),
        timestamps=np.concatenate([block.timestamps for block in blocks]),
        slices=Columns.concatenate([block.slices for block in blocks]),
        variants=Category.concatenate([block.variants for block in blocks]),
        models=Category.concatenate([block.models for block in blocks]),
        score=np.concatenate([block.score for block in blocks]),
        scores=_joined([block.scores for block in blocks]),
        took_us=_total([block.took_us for block in blocks]),
        candidates=tuple(
            replace(
                candidate,
                sampled=np.concatenate([block.candidates[number].sampled for block in blocks]),
                score=np.concatenate([block.candidates[number].score for block in blocks]),
                scores=_joined([block.candidates[number].scores for block in blocks]),
                took_us=sum(block.candidates[number].took_us for block in blocks),
            )
            for number, candidate in enumerate(first.candidates)
        ),
    )


def _take_candidate(candidate: CandidateScores, rows: slice | NDArray[np.intp]) -> CandidateScores:
    sampled = candidate.sampled[rows]
    return replace(
        candidate,
        sampled=sampled,
        score=candidate.score[rows],
        scores=None if candidate.scores is None else candidate.scores[rows],
        took_us=_share(candidate.took_us, int(sampled.sum()), int(candidate.sampled.sum())),
    )


def _share(took_us: int, rows: int, of: int) -> int:
    return took_us * rows // of if of else 0


def _width(scores: Floats | None) -> int:
    return 0 if scores is None else scores.shape[1]


def _shape(block: PairedBlock) -> tuple[object, ...]:
    candidates = tuple((candidate.model, _width(candidate.scores)) for candidate in block.candidates)
    return block.partition, block.slices.layout, _width(block.scores), candidates


def _joined(parts: Sequence[Floats | None]) -> Floats | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None


def _total(times: Sequence[int | None]) -> int | None:
    known = [took_us for took_us in times if took_us is not None]
    return sum(known) if len(known) == len(times) else None


def _write(block: PairedBlock) -> bytes:
    arrays: dict[str, Any] = {
        "offset": pa.array(block.offsets),
        "id": pa.array(block.ids),
        "key": pa.array(block.keys),
        "event_time": pa.array(block.event_times),
        "timestamp": pa.array(block.timestamps),
        **arrow_columns.parts(block.slices),
        "variant": arrow_columns.dictionary(block.variants),
        "model": arrow_columns.dictionary(block.models),
        "score": pa.array(block.score),
        "scores": None if block.scores is None else arrow_columns.matrix(block.scores),
    }
    for number, candidate in enumerate(block.candidates):
        arrays[f"sampled:{number}"] = pa.array(candidate.sampled)
        arrays[f"score:{number}"] = pa.array(candidate.score)
        arrays[f"scores:{number}"] = None if candidate.scores is None else arrow_columns.matrix(candidate.scores)
    layout = block.slices.layout
    metadata = _Metadata(
        block.partition, block.record, block.runtime, block.took_us, _width(block.scores),
        list(layout.floats), list(layout.integers), list(layout.categories), list(layout.vectors),
        [_Candidate(one.model, one.took_us, one.runtime, _width(one.scores)) for one in block.candidates],
    )  # fmt: skip
    return arrow_columns.write(arrays, {_METADATA: msgspec.json.encode(metadata)})


def _read(value: bytes) -> PairedBlock:
    batch = arrow_columns.read(value)
    about = msgspec.json.decode(batch.schema.metadata[_METADATA], type=_Metadata)
    layout = arrow_columns.layout(about)

    def numbers(name: str, dtype: type[np.generic] = np.int64) -> NDArray[Any]:
        return arrow_columns.numbers(batch, name, dtype)

    def scores(name: str, outputs: int) -> Floats | None:
        return arrow_columns.values(batch, name, outputs, np.float32) if outputs else None

    return PairedBlock(
        partition=about.partition,
        record=about.record,
        offsets=numbers("offset"),
        ids=numbers("id", np.uint64),
        keys=numbers("key", np.uint64),
        event_times=numbers("event_time"),
        timestamps=numbers("timestamp"),
        slices=arrow_columns.columns(batch, layout),
        variants=arrow_columns.category(batch, "variant"),
        models=arrow_columns.category(batch, "model"),
        score=numbers("score", np.float32),
        scores=scores("scores", about.outputs),
        took_us=about.took_us,
        runtime=about.runtime,
        candidates=tuple(
            CandidateScores(
                model=one.model,
                sampled=numbers(f"sampled:{number}", np.bool_),
                score=numbers(f"score:{number}", np.float32),
                scores=scores(f"scores:{number}", one.outputs),
                took_us=one.took_us,
                runtime=one.runtime,
            )
            for number, one in enumerate(about.candidates)
        ),
    )
