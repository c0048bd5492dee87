"""Faust at block speed: one message per run of a partition's records instead of one per record.

Faust spends 88 µs on every message it delivers. Here a message carries a `Block`, the run of records that one fetch
returned for a partition, so that cost is paid once for thousands of events. Everything else is Faust's: the group, the
rebalance, the conductor, the streams and agents. `BlockApp` is the `faust.App` that is wired this way.

Stock Faust must be corrected in ten places for this (each was seen or read in its source):

1. Offsets: a block is acknowledged whole; the committed offset is the end of the acknowledged prefix of blocks.
2. Rebalance: what is in flight is finished and committed before Faust forgets its acknowledgements.
3. Seeks: serialised; records that were fetched across a seek are dropped and fetched again. A take-over that a newer
   rebalance has overtaken does not make the flow go on.
4. Exactly once: offsets travel inside the transactions (`penstock.streams.delivery`), Faust commits nothing.
5. A full buffer does not pause the fetcher for a second: a full queue blocks the one reader, which is enough.
6. Isolation: every consumer reads committed records only.
7. Stopping: as soon as what is in flight is committed the group is left, also in the middle of a rebalance.
8. Memory: what is fetched ahead, handed out and in flight has limits in rows and bytes. A slow stage, or a slow sink,
   holds back the fetching and nothing else: the group's heartbeats have a task of their own.
9. The look-out for a stream that is stuck: it reads positions that are not known yet, and would end the worker.
10. Tables: there are none, so nothing waits a second for them (`penstock.streams.tables`).

What a worker holds of its input is at most, in bytes of keys and values,

    fetched ahead   fetching.FETCHED_BYTES over all partitions, as the brokers compress it
    handed out      max_bytes, and as many rows as max_rows
    in flight       in_flight_windows * max_bytes, and as many rows as in_flight_windows * max_rows or IN_FLIGHT_ROWS

and one record more of each. What comes of a record (columns, outputs, the batches in which they are sent) is there as
long as the record is in flight, and no longer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import aiokafka
import faust
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaConnectionError, NodeNotReadyError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from faust.types.tuples import ack_lock
from mode import Service
from mode.utils.futures import maybe_async, notify

from penstock.schemas.errors import ConfigurationError, PenstockError
from penstock.streams.blocks import Block, BlockOffsets, Cut, InFlight, cut
from penstock.streams.fetching import RESPONSE_BYTES, FetchResults, end_fetches, share
from penstock.streams.membership import leave, on_name, on_takeover
from penstock.streams.predecessors import Names
from penstock.streams.sessions import Session
from penstock.streams.tables import NoTables

log = logging.getLogger("penstock.transport")

FETCH_BYTES = 4 << 20

IN_FLIGHT_WINDOWS = 8
"""Delivered and not done, in windows: three stages work on one each, the others wait for Kafka's confirmation."""

IN_FLIGHT_ROWS = 1 << 15
"""May be in flight however small a window is: a transaction takes longer than many small windows."""

ROOM_POLL_S = 0.1
"""How soon who waits for room notices that nothing more will be done: a rebalance, or the end."""

NOTHING_MORE_S = 0.05
"""Between two looks of the reader while the app stops: a rebalance that ends meanwhile makes it read again."""

PRODUCER_BATCH_BYTES = 900_000
"""Holds a block's predictions and stays below Kafka's default limit; aiokafka's 16 KiB would cut them to pieces."""

PRODUCER_REQUEST_BYTES = 32 * 1024 * 1024
"""No limit of our own: sizes are bounded where records are made, and by the broker."""


@dataclass(frozen=True, slots=True)
class BlockOptions:
    """How the transport fetches and cuts.

    kafka           aiokafka's connection options: bootstrap_servers, security_protocol, ssl_context, sasl_…
    max_rows        rows of a window, and of a block, at most
    max_bytes       bytes of either; a larger single record is a block of its own
    in_flight_windows   delivered and not done at most, in windows
    fetch_bytes     what one fetch asks of a partition at most
    fetch_wait_ms   how long the broker may wait for data; short, so that partitions just acquired start at once
    gather_bytes    while events come, a fetch is answered when this much is there, or
    gather_ms       after this time
    drain_s         how long a rebalance or a stop waits for blocks in flight
    exactly_once    offsets travel in transactions; Faust commits nothing
    instance_id     static membership of the consumer group
    co_partitioned  give a worker the same partition numbers of every topic
    """

    kafka: Mapping[str, Any]
    max_rows: int = 4096
    max_bytes: int = 8 << 20
    in_flight_windows: int = IN_FLIGHT_WINDOWS
    fetch_bytes: int = FETCH_BYTES
    fetch_wait_ms: int = 100
    gather_bytes: int = 32 << 10
    gather_ms: int = 1
    drain_s: float = 5.0
    exactly_once: bool = False
    instance_id: str | None = None
    co_partitioned: bool = False


class TakenOver(ConfigurationError):
    """Another worker of the group bears the same instance id, and has the partitions of this one.

    >>> print(TakenOver("flights.score", "a"))  # doctest: +NORMALIZE_WHITESPACE
    flights.score: kafka.instance_id is 'a', with which another worker has joined by now; expected an id of each
    worker's own. Set PENSTOCK_KAFKA__INSTANCE_ID for each of them.
    """

    def __init__(self, group: str, instance_id: str) -> None:
        super().__init__(
            group,
            "kafka.instance_id",
            found=f"{instance_id!r}, with which another worker has joined by now",
            expected="an id of each worker's own",
            fix="Set PENSTOCK_KAFKA__INSTANCE_ID for each of them.",
        )


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


class BlockConsumer(driver.Consumer):
    """Faust's consumer, delivering and acknowledging whole blocks."""

    app: BlockApp

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._offsets: BlockOffsets[TP] = BlockOffsets()
        limits = self.app.blocks
        self._in_flight: InFlight[TP] = InFlight(
            max_rows=max(limits.in_flight_windows * limits.max_rows, IN_FLIGHT_ROWS),
            max_bytes=limits.in_flight_windows * limits.max_bytes,
        )
        self._done = asyncio.Event()
        self._seek_lock = asyncio.Lock()
        self._seeks = 0
        self._sought = 0
        """The generation of the group in which the last take-over went to the committed offsets."""
        self._giving_up = False
        self._hand_over = asyncio.Lock()
        self._left = False

    def _new_consumer_thread(self) -> BlockConsumerThread:
        return BlockConsumerThread(self, loop=self.loop, thread_loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """One message per block. Its offset is that of the block's last record."""
        seeks, options = self._seeks, self.app.blocks
        fetched, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if self.app.should_stop:
            await asyncio.sleep(NOTHING_MORE_S)
            return
        if not fetched or self.should_stop:
            return
        if not self.flow_active or seeks != self._seeks:
            # Fetched across a seek: nothing of it was delivered, so go back to what is committed.
            await self._go_back()
            return
        blocks = [
            block
            for tp, records in fetched.items()
            if tp in active
            for block in self.app.cut(
                tp.topic, tp.partition, records, max_rows=options.max_rows, max_bytes=options.max_bytes
            )
        ]
        for block in [*(replace(block, followed=True) for block in blocks[:-1]), *blocks[-1:]]:
            if not await self._room(block, generation):
                return
            tp = TP(block.topic, block.partition)
            self._offsets.delivered(tp, block.last_offset)
            self._in_flight.add((tp, block.last_offset), rows=block.rows, size=block.size)
            yield tp, _message(tp, block, generation)

    # Correction 8: no more in flight than the limits allow; see also `penstock.streams.fetching`.

    async def _room(self, block: Block, generation: int) -> bool:
        """Wait until there is room for the block, and it is ours; False where its partition is given up before."""
        while self.flow_active and self.app.consumer_generation_id == generation:
            if self._in_flight.has_room(rows=block.rows, size=block.size) and not self._thread.session.lapsed:
                return True
            self._done.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._done.wait(), ROOM_POLL_S)
        return False

    # Correction 1: acknowledgements and offsets, block by block.

    def ack(self, message: ConsumerMessage) -> bool:
        with ack_lock:
            if message.acked:
                return False
            message.acked = True
            self._unacked_messages.discard(message)
            try:
                if message.generation_id != self.app.consumer_generation_id:
                    return False
                self._offsets.done(message.tp, message.offset)
                self._in_flight.remove((message.tp, message.offset))
                self._done.set()
                self._acked[message.tp]  # its keys are the partitions that a commit looks at
                self._n_acked += 1
                return True
            finally:
                notify(self._waiting_for_ack)

    def _new_offset(self, tp: TP) -> int | None:
        return self._offsets.committable(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: a hole in the offsets lies inside or between blocks and is passed with them."""

    # Correction 2: finish and commit before the acknowledgements are forgotten.

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._giving_up = True
        async with self._hand_over:
            if self._left:
                return
            if revoked:
                self._stop_reading()
                await self._drain(self.app.blocks.drain_s)
            await super().on_partitions_revoked(revoked)
            if self.app.after_revoked is not None:
                await self.app.after_revoked(revoked)

    def _stop_reading(self) -> None:
        self.stop_flow()
        self.app.flow_control.suspend()
        self.app.flow_control.clear()

    async def wait_empty(self) -> None:
        """As stock Faust when it stops, without its full garbage collection after every acknowledgement."""
        await self._drain(self.app.blocks.drain_s)

    async def _drain(self, timeout_s: float) -> None:
        if self.app.crashed:
            timeout_s = 0.0  # a stage is gone: nothing more will be finished
        deadline = self.loop.time() + timeout_s
        self._clean_unacked_messages()
        while self._unacked_messages and (left := deadline - self.loop.time()) > 0:
            await self._next_ack(min(left, 0.05))
            self._clean_unacked_messages()
        if self._unacked_messages and timeout_s:
            log.warning(
                "%d blocks were still in flight after %.1f s; whoever owns their partitions next scores them again",
                len(self._unacked_messages),
                timeout_s,
            )
            self._unacked_messages.clear()  # they were waited for once: Faust asks again during a rebalance
        try:
            async with asyncio.timeout(self.app.blocks.drain_s):
                await self.maybe_wait_for_commit_to_finish()
                await self.force_commit()  # commit() does nothing while another commit runs
        except TimeoutError:
            log.warning(
                "The last offsets were not committed within %.1f s; whoever owns the partitions next scores some again",
                self.app.blocks.drain_s,
            )

    async def _next_ack(self, timeout_s: float) -> None:
        acked = self._waiting_for_ack = self.loop.create_future()
        try:
            await asyncio.wait([acked], timeout=timeout_s)
        finally:
            self._waiting_for_ack = None

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._thread.share_fetches(len(assigned))
        self._thread.session.heard()
        async with self._hand_over:
            if self.app.should_stop:
                return  # to take over what is given away in a moment would only fence its next owner
            if assigned and self.app.before_assigned is not None:
                await self.app.before_assigned(assigned)
            self._giving_up = False
        await super().on_partitions_assigned(assigned, generation_id)

    # Correction 7: one hand-over at a time, and the last one leaves the group.

    async def leave(self) -> None:
        """Finish and commit what is in flight, give all partitions up and leave the group: others take over at once."""
        consumer = self._thread._consumer
        if consumer is None or self._left:
            return
        self._giving_up = True
        async with self._hand_over:
            self._stop_reading()
            await self._drain(self.app.blocks.drain_s)
            self._left = True
            if self.app.after_revoked is not None:
                await self.app.after_revoked(self.assignment())
        await leave(consumer, patience_s=self.app.blocks.drain_s)

    def close(self) -> None:
        """Nothing: Faust would close the connections here while the group still waits to hear from this member."""

    # Correction 3: one seek at a time, and it forgets what was delivered before it.

    async def perform_seek(self) -> None:
        """Faust calls it at the end of each take-over, before it resumes the flow."""
        generation = self.app.consumer_generation_id
        await self._go_back()
        self._sought = generation

    def resume_flow(self) -> None:
        """Unless a newer rebalance has begun meanwhile: what was delivered before its own seek would come twice."""
        overtaken = self._sought != self.app.consumer_generation_id and bool(self.assignment())
        if not self._giving_up and not overtaken:
            super().resume_flow()

    async def _go_back(self) -> None:
        async with self._seek_lock:
            self._offsets.forget()
            self._in_flight.forget()
            await super().perform_seek()
            await self._seek_where_nothing_is_committed()
            self._seeks += 1

    async def _seek_where_nothing_is_committed(self) -> None:
        """Stock Faust leaves such a partition where it stands: behind what was fetched across the seek and dropped."""
        consumer = self._thread._consumer
        unread = [tp for tp in consumer.assignment() if not self._read_offset.get(TP(tp.topic, tp.partition))]
        if unread:
            await consumer.seek_to_beginning(*unread)

    # Correction 4: in exactly-once mode the transactions carry the offsets.

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        if self._left:
            return False
        if self.app.blocks.exactly_once:
            return True
        return bool(await super()._commit(offsets))

    # Correction 5: stock Faust empties the set of active partitions here, and its reader then sleeps a whole second.

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing: the reader waits for the full queue anyway."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Nothing: see on_buffer_full."""

    # Correction 9: stock Faust asserts here that every position is known, which after a rebalance ended the worker.

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: a partition that is stuck shows as lag, and in what a worker says of itself."""


def _message(tp: TP, block: Block, generation: int) -> ConsumerMessage:
    return ConsumerMessage(
        tp.topic,
        tp.partition,
        block.last_offset,
        block.records[0].timestamp / 1000.0,
        0,
        None,
        None,
        block,
        None,
        0,
        0,
        tp,
        generation_id=generation,
    )


class BlockConsumerThread(driver.AIOKafkaConsumerThread):
    """Holds aiokafka's consumer: in the app's own event loop, not in a thread.

    Faust gives it a thread so that heartbeats do not wait for slow agents. Here the slow part, the model, has the
    thread, and a loop that only decodes, encodes and talks to Kafka beats in time. Parsing in a thread of its own would
    compute nothing in parallel, for it holds the GIL; it made every event 25 % dearer.
    """

    async def start(self) -> None:
        self._thread_started.set()
        self._thread_running = self.parent_loop.create_future()
        self.add_future(self._serve())
        await self._thread_running

    async def _fetch_records(self, consumer: Any, active: set[TP], *arguments: Any, **options: Any) -> Any:
        """Fetch; while events come, let the broker gather them for a moment.

        Answered at each event, the worker would spend its time on fetches and windows of one event, and every event
        would wait for those before it. When nothing comes, the first event is answered at once again.
        """
        fetcher, limits = consumer._fetcher, self.app.blocks
        fetcher._records.hand_out(rows=limits.max_rows, size=limits.max_bytes)
        with_room = {tp for tp in active if self.app.has_room(tp.partition)}
        if not with_room:  # aiokafka would take none for all
            await asyncio.sleep(limits.fetch_wait_ms / 1000)
            return {}
        records = await super()._fetch_records(consumer, with_room, *arguments, **options)
        flowing = bool(records)
        most = fetcher._max_partition_fetch_bytes  # for more than a lone partition may give the broker would wait
        fetcher._fetch_min_bytes = min(limits.gather_bytes, most) if flowing else 1
        fetcher._fetch_max_wait_ms = limits.gather_ms if flowing else limits.fetch_wait_ms
        return records

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return await maybe_async(fun(*args, **options))

    async def on_thread_stop(self) -> None:
        if self._consumer is not None:
            await end_fetches(self._consumer)
        await super().on_thread_stop()

    async def _gather_remaining_tasks(self) -> None:
        """Nothing: the tasks of this loop are the app's."""

    def _create_worker_consumer(self, transport: BlockTransport) -> aiokafka.AIOKafkaConsumer:
        conf, options = self.app.conf, self.app.blocks
        self._assignor = RangePartitionAssignor if options.co_partitioned else RoundRobinPartitionAssignor
        return aiokafka.AIOKafkaConsumer(
            **options.kafka,
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=options.instance_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset=conf.consumer_auto_offset_reset,
            max_partition_fetch_bytes=options.fetch_bytes,
            fetch_max_bytes=RESPONSE_BYTES,
            fetch_max_wait_ms=options.fetch_wait_ms,
            isolation_level="read_committed",  # correction 6
            max_poll_interval_ms=int((conf.broker_max_poll_interval or 0) * 1000),
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
        )

    async def on_start(self) -> None:
        await super().on_start()
        self.session = Session(self.app.conf.broker_session_timeout, self.loop.time)
        self.session.listen(self._consumer._coordinator)
        if (instance_id := self.app.blocks.instance_id) is not None:
            on_takeover(self._consumer, lambda: self._start_to_end(TakenOver(self.app.conf.id, instance_id)))
        else:
            on_name(self._consumer, Names.of(self.app.blocks.kafka, self.app.conf.id).bear)
        # Nothing is subscribed yet, so nothing was fetched into the mapping that is replaced here.
        self._consumer._fetcher._records = FetchResults()

    def share_fetches(self, partitions: int) -> None:
        """What is fetched ahead is for so many partitions."""
        self._consumer._fetcher._max_partition_fetch_bytes = share(self.app.blocks.fetch_bytes, partitions)

    def _start_to_end(self, error: PenstockError) -> None:
        self.app.add_future(self.app.crash(error))


class BlockProducer(driver.Producer):
    """Faust's producer: idempotent, acknowledged by all in-sync replicas, with batches that hold a block."""

    app: BlockApp

    def _new_producer(self, transactional_id: str | None = None) -> aiokafka.AIOKafkaProducer:
        return new_producer(self.app.blocks.kafka, client_id=self.client_id, transactional_id=transactional_id)


def new_producer(
    kafka: Mapping[str, Any], *, client_id: str, transactional_id: str | None = None, linger_ms: int = 0
) -> aiokafka.AIOKafkaProducer:
    """A producer for whole batches; with `transactional_id` its batches go out in transactions."""
    producer = aiokafka.AIOKafkaProducer(
        **kafka,
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        linger_ms=linger_ms,
        max_batch_size=PRODUCER_BATCH_BYTES,
        max_request_size=PRODUCER_REQUEST_BYTES,
        transactional_id=transactional_id,
    )
    look_up = producer.client.coordinator_lookup

    async def look_up_again(kind: Any, key: str) -> Any:
        """A connection that breaks while it is asked would end aiokafka's sender; one that is not ready does not."""
        try:
            return await look_up(kind, key)
        except KafkaConnectionError as error:
            raise NodeNotReadyError(str(error)) from error

    producer.client.coordinator_lookup = look_up_again
    return producer


class BlockTransport(driver.Transport):
    """What `BlockApp` gives Faust in place of its aiokafka transport."""

    Consumer = BlockConsumer
    Producer = BlockProducer
