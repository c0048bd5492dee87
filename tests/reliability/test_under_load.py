"""The reliability suite in short: load, a kill -9, a SIGTERM, and a count that shares no code with the service."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import pytest

from penstock.streams.embedded.testing import Kafka

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from reliability_suite.pipeline import Pipeline
from reliability_suite.results import result
from reliability_suite.stage import Options, Stage, under_load

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PATIENCE_S = 120.0
"""A machine may be busy; alone it takes a tenth."""


def test_nothing_is_lost_or_doubled_while_one_worker_is_killed_and_the_other_stopped(
    kafka: Kafka, tmp_path: Path
) -> None:
    def act(stage: Stage) -> None:
        killed, stopped = stage.workers
        stage.kill(killed)
        killed.start()
        assert stage.wait_until(lambda: bool(killed.owns), PATIENCE_S), killed.log.read_text()
        stage.stop(stopped)

    options = Options(rate=2_000)
    pipeline = Pipeline(
        ",".join(kafka.servers), tmp_path, "under-load", mode="exactly_once", partitions=options.partitions
    )
    with closing(pipeline):
        seen = result("short form", under_load(pipeline, options, "exactly_once", act))

    assert seen.kept(), (seen.figures, seen.problems)
    assert seen.dead_letters >= 1
    assert seen.predictions + seen.dead_letters == seen.events
