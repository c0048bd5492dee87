"""Reads logs a second time: a consumer of no group, whose positions are those of the partitions' state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from penstock.streams.watching.partition import PartitionWatch
from penstock.streams.watching.reading import SecondReading

RECORDS = 16
"""Of one fetch. A record has thousands of rows, and those that are not mature yet wait in memory."""
_POLL_MS = 200

Decode = Callable[[str, int, Any], Any]
"""Topic, partition and record to a block; None where it cannot be read."""


class SecondReader:
    """The second readings of a worker's partitions.

    A record is fetched when the one before it was put: so few wait for their maturity, whatever that is.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        topics: Iterable[str],
        *,
        decode: Decode,
        labels_are_read: Callable[[int], Awaitable[bool]],
    ) -> None:
        self._consumer, self._topics, self._decode = consumer, tuple(topics), decode
        self._labels_are_read = labels_are_read
        self._watches: dict[int, PartitionWatch] = {}

    def assign(self, watches: Mapping[int, PartitionWatch]) -> None:
        """Read for these from now on, from where their second readings stand, and for no others."""
        self._watches = dict(watches)
        if not watches:
            self._consumer.unsubscribe()
            return
        self._consumer.assign([TopicPartition(topic, partition) for topic in self._topics for partition in watches])
        for tp, reading in self._readings():
            self._consumer.seek(tp, reading.next)

    async def read(self) -> bool:
        """Put what is mature, fetch where nothing waits. False when there was nothing to do."""
        put = sum([await self._put_mature(tp, reading) for tp, reading in self._readings()])
        return await self._fetch() + put > 0

    def _readings(self) -> list[tuple[TopicPartition, SecondReading[Any, Any]]]:
        return [
            (TopicPartition(topic, partition), reading)
            for partition, watch in self._watches.items()
            for topic, reading in zip(self._topics, watch.second_readings, strict=True)
        ]

    async def _put_mature(self, tp: TopicPartition, reading: SecondReading[Any, Any]) -> int:
        """Labels sent before these rows became mature must have been read, or they would seem to be missing."""
        watch, put = self._watches.get(tp.partition), 0
        while (
            watch is not None
            and reading.waiting
            and watch.is_mature(reading.waiting[0][0])
            and await self._labels_are_read(tp.partition)
        ):
            reading.put(*reading.waiting.popleft())
            put += 1
            await asyncio.sleep(0)  # heartbeats and checkpoints take their turn
        return put

    async def _fetch(self) -> int:
        consumer = self._consumer
        hungry = [tp for tp, reading in self._readings() if not reading.waiting and tp in consumer.assignment()]
        if not hungry:
            return 0
        some_wait = len(hungry) < len(consumer.assignment())
        batches = await consumer.getmany(*hungry, timeout_ms=0 if some_wait else _POLL_MS, max_records=RECORDS)
        readings = dict(self._readings())  # the partitions may be others by now, and then these are the others' records
        for tp, records in batches.items():
            if (reading := readings.get(tp)) is not None:
                self._take(tp, reading, records)
        for tp, reading in readings.items():
            if tp in consumer.assignment():
                end = consumer.last_stable_offset(tp)  # None: nothing was fetched yet
                reading.at_end = end is not None and await consumer.position(tp) >= end
        return sum(map(len, batches.values()))

    def _take(self, tp: TopicPartition, reading: SecondReading[Any, Any], records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            if record.offset >= reading.next and (block := self._decode(tp.topic, tp.partition, record)) is not None:
                reading.waiting.append((block, record.offset))
