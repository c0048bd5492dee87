"""A judge in automatic mode carries a rollout through, and being killed in the middle of it changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from pipelines import Kafka, MakeProject, Project, Witness, Worker, until
from rollouts import NEW, OLD, Message, World
from traffic import producing

from penstock.schemas.comparison import ComparisonSummary
from penstock.schemas.comparison_wire import encode_comparison
from penstock.schemas.control import Control, Decision
from penstock.schemas.operations import encode_reading
from penstock.schemas.quality import QualitySummary, encode_quality
from penstock.streams.control import ControlFollower, ControlPlane
from penstock.streams.control.changes import champion, start_rollout, to_what_serves

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PLAN = """
    [watch]
    checkpoint_s = 0.3
    [labels]
    bucket_s = 86400
    [rollout]
    mode = "automatic"
    stages = [0.1, 0.5]
    margin = 0.02
    min_rows = 500
    min_clusters = 2
    bake_s = 86400
"""


def encoded(message: Message) -> tuple[bytes, Any]:
    if isinstance(message, ComparisonSummary):
        return encode_comparison(message)
    if isinstance(message, QualitySummary):
        return encode_quality(message)
    return encode_reading(message)


class Days:
    """Writes what the workers would say, day by day, of what the control record lets serve."""

    def __init__(self, project: Project, producer: AIOKafkaProducer, follower: ControlFollower, world: World) -> None:
        self._topic = project.settings.topics.summaries.name
        self._producer, self._follower, self._world = producer, follower, world

    async def pass_until(self, reached: Callable[[Control], bool], judge: Worker, *, at_most: int) -> Control:
        """Days pass, each when the one before was judged, until the control record is as wished."""
        for _ in range(at_most):
            if reached(control := self.control):
                return control
            due = judge.metric("penstock_judged_total")
            for message in self._world.next_day(control):
                await self._write(message)
                due += 1
            await until(partial(_has_judged, judge, due), "the day is judged")
            await asyncio.sleep(
                0.5
            )  # what it concluded is committed by then, and carried out; if not, a day more passes
        raise AssertionError(f"not within {at_most} days: {judge.said}")

    @property
    def control(self) -> Control:
        assert self._follower.current is not None
        return self._follower.current

    async def _write(self, message: Message) -> None:
        value, headers = encoded(message)
        await self._producer.send_and_wait(self._topic, value, partition=0, headers=headers)


def _has_judged(judge: Worker, records: float) -> bool:
    return judge.metric("penstock_judged_total") >= records


@contextlib.asynccontextmanager
async def following(project: Project) -> AsyncIterator[ControlFollower]:
    """The control record, kept up to date."""
    follower = ControlFollower.of(project.settings)
    await follower.start()
    task = asyncio.create_task(_drain(follower))
    yield follower
    await follower.stop()
    await task


async def _drain(follower: ControlFollower) -> None:
    async for _ in follower:
        pass


async def begin(project: Project) -> None:
    """The old model serves, and the new one is at its first stage."""
    settings = project.settings
    plane = ControlPlane.of(settings)
    await plane.change(champion(settings.pipeline.name, OLD), command="use", author="test", reason="the first")
    start = to_what_serves(settings.pipeline.name, lambda now: start_rollout(now, NEW, plan=settings.rollout.config()))
    await plane.change(start, command="canary start", author="test", reason="it may be better")


async def test_a_promotion_survives_the_judge_that_was_killed_in_the_middle_of_it(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    project = await project_named("rollouts", mode="at_least_once", serves=False, more=PLAN)
    await begin(project)
    judge = project.start_worker("judge")
    judge.wait_until_it_says("Judging from its beginning")
    async with producing(kafka.servers) as producer, following(project) as follower:
        days = Days(project, producer, follower, World(worse=-0.05, segments=2))
        await days.pass_until(lambda now: now.rollout is not None and now.rollout.stage == 1, judge, at_most=8)
        passing = asyncio.create_task(days.pass_until(lambda now: now.champion == NEW, judge, at_most=8))
        await until(lambda: "promote of delay@2 is due" in judge.said, "it decides to promote")
        judge.kill()
        passing.cancel()
        await asyncio.gather(passing, return_exceptions=True)

        judge = project.start_worker("judge")
        judge.wait_until_it_says("Judging from where the last judge stopped")
        await until(lambda: days.control.champion == NEW, "the promotion is made")
        ended = await days.pass_until(lambda now: now.rollout is None, judge, at_most=8)
    assert (ended.champion, ended.previous, ended.shadows, ended.variants) == (NEW, OLD, (), {})

    topics = project.settings.topics
    states = [msgspec.json.decode(record.value, type=Control) for record in await _all(witness, topics.control.name)]
    assert [state.revision for state in states] == [1, 2, 3, 4, 5], "no revision is missing, and none came twice"
    assert [str(state.champion) for state in states] == ["delay@1"] * 3 + ["delay@2"] * 2
    trail = [msgspec.json.decode(record.value, type=Decision) for record in await _all(witness, topics.decisions.name)]
    changes = [one for one in trail if one.author == "judge" and one.command != "look"]
    assert [one.command for one in changes] == ["canary step", "promote", "promote --finish"]
    looks = [one.look for one in trail if one.command == "look"]
    assert set(Counter(msgspec.json.encode(look) for look in looks).values()) == {1}, "each look is there once"
    assert [look for look in looks if look is not None and look.verdict != "hold"] == [one.look for one in changes]
    assert await judge.stopped() == 0, judge.said


async def _all(witness: Witness, topic: str) -> list[Any]:
    return await witness.read(topic, lambda seen: len(seen) > 0, timeout_s=30)
