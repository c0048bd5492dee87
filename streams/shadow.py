"""The shadow role: a Faust agent reads the scored log and asks candidates about the rows that it keeps.

    scored ──► candidates ──► shadow-scores
               (in a thread)

Nobody waits for it: a candidate that is slow, or that fails, makes this role lag, and that is a metric. What it writes
goes out in one transaction with the offsets that it was made from (`penstock.streams.checkpoints`), so that each row
is there once. Without a candidate it passes the log by, unread: whoever is tried later begins at the present.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from faust.types import TP
from mode import Service

from penstock.models.past_tests import PastTests
from penstock.models.runtime import Runtime
from penstock.monitoring.metrics.shadow import ShadowMetrics
from penstock.monitoring.metrics.tally import Tally
from penstock.schemas.operations import OperationalReading
from penstock.schemas.records import ModelRef
from penstock.schemas.scored import CorruptBlock, ScoredBlock, decode
from penstock.streams import kafka as clients
from penstock.streams import topics
from penstock.streams.admin import AdminServer
from penstock.streams.back_off import PATIENT
from penstock.streams.brokers import Brokers
from penstock.streams.checkpoints import Checkpoints, Output
from penstock.streams.clocks import ClockWatch, SteadyClock
from penstock.streams.control.follower import ControlFollower
from penstock.streams.delivery import fatal
from penstock.streams.readings import Readings, now_ms, worker_name
from penstock.streams.registry import load_model
from penstock.streams.seldom import Seldom
from penstock.streams.settings import Settings
from penstock.streams.shadowing.allocator import keep_freed_memory
from penstock.streams.shadowing.candidates import Candidates
from penstock.streams.shadowing.lag import Lag
from penstock.streams.shadowing.niceness import step_back
from penstock.streams.shadowing.partition import STATE, Answer, PartitionShadow
from penstock.streams.shadowing.said import Said
from penstock.streams.transport import BlockApp, BlockSchema
from penstock.streams.transport.blocks import Block

log = logging.getLogger("penstock.shadow")

WAITING_BYTES = 8 << 20
"""So much is written before its time."""
LAG_EVERY_S = 5.0


def install(app: BlockApp, settings: Settings) -> None:
    """Add the shadow role to an app."""
    role = ShadowRole(app, settings)
    app.start_first(role)
    app.before_assigned, app.after_revoked = role.on_assigned, role.on_revoked
    app.agent(app.topic(settings.topics.scored.name, schema=BlockSchema()), name="shadow")(role.take)


@dataclass
class Shadowed:
    """A partition that this worker shadows.

    next       the offset in the scored log after the last record that was taken; None: none was yet
    committed  what the last checkpoint said of that
    """

    partition: PartitionShadow
    lag: Lag
    next: int | None = None
    committed: int | None = None


class ShadowRole(Service):
    """Holds the candidates and the partitions that this worker shadows, and writes their checkpoints."""

    def __init__(self, app: BlockApp, settings: Settings) -> None:
        super().__init__()
        self._app, self._settings, self._topics = app, settings, settings.topics
        self.metrics = ShadowMetrics(settings.pipeline.name)
        self._clock = SteadyClock()
        self._tally = Tally("shadow", worker_name(), now=now_ms())
        self._readings = Readings(settings, self._reading)
        self._brokers = Brokers.of(settings, "shadow", self.metrics.brokers)
        self._admin = AdminServer.of(settings.admin, "shadow", self.metrics, self._brokers.or_else(self._not_ready))
        self._follower = ControlFollower.of(settings)
        self._checkpoints = Checkpoints.of(app, settings, "shadow")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="candidates")
        self._candidates = Candidates(
            self._load,
            catalogue=settings.catalogue,
            slices=settings.labels.slices,
            metrics=self.metrics,
            retire=self._retire,
        )
        self._shadowed: dict[int, Shadowed] = {}
        self._corrupt = Seldom(log.error)
        self._said = Said(self._topics.scored.name, self.metrics, app.end_of)
        self._clients = AsyncExitStack()

    async def on_start(self) -> None:
        """Returns when the candidates are loaded; only then does the worker join its consumer group."""
        keep_freed_memory()
        await self.add_runtime_dependency(self._admin)
        await self.add_runtime_dependency(self._checkpoints)
        await self.add_runtime_dependency(self._readings)
        await self.add_runtime_dependency(ClockWatch(self.metrics.clock, self._clock))
        await self.add_runtime_dependency(self._brokers)
        log.info("Admin at %s", self._admin.address)
        await topics.require(self._settings, "shadow")
        await self._follower.start()
        if (control := self._follower.current) is not None:
            await self._candidates.follow(control)
            self.metrics.revision.set(control.revision)
        if self._candidates.scorer is None:
            log.info("No candidate is tried: the scored log passes by unread")
        step_back()
        self._reader = await self._clients.enter_async_context(clients.consumer(self._settings.kafka))

    async def on_stop(self) -> None:
        await self._follower.stop()
        await self._clients.aclose()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _not_ready(self) -> str | None:
        return None if self._shadowed else "no partition of the scored log is assigned to this worker"

    def _reading(self) -> OperationalReading | None:
        behind_ms = max((one.lag.behind_ms for one in self._shadowed.values()), default=0)
        return self._tally.reading(now=now_ms(), partitions=sorted(self._shadowed), behind_ms=behind_ms)

    # The candidates, as the control record says.

    @Service.task
    async def _follow_control(self) -> None:
        async for control in self._follower:
            await self._candidates.follow(control)
            self.metrics.revision.set(control.revision)

    @Service.task
    async def _try_again(self) -> None:
        failures = 0
        while not self.should_stop:
            failures = 0 if await self._candidates.try_again() else failures + 1
            await self.sleep(PATIENT.delay_s(max(failures, 1)))

    def _load(self, model: ModelRef) -> Runtime:
        runtime = load_model(self._settings, model, past_tests=PastTests())
        gc.freeze()  # what torch brought with it stays: nobody need walk through it
        return runtime

    def _retire(self, close: Callable[[], None]) -> None:
        self._thread.submit(close)  # behind what is being scored

    # Partitions come and go.

    async def on_assigned(self, assigned: set[TP]) -> None:
        try:
            await self._take_over(sorted(tp.partition for tp in assigned))
        except Exception as error:
            fatal(error)  # aiokafka would log it and go on, with partitions that nobody shadows

    async def _take_over(self, partitions: list[int]) -> None:
        states = await self._checkpoints.open(partitions)
        shadowed = {number: Shadowed(PartitionShadow(number, state), Lag()) for number, state in states.items()}
        await self._begin(shadowed)
        self._shadowed = shadowed
        self.metrics.partitions.set(len(partitions))
        log.info("Shadowing partitions %s", ", ".join(map(str, partitions)))

    async def _begin(self, shadowed: dict[int, Shadowed]) -> None:
        """Say where to go on: at the present where nobody is tried; for the first time, at the control record's."""
        idle, control = self._candidates.scorer is None, self._follower.current
        unset = [self._place(number) for number, one in shadowed.items() if idle or one.partition.is_new]
        if not unset:
            return
        offsets = await clients.end_offsets(self._reader, unset)
        if not idle and control is not None:
            found = await self._reader.offsets_for_times(dict.fromkeys(unset, control.time))
            offsets |= {place: at.offset for place, at in found.items() if at is not None}
        for place, offset in offsets.items():
            await self._commit(shadowed[place.partition], offset)

    async def on_revoked(self, revoked: set[TP]) -> None:
        self._shadowed = {}
        self.metrics.partitions.set(0)
        self.metrics.forget_behind()
        await self._checkpoints.close()

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topics.scored.name, partition)

    # Asking.

    async def take(self, stream: Any) -> None:
        """The agent: runs of the scored log's records, from all partitions, as they come.

        A block is acknowledged when it was taken; what is committed is said by the checkpoints alone.
        """
        async for event in stream.noack().events():
            block: Block = event.value
            one = self._shadowed.get(block.partition)
            if one is not None and event.message.generation_id == self._app.consumer_generation_id:
                await self._take(one, block)
            event.ack()

    async def _take(self, one: Shadowed, block: Block) -> None:
        if self._candidates.scorer is None:
            one.next = block.next_offset
            one.lag.took(one.next, block.records[-1].timestamp)
            return
        records = block.records
        while records:
            answers = await self._ask(one, records)
            if self._shadowed.get(block.partition) is not one:
                return  # given away meanwhile: whoever has it now asks again
            for record, answer in zip(records, answers, strict=False):
                if answer is not None:
                    self._tally.window(rows=answer.rows)
                    self._said.count(one.partition.partition, record.offset, answer)
                    one.partition.take(answer)
                one.next = record.offset + 1
                one.lag.took(one.next, record.timestamp, rows=0 if answer is None else answer.rows)
            records = records[len(answers) :]
            if one.partition.size > WAITING_BYTES:
                await self._checkpoint(one)

    async def _ask(self, one: Shadowed, records: Sequence[Any]) -> list[Answer | None]:
        """In the thread, so that heartbeats go on however slow a candidate is: about the first of the records, as many
        as a moment suffices for. None: nobody, or nothing, to ask.
        """
        scorer, partition = self._candidates.scorer, one.partition
        if scorer is None:
            return [None] * len(records)

        def answers() -> list[Answer | None]:
            blocks = ((record.offset, self._decoded(record, partition.partition)) for record in records)
            return partition.answers(blocks, scorer)

        return await asyncio.get_running_loop().run_in_executor(self._thread, answers)

    def _decoded(self, record: Any, partition: int) -> ScoredBlock | None:
        place = f"{self._topics.scored.name}, partition {partition}, offset {record.offset}"
        try:
            return decode(record.value, record.headers, place=place)
        except CorruptBlock as error:
            self.metrics.count_corrupt()
            self._corrupt.say(f"{error} Its rows are missing from the comparison.")
            return None

    # Checkpoints.

    @Service.task
    async def _write_checkpoints(self) -> None:
        async for number in self._checkpoints.turns(self._settings.watch.checkpoint_s):
            if (one := self._shadowed.get(number)) is not None:
                await self._checkpoint(one)

    async def _checkpoint(self, one: Shadowed) -> None:
        if one.next is not None and one.next != one.committed:
            await self._commit(one, one.next)

    async def _commit(self, one: Shadowed, offset: int) -> None:
        number, topic = one.partition.partition, self._topics.shadow_scores.name
        outputs = [Output(topic, number, (None, *record)) for record in one.partition.drained()]
        if (state := one.partition.change()) is not None:
            outputs.append(self._checkpoints.state_output(number, STATE, state))
        if await self._checkpoints.commit(number, outputs, {self._place(number): offset}):
            one.committed = offset

    # Lag.

    @Service.task
    async def _measure_lag(self) -> None:
        while not self.should_stop:
            await self.sleep(LAG_EVERY_S)
            shadowed = dict(self._shadowed)
            try:
                ends = await clients.end_offsets(self._reader, [self._place(number) for number in shadowed])
            except KafkaError as error:
                log.warning("How far this worker lags is not known: %s. Trying again.", error)
                continue
            for place, end in ends.items():
                one = shadowed[place.partition]
                waits = self._app.waits(TP(place.topic, place.partition))
                one.lag.measure(end, waits=waits, age_ms=self._clock.age_ms)
                if self._shadowed.get(place.partition) is one:
                    behind_s = one.lag.behind_ms / 1000
                    self.metrics.show_behind(place.partition, events=one.lag.events, seconds=behind_s)
