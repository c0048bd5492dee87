"""The benchmarks start, and every contender gives each event the prediction that the network gives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from penstock.streams.embedded.testing import Kafka

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CONTENDERS = ["penstock", "penstock_no_log", "bare_loop", "bare_loop_no_log", "bytewax", "quix_streams", "faust_take"]

pytest.importorskip("bytewax", reason="the dependency group `benchmark` is not installed")


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, BENCHMARKS / script, *arguments], capture_output=True, text=True, timeout=280
    )


def measured(script: str, arguments: Sequence[str], file: Path) -> dict[str, dict[str, dict[str, float]]]:
    done = run(script, *arguments, "--json", str(file))
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(file.read_text())
    assert isinstance(figures, dict)
    return figures


@pytest.mark.parametrize("script", ["throughput.py", "latency.py", "rollback.py", "shadow.py", "soak.py"])
def test_help_tells_how_to_run_it(script: str) -> None:
    done = run(script, "--help")
    assert done.returncode == 0
    assert f"uv run --group benchmark benchmarks/{script}" in done.stdout


@pytest.mark.kafka
@pytest.mark.slow
def test_every_contender_scores_every_event_once_and_alike(kafka: Kafka, tmp_path: Path) -> None:
    few = ["--servers", kafka.servers[0], "--events", "2000", "--slow-events", "2000", "--repeat", "1"]
    figures = measured("throughput.py", few, tmp_path / "throughput.json")  # stops at a wrong, lost or doubled one
    assert [*figures] == [*CONTENDERS, "ratios"]
    assert "penstock/bare_loop" in figures["ratios"]


@pytest.mark.kafka
@pytest.mark.slow
def test_latency_is_of_all_events_in_both_modes_and_of_the_bare_loop(kafka: Kafka, tmp_path: Path) -> None:
    short = ["--servers", kafka.servers[0], "--rates", "200", "--seconds", "2", "--warm-up", "1"]
    figures = measured("latency.py", short, tmp_path / "latency.json")
    assert [*figures] == ["bare_loop", "at_least_once", "exactly_once"]
    for rates in figures.values():
        assert 0 < rates["200"]["p50_ms"] <= rates["200"]["p99_ms"] <= rates["200"]["max_ms"]
