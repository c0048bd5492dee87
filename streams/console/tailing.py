"""`penstock tail`: the records of a topic, from where one wants, for as long as one wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from penstock.schemas.errors import PenstockError
from penstock.streams import kafka as clients
from penstock.streams.reading import to_the_end

if TYPE_CHECKING:
    from penstock.streams.settings import KafkaSettings


class NoSuchPartition(PenstockError):
    """The topic does not have this partition.

    >>> print(NoSuchPartition("departures", 4, partitions=4))
    The topic departures has no partition 4; it has 0 to 3.
    """

    exit_code = 2

    def __init__(self, topic: str, partition: int, *, partitions: int) -> None:
        self.topic, self.partition, self.partitions = topic, partition, partitions
        super().__init__(f"The topic {topic} has no partition {partition}; it has 0 to {partitions - 1}.")


async def tail(
    kafka: KafkaSettings,
    topic: str,
    *,
    last: int | None = 10,
    follow: bool = True,
    partition: int | None = None,
    stop: asyncio.Event | None = None,
) -> AsyncIterator[ConsumerRecord]:
    """The last records of the topic by time (`last` None: all there are), then, with `follow`, those to come.

    Only committed records; each partition's are in order. Ends at the topic's end or when `stop` is set. Raises
    UnreachableError, TopicMissing, NoSuchPartition.
    """
    stop = stop or asyncio.Event()
    async with clients.consumer(kafka, fetch_max_wait_ms=100, max_partition_fetch_bytes=4 << 20) as consumer:
        partitions = await clients.partitions(consumer, topic)
        if partition is not None:
            wanted = TopicPartition(topic, partition)
            if wanted not in partitions:
                raise NoSuchPartition(topic, partition, partitions=len(partitions))
            partitions = [wanted]
        consumer.assign(partitions)
        if last is None:
            async for records in to_the_end(consumer, partitions):
                for record in records:
                    yield record
        else:
            for record in await _last(consumer, partitions, last):
                yield record
        while follow and not stop.is_set():
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    yield record


async def _last(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], count: int) -> list[ConsumerRecord]:
    """The `count` latest records by timestamp, and what comes meanwhile.

    Offsets have holes, so each partition is read from further and further back until it gives enough or is read whole.
    """
    ends = await consumer.end_offsets(list(partitions))
    begins = await consumer.beginning_offsets(list(partitions))
    for partition in partitions:
        consumer.seek(partition, ends[partition])  # or all of it would be fetched meanwhile
    found: list[ConsumerRecord] = []
    for partition in partitions:
        span, mine = count, []
        while True:
            start = max(begins[partition], ends[partition] - span)
            consumer.seek(partition, start)
            mine = [record async for run in to_the_end(consumer, [partition]) for record in run]
            if len(mine) >= count or start == begins[partition]:
                break
            span *= 4
        found += mine
    older = [record for record in found if record.offset < ends[TopicPartition(record.topic, record.partition)]]
    newer = [record for record in found if record.offset >= ends[TopicPartition(record.topic, record.partition)]]
    older.sort(key=lambda record: record.timestamp)
    return [*older[max(0, len(older) - count) :], *newer]
