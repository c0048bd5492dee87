"""Checkpoints: outputs, state and the offsets of the input they were made from, in one transaction.

Watch and judge keep state, and what they write must count once; a second more or less does not matter to them. So they
always work this way, whatever the delivery mode of the predictions is. The order of a checkpoint:

1. the outputs and the new state are handed to Kafka;
2. Kafka confirms all of them;
3. the input's offsets join the transaction;
4. the transaction commits: readers of committed records see all of it or nothing.

Whoever is given a partition first fences its former owner, then reads the state, then the offsets: what was committed
last is where it goes on. A failed checkpoint ends the process, and a restart goes on from the last one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from mode import Service

from penstock.streams import kafka as clients
from penstock.streams.delivery import OutputRecord, fatal, send
from penstock.streams.reading import to_the_end
from penstock.streams.transactions import cause_of
from penstock.streams.transport import BlockApp, new_producer

if TYPE_CHECKING:
    from penstock.streams.settings import KafkaSettings, Settings

log = logging.getLogger("penstock.checkpoints")


class Output(NamedTuple):
    """A record to write, and where."""

    topic: str
    partition: int
    record: OutputRecord


@dataclass
class _Lane:
    producer: AIOKafkaProducer
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


class Checkpoints(Service):
    """One transactional producer per input partition number.

    State is kept in the compacted `state_topic`, in the partition with the input's number; its keys begin with `role`.
    """

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        group: str,
        role: str,
        state_topic: str,
        new_producer: Callable[[str], AIOKafkaProducer],
        fatal: Callable[[BaseException], None] = fatal,
    ) -> None:
        super().__init__()
        self._kafka, self._group, self._new_producer, self._fatal = kafka, group, new_producer, fatal
        self._prefix, self._state_topic = f"{role}/".encode(), state_topic
        self._lanes: dict[int, _Lane] = {}

    @classmethod
    def of(cls, app: BlockApp, settings: Settings, role: str) -> Checkpoints:
        """Those of a role's app: its id is the consumer group, and begins the transactional ids."""
        kafka = clients.client_options(settings.kafka)
        return cls(
            kafka=settings.kafka,
            group=app.conf.id,
            role=role,
            state_topic=settings.topics.state.name,
            new_producer=lambda name: new_producer(kafka, client_id=app.conf.id, transactional_id=name),
        )

    def state_output(self, partition: int, name: str, value: bytes | None) -> Output:
        """The record that keeps `value` under `name` for a partition; None forgets it."""
        return Output(self._state_topic, partition, (self._prefix + name.encode(), value, []))

    async def open(self, partitions: Collection[int]) -> dict[int, dict[str, bytes]]:
        """Fence the former owners of the partitions and take their place; returns each one's state, by name.

        Call before offsets are read. Raises UnreachableError, TopicMissing, KafkaError.
        """
        await self.close()
        producers = {partition: self._new_producer(f"{self._group}-{partition}") for partition in partitions}
        # Each start fences the former owner and ends its open transaction: only then is the state settled.
        await asyncio.gather(*(producer.start() for producer in producers.values()))
        self._lanes = {partition: _Lane(producer) for partition, producer in producers.items()}
        return await self._read_state(partitions)

    async def close(self) -> None:
        """Give the partitions up; a checkpoint that is under way is finished first."""
        lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            async with lane.busy:
                await lane.producer.stop()

    async def turns(self, every_s: float) -> AsyncIterator[int]:
        """Each open partition once in `every_s`, one after another, until the service stops.

        All at once would be felt by those who score: the brokers serve them, too.
        """
        turn = 0
        while not self.should_stop:
            await self.sleep(every_s / max(len(self._lanes), 1))
            if partitions := sorted(self._lanes):
                turn = (turn + 1) % len(partitions)
                yield partitions[turn]

    async def commit(self, partition: int, outputs: Sequence[Output], offsets: Mapping[TopicPartition, int]) -> bool:
        """Returns True when all of it is committed; False when the partition has been given up meanwhile."""
        lane = self._lanes.get(partition)
        if lane is None:
            return False
        async with lane.busy:
            if self._lanes.get(partition) is not lane:
                return False
            try:
                await self._transact(lane.producer, outputs, offsets)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._fatal(cause_of(lane.producer, error))
                return False
        return True

    async def on_stop(self) -> None:
        await self.close()

    async def _transact(
        self, producer: AIOKafkaProducer, outputs: Sequence[Output], offsets: Mapping[TopicPartition, int]
    ) -> None:
        await producer.begin_transaction()
        confirmations = []
        now = time.time_ns() // 1_000_000
        places: dict[tuple[str, int], list[OutputRecord]] = {}
        for output in outputs:
            places.setdefault((output.topic, output.partition), []).append(output.record)
        for (topic, partition), records in places.items():
            confirmations += await send(producer, topic, partition, records, now)
        await asyncio.gather(*confirmations)
        if offsets:
            await producer.send_offsets_to_transaction(dict(offsets), self._group)
        await producer.commit_transaction()

    async def _read_state(self, partitions: Collection[int]) -> dict[int, dict[str, bytes]]:
        state: dict[int, dict[str, bytes]] = {partition: {} for partition in partitions}
        assigned = [TopicPartition(self._state_topic, partition) for partition in sorted(partitions)]
        async with clients.consumer(self._kafka, fetch_max_wait_ms=100, max_partition_fetch_bytes=8 << 20) as consumer:
            await clients.partitions(consumer, self._state_topic)
            consumer.assign(assigned)
            async for run in to_the_end(consumer, assigned):
                for record in run:
                    if record.key is None or not record.key.startswith(self._prefix):
                        continue  # another role's
                    name = record.key[len(self._prefix) :].decode()
                    if record.value is None:
                        state[record.partition].pop(name, None)
                    else:
                        state[record.partition][name] = record.value
        return state
