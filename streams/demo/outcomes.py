"""Reads what came out, as a consumer of its own would: committed predictions and dead letters, into the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from penstock.schemas.dead_letters import DeadLetter
from penstock.schemas.records import Source
from penstock.schemas.topics import Topics
from penstock.streams import kafka
from penstock.streams.demo.ledger import Ledger


class _Seen(msgspec.Struct):
    """What the ledger needs of a prediction."""

    score: float
    version: int
    source: Source


class Outcomes:
    """Follows the topics of predictions and dead letters from where they end now."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        topics: Topics,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._consumer, self._topics, self._clock = consumer, topics, clock
        self._assigned: Sequence[TopicPartition] = ()
        self._prediction = msgspec.json.Decoder(_Seen)

    async def start(self) -> None:
        """Go to the ends: what comes from now on is of this run."""
        topics = (self._topics.predictions.name, self._topics.dead_letters.name)
        self._assigned = [tp for topic in topics for tp in await kafka.partitions(self._consumer, topic)]
        self._consumer.assign(self._assigned)
        for tp, end in (await kafka.end_offsets(self._consumer, self._assigned)).items():
            self._consumer.seek(tp, end)

    async def read(self, ledger: Ledger, *, timeout_ms: int = 50) -> int:
        """Enter what has come into the ledger, waiting at most `timeout_ms` for something; returns how many records."""
        batches = await self._consumer.getmany(timeout_ms=timeout_ms)
        at, count = self._clock(), 0
        for tp, records in batches.items():
            count += len(records)
            if tp.topic == self._topics.predictions.name:
                for record in records:
                    seen = self._prediction.decode(record.value)
                    place = seen.source
                    ledger.predicted(place.partition, place.offset, score=seen.score, at=at, version=seen.version)
            else:
                for record in records:
                    letter = DeadLetter.from_record(record.key, record.value, record.headers)
                    if letter.topic == self._topics.events.name:
                        ledger.dead_lettered(letter.partition, letter.offset, at=at)
        return count

    async def read_to_the_end(self, ledger: Ledger) -> None:
        """Read until nothing committed is left: repeats that come after everything was settled count too."""
        ends = await kafka.end_offsets(self._consumer, self._assigned)
        while not await kafka.at_end(self._consumer, ends):
            await self.read(ledger)
