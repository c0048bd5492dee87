"""Candidates on trial: proposed one after the other, decided on by the judge alone.

The judge needs event time to pass; the replay makes months of it in seconds. So while a rollout is under way the replay
stops every few days of event time, until everything before has been judged, what was decided is done, and all roles
follow it. That is all that is arranged: what the verdicts are, the flights decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer

from penstock.schemas.control import Control, Decision
from penstock.schemas.gates import Look
from penstock.streams import kafka
from penstock.streams.control import ControlPlane
from penstock.streams.control.changes import start_rollout, to_what_serves
from penstock.streams.control.trail import decision_of
from penstock.streams.delivery import GATHER_S
from penstock.streams.demo.models import Model
from penstock.streams.demo.pauses import Pauses
from penstock.streams.demo.replay import Progress, Replay
from penstock.streams.demo.traffic import Traffic
from penstock.streams.demo.worker import Workers
from penstock.streams.settings import Settings

AUTHOR = "penstock demo"
STALL_S = 3.0
"""The judge is waited for as long as anybody counts anything within so many seconds, and"""
ACT_S = 20.0
"""what it decided on at most so long."""
_POLL_S = 0.25


class Trials:
    """Replays, and lets each of `candidates` be tried as soon as the one before it is out of the way."""

    def __init__(
        self,
        settings: Settings,
        workers: Workers,
        candidates: Sequence[Model],
        traffic: Traffic,
        replay: Replay,
        consumer: AIOKafkaConsumer,
        *,
        say: Callable[[str], None],
    ) -> None:
        plan = settings.rollout
        self._settings, self._workers, self._traffic, self._replay, self._say = settings, workers, traffic, replay, say
        self._waiting = list(candidates)
        self.free_from = 0
        """Record from which on the replay did not wait for the judge."""
        self.proposed: dict[int, int] = {}
        """Revision of the control record → event time of the proposal that led to it, Unix ms."""
        self._plane = ControlPlane.of(settings)
        self._pauses = Pauses(traffic.times, first_days=plan.min_clusters, first_records=plan.min_rows)
        self._decisions = Decisions(consumer, settings)
        self._late_ms = round(1000 * settings.watch.max_out_of_order_s)
        self._bucket_ms = round(1000 * settings.labels.bucket_s)

    async def run(
        self, stop: int, *, speed_up: float | None, progress: Progress, settled: Callable[[], Awaitable[None]]
    ) -> None:
        """Send records [0, stop); `settled` waits until all that was sent has come to something."""
        await self._decisions.start()
        at = began = 0
        control = await self._next_trial(at)
        while at < stop:
            rollout = control.rollout
            pause = self._pauses.after(at, began, baking=rollout.baking) if rollout is not None else None
            if pause is None or pause.resume >= stop:
                self.free_from = at
                await self._replay.run(at, stop, speed_up=speed_up, progress=progress)
                return
            await self._replay.run(at, pause.cut, speed_up=speed_up, progress=progress)
            await settled()
            await asyncio.sleep(2 * GATHER_S)  # the scored log's records end here: a whole record matures at once
            await self._replay.run(pause.cut, pause.resume, speed_up=speed_up, progress=progress)
            await settled()
            control, at = await self._judged(pause.cut, control), pause.resume
            if control.rollout is None and self._waiting:
                control, began = await self._next_trial(at), at

    async def _next_trial(self, at: int) -> Control:
        """Propose the next candidate before record `at` is sent. All roles follow when this returns."""
        model = self._waiting.pop(0)
        time = int(self._traffic.times[at])
        day = datetime.fromtimestamp(time / 1000, UTC)
        self._say(f"Trying {model.ref}, trained {model.how}, from {day:%B} {day.day}")
        plan = self._settings.rollout.config()
        control = await self._plane.change(
            to_what_serves(self._settings.pipeline.name, lambda control: start_rollout(control, model.ref, plan=plan)),
            command=f"canary start {model.ref}",
            author=AUTHOR,
            reason=f"Trained {model.how}.",
        )
        self.proposed[control.revision] = time
        await self._workers.wait_until_they_follow(control.revision)
        return control

    async def _judged(self, cut: int, control: Control) -> Control:
        """Wait until records before `cut` have been judged, and what that led to is done; the state after that."""
        newest = self._replay.newest(cut)
        matured = (min(newest) - self._late_ms) // self._bucket_ms * self._bucket_ms
        look = await self._looked(matured, control)
        if self._decisions.control(control) is control and look is not None and look.verdict != "hold":
            await self._changed(control)
        control = self._decisions.control(control)
        await self._workers.wait_until_they_follow(control.revision)
        return control

    async def _looked(self, matured: int, control: Control) -> Look | None:
        """The last look, once there is one at everything up to `matured` or the state has changed."""
        loop, counted = asyncio.get_running_loop(), -1.0
        stalled_at = loop.time() + STALL_S
        while loop.time() < stalled_at:
            await self._decisions.read()
            look = self._decisions.look
            if self._decisions.control(control) is not control or (look is not None and look.watermark >= matured):
                return look
            self._workers.check()
            await asyncio.sleep(_POLL_S / 5)
            if (now := await self._workers.counted()) != counted:
                counted, stalled_at = now, loop.time() + STALL_S
        return self._decisions.look

    async def _changed(self, control: Control) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + ACT_S
        while self._decisions.control(control) is control and loop.time() < until:
            self._workers.check()
            await self._decisions.read()


class Decisions:
    """Follows the trail: the last look, and the state that was decided on last."""

    def __init__(self, consumer: AIOKafkaConsumer, settings: Settings) -> None:
        self._consumer, self._settings = consumer, settings
        self._control: Control | None = None
        self.look: Look | None = None

    async def start(self) -> None:
        """Read from the beginning."""
        self._consumer.assign(await kafka.partitions(self._consumer, self._settings.topics.decisions.name))

    def control(self, known: Control) -> Control:
        """What was decided on last: `known` itself where nothing is newer."""
        return known if self._control is None or self._control.revision <= known.revision else self._control

    async def read(self) -> None:
        """What has come."""
        for records in (await self._consumer.getmany(timeout_ms=50)).values():
            for record in records:
                if (decision := decision_of(record, self._settings.pipeline.name)) is not None:
                    self._take(decision)

    def _take(self, decision: Decision) -> None:
        if decision.after is not None:
            self._control, self.look = decision.after, None
        elif decision.look is not None:
            self.look = decision.look
