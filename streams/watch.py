"""The watch role: a Faust agent reads the scored log and the labels, and writes summaries.

    scored ──► segments ──► summaries                what came
    labels ──► runs ─┐
    scored, again ───┴──► quality                    what became of it, once its labels are mature

The log is read twice: at once, and again when the labels of its rows count. So labels may come early, late, repeated or
corrected, and a restart finds nothing lost: the state is the labels and two positions. Everything that is written goes
out in one transaction with the offsets that it was made from (`penstock.streams.checkpoints`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import TP
from mode import Service

from penstock.monitoring.counting.binning import Binning
from penstock.monitoring.counting.count import warm_up
from penstock.monitoring.metrics.tally import Tally
from penstock.monitoring.metrics.watch import WatchMetrics
from penstock.schemas.operations import OperationalReading
from penstock.schemas.quality import QualitySummary, encode_quality
from penstock.schemas.scored import CorruptBlock, ScoredBlock, decode
from penstock.schemas.summaries import Summary, encode_summary
from penstock.streams import kafka as clients
from penstock.streams import topics
from penstock.streams.admin import AdminServer
from penstock.streams.blocks import Block
from penstock.streams.checkpoints import Checkpoints, Output
from penstock.streams.control.follower import ControlFollower
from penstock.streams.delivery import fatal
from penstock.streams.readings import Readings, now_ms, worker_name
from penstock.streams.settings import Settings
from penstock.streams.transport import BlockApp, BlockSchema
from penstock.streams.watching.partition import PartitionWatch, WatchConfig
from penstock.streams.watching.reference import References

log = logging.getLogger("penstock.watch")

SUMMARIES_PARTITION = 0
"""The summaries topic has one partition: its order is the order in which the judge sees the world."""


def install(app: BlockApp, settings: Settings) -> None:
    """Add the watch role to an app."""
    role = WatchRole(app, settings)
    app.start_first(role)
    app.before_assigned, app.after_revoked = role.on_assigned, role.on_revoked
    sources = (settings.topics.scored.name, settings.topics.labels.name)
    app.agent(app.topic(*sources, schema=BlockSchema()), name="watch")(role.take)


@dataclass
class Watched:
    """A partition that this worker watches.

    offsets  topic → the offset after the last record that was taken
    newest   when the broker got the last record of the scored log that was taken, Unix ms
    waiting  records of the second reading that are not mature yet
    """

    watch: PartitionWatch
    offsets: dict[str, int] = field(default_factory=dict)
    newest: int = 0
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    waiting: deque[tuple[int, ScoredBlock]] = field(default_factory=deque)


class WatchRole(Service):
    """Holds the partitions that this worker watches, and writes their checkpoints."""

    def __init__(self, app: BlockApp, settings: Settings) -> None:
        super().__init__()
        self._app, self._settings, self._topics = app, settings, settings.topics
        self.metrics = WatchMetrics(settings.pipeline.name)
        self._tally = Tally("watch", worker_name(), now=now_ms())
        self._readings = Readings(settings, self._reading)
        self._label_seen: int | None = None
        self._admin = AdminServer(settings.admin.host, settings.admin.port_of("watch"), self.metrics, self._not_ready)
        self._follower = ControlFollower.of(settings)
        self._references = References(settings)
        self._checkpoints = Checkpoints.of(app, settings, "watch")
        watch = settings.watch
        self._config = WatchConfig(
            watch.segment_rows,
            int(watch.segment_max_s * 1000),
            int(watch.max_out_of_order_s * 1000),
            int(watch.max_future_s * 1000),
            settings.labels.config(),
            partitioner=settings.labels.partitioner,
        )
        self._watched: dict[int, Watched] = {}
        self._clients = AsyncExitStack()

    async def on_start(self) -> None:
        await self.add_runtime_dependency(self._admin)
        await self.add_runtime_dependency(self._checkpoints)
        await self.add_runtime_dependency(self._readings)
        log.info("Admin at %s", self._admin.address)
        self._config = self._config._replace(partitions=await topics.require(self._settings, "watch"))
        await asyncio.to_thread(warm_up)
        await self._follower.start()
        await self._refer(None if self._follower.current is None else str(self._follower.current.champion))
        self._again = await self._clients.enter_async_context(
            clients.consumer(self._settings.kafka, fetch_max_wait_ms=100)
        )

    async def on_stop(self) -> None:
        await self._follower.stop()
        await self._clients.aclose()

    def _not_ready(self) -> str | None:
        return None if self._watched else "no partition of the scored log is assigned to this worker"

    def _reading(self) -> OperationalReading | None:
        now = now_ms()
        return self._tally.reading(
            now=now,
            partitions=sorted(self._watched),
            behind_ms=self._behind_ms(now),
            label_age_ms=None if self._label_seen is None else max(now - self._label_seen, 0),
        )

    def _behind_ms(self, now: int) -> int:
        scored = self._topics.scored.name
        waited = [
            now - one.newest
            for partition, one in self._watched.items()
            if one.newest and (self._app.end_of(TP(scored, partition)) or 0) > one.offsets.get(scored, 0)
        ]
        return max(waited, default=0)

    # The reference: the champion's, as the control record says.

    @Service.task
    async def _follow_control(self) -> None:
        async for control in self._follower:
            await self._refer(str(control.champion))

    async def _refer(self, model: str | None) -> None:
        await asyncio.to_thread(self._references.use, model)
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
                PartitionWatch(partition, self._config, binning=self._binning, clock=now_ms, state=state)
            )
            for partition, state in states.items()
        }
        again = [TopicPartition(self._topics.scored.name, partition) for partition in partitions]
        self._again.assign(again)
        for tp in again:
            self._again.seek(tp, self._watched[tp.partition].watch.next_again)
        self.metrics.partitions.set(len(partitions))
        log.info("Watching partitions %s", ", ".join(map(str, partitions)))

    async def on_revoked(self, revoked: set[TP]) -> None:
        self._watched = {}
        self._again.unsubscribe()
        self.metrics.partitions.set(0)
        await self._checkpoints.close()

    # The first reading.

    async def take(self, stream: Any) -> None:
        """The agent: blocks of the scored log and of the labels, from all partitions, as they come.

        A block is acknowledged when it was taken; what is committed is said by the checkpoints alone.
        """
        async for event in stream.noack().events():
            block: Block = event.value
            watched = self._watched.get(block.partition)
            if watched is not None and event.message.generation_id == self._app.consumer_generation_id:
                if block.topic == self._topics.scored.name:
                    await self._take_scored(watched, block)
                else:
                    self._take_labels(watched, block)
                watched.offsets[block.topic] = block.next_offset
            event.ack()

    async def _take_scored(self, watched: Watched, block: Block) -> None:
        for record in block.records:
            if (scored := self._decoded(record, block.partition)) is not None:
                watched.watch.scored(scored, record.offset)
                watched.newest = record.timestamp
                self._tally.window(rows=scored.rows)
            await asyncio.sleep(0)  # heartbeats and checkpoints take their turn

    def _take_labels(self, watched: Watched, block: Block) -> None:
        batch = watched.watch.labels(block.records)
        self.metrics.count_labels(batch.rows)
        if batch.rows:
            self._label_seen = max(self._label_seen or 0, block.records[-1].timestamp)
        for bad in batch.rejected:
            place = f"{block.topic}, partition {block.partition}, offset {block.records[bad.position].offset}"
            log.warning("%s: no label, skipped. %s", place, bad.message)

    def _decoded(self, record: Any, partition: int) -> ScoredBlock | None:
        place = f"{self._topics.scored.name}, partition {partition}, offset {record.offset}"
        try:
            return decode(record.value, record.headers, place=place)
        except CorruptBlock as error:
            self.metrics.count_corrupt()
            log.error("%s Its rows are missing from the statistics.", error)
            return None

    # The second reading.

    @Service.task
    async def _read_again(self) -> None:
        while not self.should_stop:
            watched = dict(self._watched)
            hungry = [
                TopicPartition(self._topics.scored.name, partition)
                for partition, one in watched.items()
                if not one.waiting
            ]
            judged = sum([await self._judge_mature(one) for one in watched.values()])
            fetched = await self._fetch_again(hungry, watched) if hungry else 0
            if not judged and not fetched:
                await self.sleep(0.2)

    async def _fetch_again(self, hungry: list[TopicPartition], watched: dict[int, Watched]) -> int:
        consumer: AIOKafkaConsumer = self._again
        hungry = [tp for tp in hungry if tp in consumer.assignment()]
        if not hungry:
            return 0
        batches = await consumer.getmany(*hungry, timeout_ms=200, max_records=16)
        for tp, records in batches.items():
            one = watched[tp.partition]
            for record in records:
                if record.offset >= one.watch.next_again and (block := self._decoded(record, tp.partition)) is not None:
                    one.waiting.append((record.offset, block))
        return sum(map(len, batches.values()))

    async def _judge_mature(self, one: Watched) -> int:
        """Labels sent before these rows became mature must have been read, or they would seem to be missing."""
        judged = 0
        while one.waiting and one.watch.is_mature(one.waiting[0][1]) and await self._labels_are_read(one):
            record, block = one.waiting.popleft()
            one.watch.judge(block, record)
            judged += 1
            await asyncio.sleep(0)
        return judged

    async def _labels_are_read(self, one: Watched) -> bool:
        """Whether the labels topic was read as far as it was known to reach at the last fetch."""
        return await self._app.has_read(TP(self._topics.labels.name, one.watch.partition))

    # Checkpoints.

    @Service.task
    async def _write_checkpoints(self) -> None:
        while not self.should_stop:
            await self.sleep(self._settings.watch.checkpoint_s)
            for partition, one in list(self._watched.items()):
                one.watch.close_quiet_parts()
                await self._checkpoint(partition, one)

    async def _checkpoint(self, partition: int, one: Watched) -> None:
        watch = one.watch
        summaries, watch.summaries = watch.summaries, []
        qualities, watch.qualities = watch.qualities, []
        outputs = [self._summary(summary, *encode_summary(summary)) for summary in summaries]
        outputs += [self._summary(quality, *encode_quality(quality)) for quality in qualities]
        strays, watch.strays = watch.strays, []
        outputs += [
            Output(
                self._topics.labels.name, stray.partition, (stray.record.key, stray.record.value, stray.record.headers)
            )
            for stray in strays
        ]
        outputs += [self._checkpoints.state_output(partition, *change) for change in watch.changes().items()]
        offsets = {TopicPartition(topic, partition): offset for topic, offset in one.offsets.items()}
        scored = TopicPartition(self._topics.scored.name, partition)
        if scored in offsets:
            offsets[scored] = watch.resume(offsets[scored])
        if (outputs or offsets != one.committed) and await self._checkpoints.commit(partition, outputs, offsets):
            one.committed = offsets
            for summary in summaries:
                self.metrics.count_summary(summary)
            for quality in qualities:
                self.metrics.count_quality(quality)

    def _summary(self, of: Summary | QualitySummary, value: bytes, headers: Any) -> Output:
        return Output(
            self._topics.summaries.name, SUMMARIES_PARTITION, (b"%d-%d" % (of.partition, of.segment), value, headers)
        )
