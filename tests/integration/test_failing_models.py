"""A model that fails on everything stops the worker, at once and with one traceback: another one may take over."""

from __future__ import annotations

import asyncio

import pytest
from pipelines import Kafka, MakeProject, until
from traffic import event, producing

from penstock.streams.delivery import FAILED

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


async def test_a_worker_whose_model_fails_on_every_event_ends_at_once_and_says_why_once(
    kafka: Kafka, project_named: MakeProject
) -> None:
    project = await project_named("failing", mode="exactly_once", partitions=1)
    worker = project.start_worker()
    await until(lambda: worker.owns, "it scores")
    large = dict.fromkeys(project.inputs, 1e7)
    async with producing(kafka.servers, linger_ms=50) as producer:  # all of them in one window
        await asyncio.gather(
            *[await producer.send(project.settings.topics.events.name, event(n, features=large)) for n in range(5)]
        )
    await until(lambda: worker.process.poll() is not None, "it ends")

    assert worker.process.returncode == FAILED
    assert "still in flight" not in worker.said, "it does not wait for what nobody will finish"
    assert worker.said.count("Traceback") == 1
    assert "ValueError: more than a million" in worker.said
    assert "goes on from the last committed offset" in worker.said
