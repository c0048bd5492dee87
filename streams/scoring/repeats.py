"""At least once: how many events are scored again, because their outputs were written and their offsets were not.

A worker that dies leaves outputs that reach beyond the committed offset. Whoever takes its partitions over writes them
a second time, and says how many: what the committed offset says against what the last output says of its source.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from faust.types import TP

from penstock.schemas.dead_letters import DeadLetter, NotADeadLetter
from penstock.schemas.errors import PenstockError
from penstock.schemas.records import Source
from penstock.streams import kafka as clients
from penstock.streams.reading import last_before

if TYPE_CHECKING:
    from penstock.monitoring.metrics.score import ScoreMetrics
    from penstock.schemas.topics import Topic
    from penstock.streams.settings import KafkaSettings

log = logging.getLogger("penstock.score")

PATIENCE_S = 5.0
"""What is counted here holds a partition up no longer."""


class _Prediction(msgspec.Struct):
    source: Source


class Repeats:
    """Counts what a new owner of partitions repeats. Offsets are counted, markers of transactions among them.

    `outputs` are the topics that this worker writes outcomes to; others it may not be allowed to read. `client` gives
    the consumer of the worker's group.
    """

    def __init__(self, kafka: KafkaSettings, outputs: Sequence[Topic], client: Any, metrics: ScoreMetrics) -> None:
        self._kafka, self._outputs, self._client, self._metrics = kafka, outputs, client, metrics
        self._noting: asyncio.Task[None] | None = None
        self._counting: set[asyncio.Task[None]] = set()

    def assigned(self, assigned: Iterable[TP]) -> None:
        """Begin to note how far the outputs reach; see `noted`."""
        self._noting = asyncio.create_task(self._note(assigned))

    async def noted(self) -> None:
        """Returns when they may be written on: until then the first events are fetched and scored."""
        if self._noting is not None and not self._noting.done():
            await asyncio.wait([self._noting])

    async def _note(self, assigned: Iterable[TP]) -> None:
        events = [TopicPartition(tp.topic, tp.partition) for tp in assigned]
        places = [TopicPartition(topic.name, tp.partition) for topic in self._outputs for tp in events]
        consumer: AIOKafkaConsumer = self._client()
        try:
            async with asyncio.timeout(PATIENCE_S):
                begins, ends, committed = await asyncio.gather(
                    consumer.beginning_offsets(events),
                    consumer.end_offsets([*events, *places]),
                    consumer._coordinator.fetch_committed_offsets(events),
                )
        except (KafkaError, TimeoutError) as error:
            log.warning("How many events are scored again is not counted: %s", error)
            return
        begins |= {tp: found.offset for tp, found in committed.items() if found.offset >= 0}
        spans = {tp.partition: range(begins[tp], ends[tp]) for tp in events}
        written = {place: ends[place] for place in places}
        task = asyncio.create_task(self._count(spans, written, {tp.topic for tp in events}))
        self._counting.add(task)
        task.add_done_callback(self._counting.discard)

    async def stop(self) -> None:
        """Say what is still being counted, for a moment."""
        if self._counting:
            await asyncio.wait(self._counting, timeout=PATIENCE_S)
        for task in [*self._counting, *([self._noting] if self._noting else [])]:
            task.cancel()

    async def _count(
        self, waiting: Mapping[int, range], ends: Mapping[TopicPartition, int], topics: Collection[str]
    ) -> None:
        try:
            async with clients.consumer(self._kafka, fetch_max_wait_ms=100) as consumer:
                last = await last_before(consumer, ends)
        except (PenstockError, KafkaError, TimeoutError) as error:
            log.warning("How many events are scored again is not counted: %s", error)
            return
        for partition, again in repeated(waiting, last.values(), topics).items():
            self._metrics.count_repeats(again)
            log.warning(
                "Partition %d: %d events are scored again: their outputs were written and their offsets were not",
                partition, again,
            )  # fmt: skip


def repeated(
    waiting: Mapping[int, range], outputs: Iterable[ConsumerRecord], topics: Collection[str]
) -> dict[int, int]:
    """Partition → how many of the offsets that wait there have outputs; none is left out.

    Args:
        waiting: the offsets of events from the committed one to the partition's end.
        outputs: the last records of the topics that its outputs go to. What they say of other offsets than these comes
            from another life of the topic, and is no repeat.
        topics: what events come from. Labels have dead letters, too.
    """
    found: dict[int, int] = {}
    for record in outputs:
        offset, offsets = _source_of(record, topics), waiting[record.partition]
        if offset in offsets:
            found[record.partition] = max(found.get(record.partition, 0), offset + 1 - offsets.start)
    return found


def _source_of(record: ConsumerRecord, topics: Collection[str]) -> int:
    """The offset of the event that a prediction or a dead letter came of; -1 where that cannot be read, or is none."""
    try:
        letter = DeadLetter.from_record(record.key, record.value, record.headers)
        return letter.offset if letter.topic in topics else -1
    except NotADeadLetter:
        pass
    try:
        return msgspec.json.decode(record.value or b"", type=_Prediction).source.offset
    except msgspec.DecodeError:
        return -1
