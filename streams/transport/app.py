"""A Faust app whose streams carry blocks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import faust
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service

from penstock.streams.transport.blocks import Cut, cut
from penstock.streams.transport.consumer import BlockConsumer
from penstock.streams.transport.options import BlockOptions
from penstock.streams.transport.producer import BlockProducer
from penstock.streams.transport.tables import NoTables

PartitionsCallback = Callable[[set[TP]], Awaitable[None]]


class BlockApp(faust.App):
    """A Faust app whose streams carry blocks.

    `before_assigned` runs before offsets are read from the group, so that exactly-once delivery can fence the former
    owners first; `after_revoked` when nothing of the old assignment is in flight any more. `cut` makes blocks of the
    records that a fetch returned for a partition. Partitions that have no room, as `has_room` is asked by number at
    every fetch, wait.
    """

    blocks: BlockOptions
    cut: Cut = staticmethod(cut)
    has_room: Callable[[int], bool] = staticmethod(lambda partition: True)
    before_assigned: PartitionsCallback | None = None
    after_revoked: PartitionsCallback | None = None

    def __init__(self, id: str, *, blocks: BlockOptions, **settings: Any) -> None:
        self.blocks = blocks
        self._first_services: list[Service] = []
        super().__init__(id, TableManager=NoTables, **settings)  # correction 10

    def start_first(self, service: Service) -> None:
        """Start `service` before the consumer and stop it after: what works on blocks in flight."""
        self._first_services.append(service)

    def end_of(self, tp: TP) -> int | None:
        """Where the partition ended when it was last fetched; None where it was not yet."""
        consumer = self.consumer._thread._consumer
        return consumer.last_stable_offset(tp) if tp in consumer.assignment() else None

    async def has_read(self, tp: TP) -> bool:
        """Whether the partition was read as far as it was known to reach at the last fetch."""
        consumer, end = self.consumer._thread._consumer, self.end_of(tp)
        return end is not None and bool(await consumer.position(tp) >= end)

    def waits(self, tp: TP) -> bool:
        """Whether records of the partition wait: delivered and not acknowledged, or not fetched as of the last fetch.

        Offsets cannot tell: behind the last record of a transaction its marker stands.
        """
        consumer = self.consumer._thread._consumer
        if tp not in consumer.assignment():
            return False
        state = consumer._subscription.subscription.assignment.state_value(tp)
        fetched = state.has_valid_position and (state.lso or 0) <= state.position
        return not fetched or self.consumer._offsets.unfinished(tp)

    async def notes(self, partitions: Iterable[TP]) -> dict[TP, str]:
        """What stands beside the group's committed offsets of partitions: see `commit_note`."""
        asked = [TopicPartition(tp.topic, tp.partition) for tp in partitions]
        found = await self.consumer._thread._consumer._coordinator.fetch_committed_offsets(asked)
        return {TP(tp.topic, tp.partition): committed.metadata or "" for tp, committed in found.items()}

    async def commit_note(self, tp: TP, offset: int, generation: int, note: str) -> bool:
        """Commit `offset`, before which everything is acknowledged, and a note beside it; the next commit removes it.

        Returns False where the partition has another owner since `generation`.
        """
        await self.consumer.maybe_wait_for_commit_to_finish()
        await self.consumer.force_commit()
        if generation != self.consumer_generation_id:
            return False
        try:
            await self.consumer._thread._consumer.commit({TopicPartition(tp.topic, tp.partition): (offset, note)})
        except (CommitFailedError, IllegalStateError):
            return False
        return True

    async def _stop_consumer(self) -> None:  # correction 7
        """Fetch no more, finish and commit what is in flight, and leave the group before anything else is stopped."""
        await super()._stop_consumer()
        if self._consumer is not None:
            await self._consumer.leave()

    def on_init_dependencies(self) -> Iterable[Service]:
        return [*self._first_services, *super().on_init_dependencies()]

    def _new_transport(self) -> BlockTransport:
        return BlockTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> BlockTransport:
        return BlockTransport(self.conf.broker_producer, self)


class BlockSchema(faust.Schema):
    """Hands the block through as the event's value; decoding is the agent's work, a window at a time."""

    def compile(self, app: faust.App, **options: Any) -> Callable[..., Awaitable[Any]]:
        create_event = app.create_event

        async def decode(message: ConsumerMessage, *, propagate: bool = False) -> Any:
            return create_event(None, message.value, message.headers, message)

        return decode


class BlockTransport(driver.Transport):
    """What `BlockApp` gives Faust in place of its aiokafka transport."""

    Consumer = BlockConsumer
    Producer = BlockProducer
