"""What the judge concludes depends on its input alone: killed and started again, it raises the same alerts once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka import ConsumerRecord
from pipelines import Kafka, MakeProject, Project, Witness, until
from traffic import event, features, producing

from penstock.monitoring.judging.inputs import JudgeInputs
from penstock.monitoring.judging.judge import Judge
from penstock.monitoring.rollouts.judge import RolloutJudge
from penstock.schemas.alerts import Alert, decode_alert
from penstock.streams.watching.reference import References

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 2
CALM, FAULTY = 9_000, 2_000
QUICK = """
    [watch]
    segment_rows = 64
    segment_max_s = 600
    checkpoint_s = 0.3
    [drift]
    reference_segments = 50
    false_alarms_per_week = 0.01
"""


def faulty(number: int) -> bytes:
    """x0 comes in another unit."""
    return event(number, features={**features(number), "x0": 1000 * features(number)["x0"] + 500})


def alerts_in(records: Sequence[ConsumerRecord]) -> list[Alert]:
    return [decode_alert(record.value, record.headers, "alerts") for record in records]


def judged(project: Project, records: Sequence[ConsumerRecord]) -> list[Alert]:
    """What a judge that nobody disturbs says of the same summaries."""
    settings = project.settings
    judge = Judge(
        settings.drift.config(settings.watch),
        settings.labels.config(),
        settings.alerts.config(),
        pipeline=settings.pipeline.name,
        profile=References(settings).profile,
    )
    inputs = JudgeInputs(judge, RolloutJudge(settings.rollout.config(), settings.labels.config()))
    return [
        alert
        for record in records
        for alert in inputs.take(record.value, record.headers, offset=record.offset, written=record.timestamp)
    ]


async def test_a_unit_change_raises_one_alert_through_kill_minus_nine(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    project = await project_named("judging", mode="at_least_once", partitions=PARTITIONS, more=QUICK)
    topics = project.settings.topics
    workers = {role: project.start_worker(role) for role in ("score", "watch", "judge")}
    workers["score"].wait_until_it_says("Scoring partitions")
    workers["watch"].wait_until_it_says("Watching partitions")
    workers["judge"].wait_until_it_says("Judging from its beginning")
    async with producing(kafka.servers) as producer:
        for number in range(CALM + FAULTY):
            value = event(number) if number < CALM else faulty(number)
            await producer.send(topics.events.name, value, b"e%d" % number, partition=number % PARTITIONS)
        await producer.flush()
    await until(lambda: workers["judge"].metric("penstock_judged_total") > 20, "the first segments are judged")
    workers["judge"].kill()
    second = project.start_worker("judge")
    await witness.read(topics.alerts.name, lambda seen: len(seen) > 0, timeout_s=60)
    second.kill()
    third = project.start_worker("judge")
    third.wait_until_it_says("Judging from where the last judge stopped")
    await until(
        lambda: workers["watch"].metric("penstock_watched_rows_total") >= (CALM + FAULTY) // 128 * 128 - 128,
        "all segments are summarised",
    )
    assert await asyncio.to_thread(workers["watch"].stop) == 0, workers["watch"].said
    assert await asyncio.to_thread(workers["score"].stop) == 0, workers["score"].said

    summaries = await witness.read(topics.summaries.name, lambda seen: len(seen) > 100, timeout_s=30)
    expected = judged(project, summaries)
    records = await witness.read(topics.alerts.name, lambda seen: len(seen) >= len(expected), timeout_s=30)
    assert alerts_in(records) == expected
    raised = [alert for alert in alerts_in(records) if alert.state == "raised"]
    assert [alert.causes[0].signal for alert in raised] == ["feature:x0"]
    assert await third.stopped() == 0, third.said
