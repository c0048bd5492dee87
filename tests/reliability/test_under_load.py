"""The reliability suite in short: load, a kill -9, a SIGTERM, and a count that shares no code with the service.

Both modes side by side, as workers that start and groups that wait take most of the time.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from penstock.streams.embedded.testing import Kafka

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from reliability_suite.pipeline import Pipeline
from reliability_suite.results import Result, result
from reliability_suite.scenarios import MODES
from reliability_suite.stage import Options, Stage, under_load

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PATIENCE_S = 120.0
"""A machine may be busy; alone it takes a tenth."""
INTERVALS = 4
"""Of commits, that a kill may repeat at least once: a busy machine's take longer than they should."""


def test_nothing_is_lost_or_doubled_while_one_worker_is_killed_and_the_other_stopped(
    kafka: Kafka, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(len(MODES)) as pool:
        found = list(pool.map(partial(under_fire, kafka.servers, tmp_path), MODES))

    for seen in found:
        assert seen.kept(), (seen.mode, seen.figures, seen.problems)
        assert seen.dead_letters >= 1
        assert seen.predictions + seen.dead_letters == seen.events + seen.doubled


def under_fire(servers: list[str], folder: Path, mode: str) -> Result:
    def act(stage: Stage) -> None:
        killed, stopped = stage.workers
        stage.kill(killed)
        killed.start()
        assert stage.wait_until(lambda: bool(killed.owns), PATIENCE_S), killed.log.read_text()
        stage.stop(stopped)

    name, options = f"under-load-{mode.replace('_', '-')}", Options(rate=1_000)
    pipeline = Pipeline(",".join(servers), folder, name, mode=mode, partitions=options.partitions)
    with closing(pipeline):
        return result(name, under_load(pipeline, options, mode, act), intervals=INTERVALS)
