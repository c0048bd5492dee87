"""The consumer's connection to Kafka: what Faust keeps in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiokafka
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.futures import maybe_async

from penstock.schemas.errors import ConfigurationError, PenstockError
from penstock.streams.transport.fetching import RESPONSE_BYTES, FetchResults, end_fetches, share
from penstock.streams.transport.membership import on_name, on_takeover
from penstock.streams.transport.predecessors import Names
from penstock.streams.transport.sessions import Session

if TYPE_CHECKING:
    from penstock.streams.transport.app import BlockTransport


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
