"""A model that fails on its golden rows, too, stops the worker at once, with one traceback: another may take over."""

from __future__ import annotations

import asyncio

import pytest
from pipelines import Kafka, MakeProject, until
from traffic import event, producing

from penstock.streams.delivery import FAILED

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


async def test_a_worker_whose_model_is_broken_ends_at_once_and_says_why_once(
    kafka: Kafka, project_named: MakeProject
) -> None:
    project = await project_named("failing", mode="exactly_once", partitions=1)
    worker = project.start_worker()
    await until(lambda: worker.owns, "it scores")
    breaking = dict.fromkeys(project.inputs, 1e10)
    async with producing(kafka.servers, linger_ms=50) as producer:  # all of them in one window
        await asyncio.gather(
            *[await producer.send(project.settings.topics.events.name, event(n, features=breaking)) for n in range(5)]
        )
    await until(lambda: worker.process.poll() is not None, "it ends")

    assert worker.process.returncode == FAILED
    assert "still in flight" not in worker.said, "it does not wait for what nobody will finish"
    assert worker.said.count("Traceback") == 1
    assert "sum@1 fails on the golden rows of its package, too: the events are not to blame." in worker.said
    assert "RuntimeError: broken for good" in worker.said
    assert "goes on from the last committed offset" in worker.said
