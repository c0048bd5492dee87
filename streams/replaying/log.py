"""A stretch of the scored log, and the labels that belong to it, as they stand now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from penstock.monitoring.quality.labels import LabelRuns
from penstock.monitoring.quality.outcomes import well_dated
from penstock.schemas.errors import PenstockError
from penstock.schemas.labels import decode_credible_labels
from penstock.schemas.scored import CorruptBlock, ScoredBlock, decode
from penstock.streams.reading import since
from penstock.streams.watching.reading import dated

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

    from penstock.streams.settings import Settings

Progress = Callable[[str, int, int], None]

_BATCH = 2_000
"""Records of labels that are read into columns at once."""


class NothingLogged(PenstockError):
    """The stretch holds no scored row.

    >>> print(NothingLogged("flights.scored"))
    flights.scored holds no event of that stretch. Choose another --from, --to or --last; `penstock tail scored` shows \
what there is.
    """

    exit_code = 3

    def __init__(self, topic: str) -> None:
        self.topic = topic
        super().__init__(
            f"{topic} holds no event of that stretch. Choose another --from, --to or --last; `penstock tail scored` "
            "shows what there is."
        )


class Stretch(NamedTuple):
    """Event times [start_ms, end_ms), Unix ms; None: from the first, to the last."""

    start_ms: int | None = None
    end_ms: int | None = None


class Logged(NamedTuple):
    """Rows of one record of the scored log that lie in the stretch, and how far the reading is, in offsets."""

    record: int
    block: ScoredBlock
    done: int
    total: int


class Outcomes(NamedTuple):
    """Labels of every partition, and up to when all of them have been sent, by partition, where somebody says so."""

    labels: LabelRuns
    watermarks: dict[int, int]


async def newest(settings: Settings) -> dict[int, int]:
    """Partition → the newest event time among its last records. Raises UnreachableError, TopicMissing."""
    found: dict[int, int] = {}
    future_ms = int(settings.watch.max_future_s * 1000)
    async for record, _, _ in since(settings.kafka, settings.topics.scored.name, None, last=20):
        if (block := _decoded(record, future_ms)) is not None:
            time = int(well_dated(block.event_times, block.timestamps, future_ms).max())
            found[record.partition] = max(time, found.get(record.partition, time))
    return found


async def scored(settings: Settings, stretch: Stretch) -> AsyncIterator[Logged]:
    """The rows of the stretch, partition by partition in order, each once. Corrupt records are left out, as live.

    Raises UnreachableError, TopicMissing.
    """
    start, end = stretch
    future_ms = int(settings.watch.max_future_s * 1000)
    # A row is written after its event, unless that is dated into the future.
    first = None if start is None else start - future_ms
    seen: dict[int, int] = {}
    async for record, done, total in since(settings.kafka, settings.topics.scored.name, first):
        if (block := _decoded(record, future_ms)) is None:
            continue
        wanted = block.offsets > seen.get(record.partition, -1)
        seen[record.partition] = max(seen.get(record.partition, -1), int(block.offsets[-1]))
        if start is not None:
            wanted &= block.event_times >= start
        if end is not None:
            wanted &= block.event_times < end
        if wanted.all():
            yield Logged(record.offset, block, done, total)
        elif wanted.any():
            yield Logged(record.offset, block.take(np.flatnonzero(wanted)), done, total)


async def outcomes(settings: Settings, stretch: Stretch, progress: Progress) -> Outcomes:
    """All labels that may belong to the stretch. Raises UnreachableError, TopicMissing."""
    labels, watermarks = LabelRuns(limit=1 << 31), dict[int, int]()
    max_future_ms = int(settings.watch.max_future_s * 1000)
    first = None if stretch.start_ms is None else stretch.start_ms - max_future_ms
    waiting: defaultdict[int, list[ConsumerRecord]] = defaultdict(list)

    def take(partition: int) -> None:
        batch = decode_credible_labels(waiting.pop(partition), max_future_ms=max_future_ms)
        labels.put(batch.hashes, batch.values, batch.times)
        if batch.watermark is not None:
            watermarks[partition] = max(batch.watermark, watermarks.get(partition, batch.watermark))

    async for record, done, total in since(settings.kafka, settings.topics.labels.name, first):
        waiting[record.partition].append(record)
        if len(waiting[record.partition]) == _BATCH:
            take(record.partition)
            progress("Reading labels", done, total)
    for partition in list(waiting):
        take(partition)
    return Outcomes(labels, watermarks)


def _decoded(record: ConsumerRecord, max_future_ms: int) -> ScoredBlock | None:
    try:
        return dated(decode(record.value, record.headers), record.timestamp, max_future_ms)
    except CorruptBlock:
        return None
