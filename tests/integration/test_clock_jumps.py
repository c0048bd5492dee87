"""A worker's wall clock jumps a day ahead and an hour back: it goes on, and what it writes is dated by the broker."""

from __future__ import annotations

import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from pipelines import Kafka, MakeProject, Witness, Worker, until
from traffic import decoded, flowing, repeats

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
"""Debian's package libfaketime: no Python package has it."""

PREDICTIONS = "penstock_predictions_total"


def has_jumped(worker: Worker, times: int) -> bool:
    return worker.said.count("The clock of this machine jumped") == times


def has_predicted(worker: Worker, events: float) -> bool:
    return worker.metric(PREDICTIONS) >= events


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed: apt-get install libfaketime")
async def test_a_clock_that_jumps_stops_nobody_and_dates_nothing(
    kafka: Kafka, project_named: MakeProject, witness: Witness, tmp_path: Path
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    project = await project_named("clock-jumps", mode="exactly_once")
    topics = project.settings.topics
    began = time.time()
    worker = project.start_worker(
        LD_PRELOAD=str(LIBRARY),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_CACHE_DURATION="1",
        DONT_FAKE_MONOTONIC="1",  # real clocks jump without it
    )
    await until(lambda: worker.owns == {0, 1}, "it scores")
    async with flowing(kafka.servers, topics.events.name, partitions=2) as traffic:
        for number, offset in enumerate(("+1d", "-1h"), start=1):
            clock.write_text(offset)
            await until(partial(has_jumped, worker, number), f"it notices {offset}")
            await until(partial(has_predicted, worker, worker.metric(PREDICTIONS) + 200), f"it goes on at {offset}")
    records = await witness.read(
        topics.predictions.name, lambda seen: len({r.key for r in seen}) >= len(traffic.sent), timeout_s=30
    )
    jumped = worker.metric("penstock_clock_jumps_total")
    latency_s = worker.metric("penstock_latency_seconds_sum") / worker.metric("penstock_latency_seconds_count")
    assert worker.stop() == 0, worker.said

    predictions = decoded(records)
    assert {prediction["id"] for prediction in predictions} == traffic.ids
    assert repeats(predictions) == 0
    assert jumped == 2
    assert latency_s < 60, "a jump is no delay"
    assert worker.said.count("Scoring partitions") == 1, "its group does not expel it"
    stamps = [record.timestamp / 1000 for record in records]
    assert began - 1 <= min(stamps)
    assert max(stamps) <= time.time() + 1
    for partition in (0, 1):
        times = [record.timestamp for record in records if record.partition == partition]
        assert all(before <= after for before, after in pairwise(times))
