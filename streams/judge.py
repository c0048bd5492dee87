"""The judge role: a Faust agent reads the summaries, one ordered topic, and raises alerts.

What the judge concludes of the stream depends on that topic alone, and what it concludes of a rollout on the control
record beside it: no clock, no other input. So a restarted judge, whose state comes back with the offset where it ends,
comes to the same alerts and looks. They go to their topics in one transaction with both; once that is committed, alerts
go to the other sinks, and a verdict on a rollout in automatic mode is carried out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from aiokafka import TopicPartition
from faust.types import TP
from mode import Service

from penstock.models.registry import RegistryUnreadable
from penstock.monitoring.judging.inputs import JudgeInputs
from penstock.monitoring.judging.judge import Judge
from penstock.monitoring.metrics.judge import JudgeMetrics
from penstock.monitoring.metrics.tally import Tally
from penstock.monitoring.rollouts.judge import RolloutJudge
from penstock.schemas.alerts import Alert, encode_alert
from penstock.schemas.control import Control
from penstock.schemas.errors import PenstockError
from penstock.schemas.operations import OperationalReading
from penstock.streams import topics
from penstock.streams.admin import AdminServer
from penstock.streams.brokers import Brokers
from penstock.streams.checkpoints import Checkpoints, Output
from penstock.streams.clocks import ClockWatch, SteadyClock
from penstock.streams.delivery import fatal
from penstock.streams.judging.acting import Actor
from penstock.streams.judging.verdicts import decided
from penstock.streams.readings import Readings, now_ms, worker_name
from penstock.streams.seldom import Seldom
from penstock.streams.settings import Settings
from penstock.streams.sinks.sinks import AlertSinks
from penstock.streams.transport import BlockApp, BlockSchema
from penstock.streams.transport.blocks import Block
from penstock.streams.watching.reference import References

log = logging.getLogger("penstock.judge")

PARTITION = 0
"""The summaries topic has one partition, and so have those of alerts and decisions."""

STATE_EVERY = 5
"""A checkpoint without alerts and looks may wait for so many of the role's rounds: the state is larger than
what it judges."""


def install(app: BlockApp, settings: Settings) -> None:
    """Add the judge role to an app."""
    role = JudgeRole(app, settings)
    app.start_first(role)
    app.before_assigned, app.after_revoked = role.on_assigned, role.on_revoked
    app.agent(app.topic(settings.topics.summaries.name, schema=BlockSchema()), name="judge")(role.take)


class JudgeRole(Service):
    """Holds the judge while the summaries are assigned to this worker; others stand by."""

    def __init__(self, app: BlockApp, settings: Settings) -> None:
        super().__init__()
        self._app, self._settings, self._topics = app, settings, settings.topics
        self.metrics = JudgeMetrics(settings.pipeline.name)
        self._brokers = Brokers.of(settings, "judge", self.metrics.brokers)
        self._admin = AdminServer.of(settings.admin, "judge", self.metrics, self._brokers.or_else(self._not_ready))
        self._references = References(settings)
        self._tally = Tally("judge", worker_name(), now=now_ms())
        self._readings = Readings(settings, self._reading)
        self._checkpoints = Checkpoints.of(app, settings, "judge")
        self._sinks = AlertSinks.of(settings.alerts, count=self.metrics.count_told)
        self._actor = Actor.of(settings, self._follow)
        self._inputs: JudgeInputs | None = None
        self._unreadable = Seldom(log.error)
        self._alerts: list[Alert] = []
        self._next = self._committed = 0
        self._rounds = 0

    async def on_start(self) -> None:
        await self.add_runtime_dependency(self._admin)
        await self.add_runtime_dependency(self._checkpoints)
        await self.add_runtime_dependency(self._readings)
        await self.add_runtime_dependency(ClockWatch(self.metrics.clock, SteadyClock()))
        await self.add_runtime_dependency(self._brokers)
        log.info("Admin at %s", self._admin.address)
        await topics.require(self._settings, "judge")
        await self.add_runtime_dependency(self._actor)

    async def on_stop(self) -> None:
        await self._sinks.close()

    def _not_ready(self) -> str | None:
        return None if self._inputs is not None else "another worker judges; this one stands by"

    def _reading(self) -> OperationalReading | None:
        """So that time passes for the judge when nobody else speaks, and it notices that."""
        return self._tally.reading(now=now_ms()) if self._inputs is not None else None

    # The summaries come and go.

    async def on_assigned(self, assigned: set[TP]) -> None:
        try:
            if assigned:
                await self._take_over()
        except Exception as error:
            fatal(error)  # aiokafka would log it and go on, with nobody who judges

    async def _take_over(self) -> None:
        state = (await self._checkpoints.open([PARTITION]))[PARTITION]
        settings = self._settings
        sensitive = frozenset(feature.name for feature in settings.catalogue.features if feature.sensitive)
        judge = Judge(
            settings.drift.config(settings.watch),
            settings.labels.config(),
            settings.alerts.config(),
            pipeline=settings.pipeline.name,
            profile=self._references.profile,
            sensitive=sensitive,
        )
        rollouts = RolloutJudge(
            settings.rollout.config(),
            settings.labels.config(),
            idle_s=max(_IDLE_SEGMENTS * settings.watch.segment_max_s, _IDLE_S),
            sensitive=sensitive,
        )
        inputs = JudgeInputs(judge, rollouts)
        if snapshot := joined(state):
            inputs.restore(snapshot)
        self._inputs = inputs
        if self._actor.control is not None:
            self._follow(self._actor.control)
        self._actor.act(rollouts.pending)
        self.metrics.show_open(judge.open)
        self._alerts, self._next, self._committed = [], 0, 0
        self._parts = len(state)
        log.info("Judging %s", "from its beginning" if not snapshot else "from where the last judge stopped")

    async def on_revoked(self, revoked: set[TP]) -> None:
        self._inputs = None
        self._actor.act(None)
        self.metrics.show_rollout(None)
        await self._checkpoints.close()

    def _follow(self, control: Control) -> None:
        self.metrics.revision.set(control.revision)
        if self._inputs is not None:
            self._inputs.follow(control)
            self.metrics.show_rollout(control.rollout)

    # Judging.

    async def take(self, stream: Any) -> None:
        """The agent: runs of summaries, in order."""
        async for event in stream.noack().events():
            block: Block = event.value
            if (inputs := self._inputs) is not None and self._is_current(event):
                for record in block.records:
                    if self._inputs is not inputs:  # taken away meanwhile
                        break
                    self._take(inputs, record)
                    self._next = record.offset + 1
                    await asyncio.sleep(0)  # heartbeats and checkpoints take their turn
            event.ack()

    def _is_current(self, event: Any) -> bool:
        return bool(event.message.generation_id == self._app.consumer_generation_id)

    def _take(self, inputs: JudgeInputs, record: Any) -> None:
        self.metrics.count_judged(inputs.kind_of(record.headers))
        place = f"{self._topics.summaries.name}, offset {record.offset}"
        try:
            self._alerts += inputs.take(
                record.value, record.headers, offset=record.offset, written=record.timestamp, place=place
            )
        except RegistryUnreadable as error:
            fatal(error)  # a judge that does not know the reference would learn another one; a restart tries again
        except PenstockError as error:
            self.metrics.count_unreadable()
            self._unreadable.say(f"{error} It is skipped.")

    # Checkpoints.

    @Service.task
    async def _write_checkpoints(self) -> None:
        while not self.should_stop:
            await self.sleep(self._settings.watch.checkpoint_s / 2)
            self._rounds += 1
            inputs = self._inputs
            if inputs is not None and (self._alerts or inputs.looks or self._rounds % STATE_EVERY == 0):
                await self._checkpoint(inputs)

    async def _checkpoint(self, inputs: JudgeInputs) -> None:
        following = inputs.resume(self._next)
        if following == self._committed and not self._alerts and not inputs.looks:
            return
        alerts, self._alerts = self._alerts, []
        looks, inputs.looks, pending = inputs.looks, [], inputs.rollouts.pending
        snapshot = inputs.snapshot()
        parts = cut(snapshot)
        outputs = [Output(self._topics.alerts.name, PARTITION, encode_alert(alert)) for alert in alerts]
        if (control := self._actor.control) is not None:  # without, there is nothing to look at
            decisions = self._topics.decisions.name
            outputs += [Output(decisions, PARTITION, decided(look, control, time=now_ms())) for look in looks]
        outputs += [self._checkpoints.state_output(PARTITION, f"{number}", part) for number, part in enumerate(parts)]
        outputs += [
            self._checkpoints.state_output(PARTITION, f"{number}", None) for number in range(len(parts), self._parts)
        ]
        offsets = {TopicPartition(self._topics.summaries.name, PARTITION): following}
        if not await self._checkpoints.commit(PARTITION, outputs, offsets):
            return
        self._committed, self._parts = following, len(parts)
        for look in looks:
            self.metrics.count_look(look.verdict)
        self._actor.act(pending)
        for alert in alerts:
            self.metrics.count_alert(alert)
            await self._sinks.send(alert)


_IDLE_SEGMENTS = 3
"""Times the longest that a segment stays open: a partition that says nothing for so long is silent, but"""
_IDLE_S = 30.0
"""not one that only paused for a moment, or whose worker was busy."""

PART_BYTES = 800_000
"""Of a snapshot in one record."""


def cut(snapshot: bytes) -> list[bytes]:
    """A snapshot in parts that fit into records.

    >>> joined({str(n): part for n, part in enumerate(cut(b"x" * 2_000_000))}) == b"x" * 2_000_000
    True
    """
    return [snapshot[start : start + PART_BYTES] for start in range(0, len(snapshot), PART_BYTES)]


def joined(parts: dict[str, bytes]) -> bytes:
    """The snapshot that was cut; empty where there is none."""
    numbers: Sequence[str] = sorted(parts, key=int)
    return b"".join(parts[number] for number in numbers)
