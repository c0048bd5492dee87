"""A candidate is judged, answers a share of the keys and is promoted, by real workers of all roles that are killed on
the way: they end on the same revision, and no event is lost or doubled.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pipelines import FEATURES, Kafka, MakeProject, Project, Witness, Worker, until
from traffic import Traffic, check_order, check_scores, decoded, flowing, producing, repeats

from penstock.schemas.control import Control
from penstock.streams.control import change_control, read_control
from penstock.streams.control.changes import start_rollout, to_what_serves
from penstock.streams.control.trail import read_trail

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 2
QUICK = """
    [watch]
    segment_rows = 64
    segment_max_s = 1
    max_out_of_order_s = 0
    checkpoint_s = 0.3
    [labels]
    maturity_s = 2
    bucket_s = 1
    [rollout]
    mode = "automatic"
    stages = [0.2]
    min_rows = 200
    min_clusters = 3
"""
"""Seconds are what days are elsewhere."""


@asynccontextmanager
async def outcomes(servers: list[str], topic: str, traffic: Traffic) -> AsyncIterator[None]:
    """The outcome of every event is no, a moment later: the champion, which always says yes, is always wrong."""
    ended = asyncio.Event()

    async def tell() -> None:
        told = 0
        async with producing(servers) as producer:
            while not ended.is_set():
                numbers, told = traffic.sent[told:], len(traffic.sent)
                now = int(time.time() * 1000)
                for n in numbers:
                    label = {"id": f"e{n}", "label": 0, "time": now}
                    await producer.send(topic, json.dumps(label).encode(), partition=n % PARTITIONS)
                await producer.flush()
                await asyncio.sleep(0.1)

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        ended.set()
        await task


async def control_of(project: Project) -> Control:
    control = await read_control(project.settings)
    assert control is not None
    return control


async def until_promoted(project: Project) -> Control:
    """Asked for often: what follows is to happen in the middle of it."""
    deadline = time.monotonic() + 90
    while not ((control := await control_of(project)).rollout and control.rollout.baking):
        trail = await read_trail(project.settings)
        seen = [decision.look.reason for decision in trail.decisions if decision.look is not None]
        assert time.monotonic() < deadline, f"no promotion; what was seen: {seen[-3:]}"
    return control


async def test_workers_of_all_roles_are_killed_in_the_middle_of_a_promotion(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    project = await project_named("promoting", mode="exactly_once", partitions=PARTITIONS, more=QUICK)
    settings, topics = project.settings, project.settings.topics
    candidate = project.package(seed=2, inputs=FEATURES, factor=-1.0)
    workers = {role: project.start_worker(role) for role in ("score", "shadow", "watch", "judge")}
    workers["score"].wait_until_it_scores()

    def killed(role: str) -> Worker:
        workers[role].kill()
        workers[role] = project.start_worker(role)
        return workers[role]

    async with (
        flowing(kafka.servers, topics.events.name, partitions=PARTITIONS, per_second=400) as traffic,
        outcomes(kafka.servers, topics.labels.name, traffic),
    ):
        start = to_what_serves(
            settings.pipeline.name,
            lambda control: start_rollout(control, candidate, plan=settings.rollout.config()),
        )
        begun = await change_control(settings, start, command="canary start", author="test", reason="to try it")
        words = f"Revision {begun.revision} is in force"
        await until(lambda: words in workers["score"].said, words)
        killed("score")
        promoted = await until_promoted(project)
        for role in workers:
            killed(role)
        words = f"{candidate} serves from now on (revision {promoted.revision}"
        await until(lambda: words in workers["score"].said, words)
        workers["score"].wait_until_it_scores()
        sent = len(traffic.sent)
        await until(lambda: len(traffic.sent) > sent + 400, "events after the promotion")

    records = await witness.read(
        topics.predictions.name,
        lambda seen: len({one["id"] for one in decoded(seen)}) >= len(traffic.sent),
        timeout_s=60,
    )
    predictions = decoded(records)
    assert {prediction["id"] for prediction in predictions} == traffic.ids
    assert repeats(predictions) == 0
    check_order(records)
    check_scores(predictions, {1: 1.0, candidate.version: -1.0})
    assert {one["variant"] for one in predictions if one["routing_revision"] == begun.revision} == {
        "champion",
        "canary",
    }

    # Everybody ends where the control record stands, and the trail says how it came to that.
    assert await control_of(project) == promoted
    assert promoted.champion == candidate
    assert {one["version"] for one in predictions if one["routing_revision"] == promoted.revision} == {
        candidate.version
    }
    await until(lambda: f"{promoted.previous} is asked about 100 % of the keys" in workers["shadow"].said, "the bake")
    trail = await read_trail(settings)
    changes = [decision for decision in trail.decisions if decision.after is not None]
    assert [decision.revision for decision in changes] == list(range(1, promoted.revision + 1))
    assert changes[-1].author == "judge"
    assert changes[-1].look is not None
    assert changes[-1].look.verdict == "promote"
