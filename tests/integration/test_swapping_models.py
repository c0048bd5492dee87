"""The champion changes while events flow: every prediction is that of the version it names, and none is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from pipelines import Kafka, MakeProject, Project, Witness, Worker, until
from traffic import check_order, check_scores, decoded, flowing, producing, repeats

from penstock.schemas.records import ModelRef
from penstock.streams.control import use_champion

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

FACTORS = {1: 1.0, 2: 2.0, 3: 3.0}


class Running(NamedTuple):
    project: Project
    worker: Worker

    async def use(self, version: int) -> None:
        await use_champion(self.project.settings, ModelRef("sum", version), author="test", reason="a swap")

    def serves(self, version: int, times: int = 1) -> bool:
        return self.worker.said.count(f"sum@{version} serves from now on") == times

    @property
    def predicted(self) -> float:
        return self.worker.metric("penstock_predictions_total")


@pytest.fixture(scope="module", params=["at_least_once", "exactly_once"])
def running(request: pytest.FixtureRequest, project_named: MakeProject) -> Iterator[Running]:
    """A worker that scores with sum@1; sum@2 is registered too."""
    project = asyncio.run(project_named(f"swap-{request.param.replace('_', '-')}", mode=request.param))
    assert project.package(seed=2, factor=FACTORS[2]) == ModelRef("sum", 2)
    worker = project.start_worker()
    worker.wait_until_it_scores()
    yield Running(project, worker)
    assert worker.stop() == 0, worker.said


async def test_a_swap_and_its_reversal_lose_and_double_nothing(
    running: Running, kafka: Kafka, witness: Witness
) -> None:
    topics = running.project.settings.topics
    async with flowing(kafka.servers, topics.events.name, partitions=2) as traffic:
        await until(lambda: running.predicted > 100, "the first predictions")
        await running.use(2)
        await until(lambda: running.serves(2), "sum@2 serves")
        before = running.predicted
        await until(lambda: running.predicted > before + 200, "predictions of sum@2")
        await running.use(1)
        await until(lambda: running.serves(1, times=2), "sum@1 serves again")
        before = running.predicted
        await until(lambda: running.predicted > before + 200, "predictions of sum@1")

    records = await witness.read(
        topics.predictions.name, lambda seen: len({r.key for r in seen}) >= len(traffic.sent), timeout_s=30
    )
    predictions = decoded(records)
    assert {prediction["id"] for prediction in predictions} == traffic.ids
    assert repeats(predictions) == 0
    check_scores(predictions, FACTORS)
    check_order(records)
    answered = {(prediction["routing_revision"], prediction["version"]) for prediction in predictions}
    assert answered == {(1, 1), (2, 2), (3, 1)}


async def test_a_model_that_is_refused_changes_nothing_and_a_good_one_after_it_is_followed(
    running: Running, kafka: Kafka, witness: Witness
) -> None:
    project, worker = running.project, running.worker
    damaged = project.package(seed=4)
    weights = project.settings.directory / "registry" / "sum" / str(damaged.version) / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)
    asking = project.package(seed=5, beside=["wind"])
    good = project.package(seed=3, factor=FACTORS[3])
    topics = project.settings.topics
    first = int(running.predicted)

    async with flowing(kafka.servers, topics.events.name, partitions=2, first=100_000) as traffic:
        await use_champion(project.settings, damaged, author="test", reason="a flipped bit")
        await until(lambda: worker.metric("penstock_models_refused_total") == 1, "the damaged model is refused")
        await use_champion(project.settings, asking, author="test", reason="it asks for wind")
        await until(lambda: worker.metric("penstock_models_refused_total") == 2, "the asking model is refused")
        before = running.predicted
        await until(lambda: running.predicted > before + 200, "sum@1 goes on")
        await use_champion(project.settings, good, author="test", reason="a good one")
        await until(lambda: f"{good} serves from now on" in worker.said, "the good one serves")
        before = running.predicted
        await until(lambda: running.predicted > before + 200, "predictions of the good one")

    records = await witness.read(
        topics.predictions.name, lambda seen: len(seen) >= first + len(traffic.sent), timeout_s=30
    )
    predictions = [one for one in decoded(records) if int(one["id"][1:]) >= 100_000]
    assert {prediction["id"] for prediction in predictions} == traffic.ids
    assert repeats(predictions) == 0
    check_scores(predictions, FACTORS | {good.version: FACTORS[3]})
    assert {prediction["version"] for prediction in predictions} == {1, good.version}
    [because_damaged, because_asking] = [line for line in worker.said.splitlines() if "is not followed" in line]
    assert "weights.safetensors" in because_damaged
    assert "wind" in because_asking


async def test_what_was_counted_is_what_was_written(running: Running, kafka: Kafka, witness: Witness) -> None:
    topics, worker = running.project.settings.topics, running.worker
    async with producing(kafka.servers) as producer:
        for partition in (0, 1):
            await producer.send_and_wait(topics.events.name, b"not JSON", b"bad", partition=partition)
    dead_letters = await witness.read(topics.dead_letters.name, lambda seen: len(seen) == 2, timeout_s=30)
    predictions = await witness.read(topics.predictions.name, lambda seen: len(seen) > 0, timeout_s=30)

    assert worker.metric("penstock_predictions_total") == len(predictions)
    assert worker.metric("penstock_dead_letters_total") == len(dead_letters)
    assert worker.metric("penstock_events_total") == len(predictions) + len(dead_letters)
    assert worker.metric("penstock_window_rows_sum") == len(predictions) + len(dead_letters)
    windows = [
        float(line.rsplit(" ", 1)[1])
        for line in worker.get("/metrics")[1].splitlines()
        if line.startswith("penstock_stage_seconds_count")
    ]
    assert windows == [worker.metric("penstock_window_rows_count")] * 4, "each stage saw each window once"
