"""The watch role: a Faust agent reads the scored log and the labels, and writes summaries.

    scored ──► segments ──► summaries                what came
    shadow-scores ──► segments ──► comparisons       what candidates say about it
    labels ──► runs ─┐
    scored, again ───┼──► quality                    what became of it, once its labels are mature
    shadow-scores, ──┴──► comparisons                who was right
        again

Both logs are read twice: at once, and again when the labels of their rows count. So labels may come early, late,
repeated or corrected, and a restart finds nothing lost: the state is the labels and the positions. A record that is no
label becomes a dead letter. Everything that is written goes out in one transaction with the offsets that it was made
from (`penstock.streams.checkpoints`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from faust.types import TP
from mode import Service

from penstock.models.registry import RegistryUnreadable
from penstock.monitoring.counting.binning import Binning
from penstock.monitoring.counting.count import warm_up
from penstock.monitoring.metrics.tally import Tally
from penstock.monitoring.metrics.watch import WatchMetrics
from penstock.schemas import paired_wire, scored
from penstock.schemas.comparison import ComparisonSummary
from penstock.schemas.control import Control
from penstock.schemas.dead_letters import DeadLetter
from penstock.schemas.operations import OperationalReading
from penstock.schemas.paired import PairedBlock
from penstock.schemas.quality import QualitySummary
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.summaries import Summary
from penstock.streams import kafka as clients
from penstock.streams import topics
from penstock.streams.admin import AdminServer
from penstock.streams.back_off import PATIENT
from penstock.streams.brokers import Brokers
from penstock.streams.checkpoints import Checkpoints, Output
from penstock.streams.clocks import ClockWatch, SteadyClock, steady_ms
from penstock.streams.control.follower import ControlFollower
from penstock.streams.delivery import OutputRecord, bytes_of, fatal
from penstock.streams.key_files import letter_key
from penstock.streams.letters import Letters
from penstock.streams.readings import Readings, now_ms, worker_name
from penstock.streams.seldom import Seldom
from penstock.streams.settings import Settings
from penstock.streams.transport import BlockApp, BlockSchema
from penstock.streams.transport.blocks import Block
from penstock.streams.watching.config import WatchConfig
from penstock.streams.watching.outputs import AnySummary, record_of
from penstock.streams.watching.partition import PartitionWatch
from penstock.streams.watching.reading import Reading, dated
from penstock.streams.watching.reference import References
from penstock.streams.watching.second_reader import SecondReader

log = logging.getLogger("penstock.watch")

SUMMARIES_PARTITION = 0
"""The summaries topic has one partition: its order is the order in which the judge sees the world."""

WAITING_BYTES = 4 << 20
"""So much of dead letters, and of labels to send on, is written before its time."""


def install(app: BlockApp, settings: Settings) -> None:
    """Add the watch role to an app."""
    role = WatchRole(app, settings)
    app.start_first(role)
    app.before_assigned, app.after_revoked = role.on_assigned, role.on_revoked
    sources = (settings.topics.scored, settings.topics.shadow_scores, settings.topics.labels)
    app.agent(app.topic(*(topic.name for topic in sources), schema=BlockSchema()), name="watch")(role.take)


@dataclass
class Watched:
    """A partition that this worker watches.

    offsets  topic → the offset after the last record that was taken
    newest   log → when the broker got its last record that was taken, Unix ms
    letters  dead letters that wait for the next checkpoint
    waiting  bytes of them, and of labels that are to be sent on
    """

    watch: PartitionWatch
    offsets: dict[str, int] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    letters: list[OutputRecord] = field(default_factory=list)
    waiting: int = 0


class WatchRole(Service):
    """Holds the partitions that this worker watches, and writes their checkpoints."""

    def __init__(self, app: BlockApp, settings: Settings) -> None:
        super().__init__()
        self._app, self._settings, self._topics = app, settings, settings.topics
        self.metrics = WatchMetrics(settings.pipeline.name)
        self._clock = SteadyClock()
        self._tally = Tally("watch", worker_name(), now=now_ms())
        self._readings = Readings(settings, self._reading)
        self._label_seen: int | None = None
        self._brokers = Brokers.of(settings, "watch", self.metrics.brokers)
        self._admin = AdminServer.of(settings.admin, "watch", self.metrics, self._brokers.or_else(self._not_ready))
        self._follower = ControlFollower.of(settings)
        self._references = References(settings)
        self._checkpoints = Checkpoints.of(app, settings, "watch")
        self._logs = (self._topics.scored.name, self._topics.shadow_scores.name)
        self._letters = Letters(self._topics.dead_letters, letter_key(settings))
        self._watched: dict[int, Watched] = {}
        self._no_labels, self._corrupt = Seldom(log.warning), Seldom(log.error)
        self._clients = AsyncExitStack()

    async def on_start(self) -> None:
        await self.add_runtime_dependency(self._admin)
        await self.add_runtime_dependency(self._checkpoints)
        await self.add_runtime_dependency(self._readings)
        await self.add_runtime_dependency(ClockWatch(self.metrics.clock, self._clock))
        await self.add_runtime_dependency(self._brokers)
        log.info("Admin at %s", self._admin.address)
        self._config = WatchConfig.of(self._settings, await topics.require(self._settings, "watch"))
        await asyncio.to_thread(warm_up)
        await self._follower.start()
        await self._refer(self._follower.current)
        self._again = SecondReader(
            await self._clients.enter_async_context(clients.consumer(self._settings.kafka, fetch_max_wait_ms=100)),
            self._logs,
            decode=self._decoded,
            labels_are_read=self._labels_are_read,
        )

    async def on_stop(self) -> None:
        await self._follower.stop()
        await self._clients.aclose()

    def _not_ready(self) -> str | None:
        return None if self._watched else "no partition of the scored log is assigned to this worker"

    def _reading(self) -> OperationalReading | None:
        return self._tally.reading(
            now=now_ms(),
            partitions=sorted(self._watched),
            behind_ms=self._behind_ms(),
            label_age_ms=None if self._label_seen is None else self._clock.age_ms(self._label_seen),
        )

    def _behind_ms(self) -> int:
        waited = [
            self._clock.age_ms(newest)
            for partition, one in self._watched.items()
            for log, newest in one.newest.items()
            if self._app.waits(TP(log, partition))
        ]
        return max(waited, default=0)

    # The reference: the champion's, as the control record says.

    @Service.task
    async def _follow_control(self) -> None:
        async for control in self._follower:
            await self._refer(control)

    async def _refer(self, control: Control | None) -> None:
        """Compare with its champion's training data as soon as they can be read."""
        model = None if control is None else str(control.champion)
        failures = 0
        while not self.should_stop:
            try:
                await asyncio.to_thread(self._references.use, model)
                break
            except RegistryUnreadable as error:
                failures += 1
                if failures == 1:
                    log.warning("What the stream is compared with does not change yet; tried again. %s", error)
                self.metrics.unread.set(1)
                await self.sleep(PATIENT.delay_s(failures))
        self.metrics.unread.set(0)
        if control is not None:
            self.metrics.revision.set(control.revision)
        log.info("Segments are compared with %s", f"the training data of {model}" if model else "nothing yet")

    def _binning(self, block: ScoredBlock) -> Binning:
        return self._references.binning(block)

    # Partitions come and go.

    async def on_assigned(self, assigned: set[TP]) -> None:
        try:
            await self._take_over(assigned)
        except Exception as error:
            fatal(error)  # aiokafka would log it and go on, with partitions that nobody watches

    async def _take_over(self, assigned: set[TP]) -> None:
        partitions = sorted({tp.partition for tp in assigned})
        states = await self._checkpoints.open(partitions)
        self._watched = {
            partition: Watched(
                PartitionWatch(partition, self._config, binning=self._binning, clock=steady_ms, state=state)
            )
            for partition, state in states.items()
        }
        self._again.assign({partition: one.watch for partition, one in self._watched.items()})
        self.metrics.partitions.set(len(partitions))
        log.info("Watching partitions %s", ", ".join(map(str, partitions)))

    async def on_revoked(self, revoked: set[TP]) -> None:
        self._watched = {}
        self._again.assign({})
        self.metrics.partitions.set(0)
        await self._checkpoints.close()

    # The first readings.

    async def take(self, stream: Any) -> None:
        """The agent: blocks of the logs and of the labels, from all partitions, as they come.

        A block is acknowledged when it was taken; what is committed is said by the checkpoints alone.
        """
        async for event in stream.noack().events():
            block: Block = event.value
            watched = self._watched.get(block.partition)
            if watched is not None and event.message.generation_id == self._app.consumer_generation_id:
                if block.topic in self._logs:
                    await self._take_rows(watched, self._first_reading(watched, block.topic), block)
                else:
                    self._take_labels(watched, block)
                watched.offsets[block.topic] = block.next_offset
                if watched.waiting > WAITING_BYTES:
                    await self._checkpoint(block.partition, watched)
            event.ack()

    def _first_reading(self, watched: Watched, log: str) -> Reading[Any, Any]:
        return watched.watch.first_readings[self._logs.index(log)]

    async def _take_rows(self, watched: Watched, reading: Reading[Any, Any], block: Block) -> None:
        for record in block.records:
            if (rows := self._decoded(block.topic, block.partition, record)) is not None:
                reading.put(rows, record.offset)
                watched.newest[block.topic] = record.timestamp
                if isinstance(rows, ScoredBlock):
                    self._tally.window(rows=rows.rows)
            await asyncio.sleep(0)  # heartbeats and checkpoints take their turn

    def _take_labels(self, watched: Watched, block: Block) -> None:
        labels = watched.watch.labels
        before = len(labels.strays)
        batch = labels.put(block.records)
        self.metrics.count_labels(batch.rows)
        if batch.rows:
            self._label_seen = max(self._label_seen or 0, block.records[-1].timestamp)
        watched.waiting += sum(len(stray.record.value or b"") for stray in labels.strays[before:])
        for bad in batch.rejected:
            record = block.records[bad.position]
            letter = DeadLetter.of(record, block.topic, block.partition, bad.stage, bad.error, bad.message)
            watched.letters.append(self._letters.record(letter))
            watched.waiting += bytes_of(watched.letters[-1])
            self.metrics.count_unreadable_label(bad.error)
            place = f"{block.topic}, partition {block.partition}, offset {record.offset}"
            self._no_labels.say(f"{place}: no label, a dead letter. {bad.message}")

    def _decoded(self, topic: str, partition: int, record: Any) -> ScoredBlock | PairedBlock | None:
        place = f"{topic}, partition {partition}, offset {record.offset}"
        decode = scored.decode if topic == self._topics.scored.name else paired_wire.decode
        try:
            return dated(
                decode(record.value, record.headers, place=place), record.timestamp, self._config.max_future_ms
            )
        except (scored.CorruptBlock, paired_wire.CorruptPaired) as error:
            self.metrics.count_corrupt()
            self._corrupt.say(f"{error} Its rows are missing from the statistics.")
            return None

    # The second readings.

    @Service.task
    async def _read_again(self) -> None:
        while not self.should_stop:
            if not await self._again.read():
                await self.sleep(0.2)

    async def _labels_are_read(self, partition: int) -> bool:
        """Whether the labels topic was read as far as it was known to reach at the last fetch."""
        return await self._app.has_read(TP(self._topics.labels.name, partition))

    # Checkpoints.

    @Service.task
    async def _write_checkpoints(self) -> None:
        async for partition in self._checkpoints.turns(self._settings.watch.checkpoint_s):
            if (one := self._watched.get(partition)) is not None:
                one.watch.pass_time()
                await self._checkpoint(partition, one)

    async def _checkpoint(self, partition: int, one: Watched) -> None:
        watch = one.watch
        summaries = [summary for reading in watch.readings for summary in reading.give()]
        unjudged, watch.unjudged = watch.unjudged, 0
        strays, watch.labels.strays = watch.labels.strays, []
        letters, one.letters, one.waiting = one.letters, [], 0
        topic = self._topics.summaries.name
        outputs = [Output(topic, SUMMARIES_PARTITION, record_of(summary)) for summary in summaries]
        outputs += [
            Output(
                self._topics.labels.name, stray.partition, (stray.record.key, stray.record.value, stray.record.headers)
            )
            for stray in strays
        ]
        outputs += [Output(self._topics.dead_letters.name, partition, letter) for letter in letters]
        outputs += [self._checkpoints.state_output(partition, *change) for change in watch.changes().items()]
        offsets = {
            TopicPartition(topic, partition): (
                self._first_reading(one, topic).resume(offset) if topic in self._logs else offset
            )
            for topic, offset in one.offsets.items()
        }
        if (outputs or offsets != one.committed) and await self._checkpoints.commit(partition, outputs, offsets):
            one.committed = offsets
            self._count(summaries, unjudged)

    def _count(self, summaries: Sequence[AnySummary], unjudged: int) -> None:
        for summary in summaries:
            match summary:
                case Summary():
                    self.metrics.count_summary(summary)
                case QualitySummary():
                    self.metrics.count_quality(summary)
                case ComparisonSummary():
                    self.metrics.count_comparison(summary)
        self.metrics.count_unjudged(unjudged)
        if unjudged:
            log.warning(
                "%d rows came from the shadow when labels of their time were forgotten: nobody can say whether their "
                "candidates were right. Labels are kept for labels.retention_s.",
                unjudged,
            )
