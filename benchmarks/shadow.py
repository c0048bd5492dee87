"""What a candidate in shadow costs the champion, and what it costs itself.

The score role runs alone, beside a shadow worker with a candidate as large as its model, and beside one with a
candidate that sleeps 5 s before each answer. Pinned alike: the shadow worker alone on the last core (idle where there
is none), the broker, the score worker, producer and consumer on the others. Rates are over events that were produced
before, one partition; latency at `--rate`, four partitions, as in latency.py. The three take turns, `--repeat` times;
ratios are those of one turn, and their median and range are printed. CPU per event is that of each worker's process,
over the same events.

Java compiles what a broker runs on the core that the score worker needs, for a minute: before the first turn the whole
path runs with the candidate in shadow, unmeasured (`--broker-warm-up`).

    uv run --group benchmark benchmarks/shadow.py --json shadow.json
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from latency import PARTITIONS, measure_rate, wait_until_serving
from measurement import (
    Broker,
    check,
    contender_environment,
    cpu_seconds,
    embedded_or_given,
    measure,
    pinned,
    python,
    running,
)
from msgspec.structs import replace
from network import write_weights
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from workload import Scorer, Task, events

KINDS = {
    "off": "no shadow worker",
    "candidate": "a candidate in shadow",
    "sleeping": "one that sleeps 5 s",
}
EVENTS = "departures"
WARM_UP = 0.1
WARM_UP_RATE = 10_000
TIMEOUT_S = 180.0
POLL_S = 0.25
ROWS_POLL_S = 1.0
"""Between two looks at what the shadow worker has counted: the score worker is not asked, and answering costs CPU."""
LIMITS = {"events_per_s": ("≥", 0.95), "p99_ms": ("≤", 1.10)}
COST_LIMIT = 0.40


@dataclass(frozen=True)
class Run:
    """One turn of one kind. CPU in microseconds per event; of the shadow worker only where it keeps up."""

    events_per_s: float
    p99_ms: float
    score_cpu_us: float
    shadow_cpu_us: float | None


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    console = Console(stderr=True)
    with (
        tempfile.TemporaryDirectory(prefix="penstock-shadow-") as scratch,
        embedded_or_given(options.servers, Path(scratch), others()) as servers,
        pinned(others()),
    ):
        bench = Bench(Broker(servers), Path(scratch), options)
        if options.broker_warm_up:
            console.print("warming the broker up …")
            bench.warm_up_broker()
        runs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
        for turn in range(options.repeat):
            for kind, title in KINDS.items():
                console.print(f"{turn + 1}/{options.repeat} {title} … ", end="")
                runs[kind].append(run := bench.run(kind, turn))
                console.print(f"{run.events_per_s:,.0f} events/s, p99 {run.p99_ms:.1f} ms")
    figures = report(runs)
    print_tables(runs, figures, options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=400_000, help="events measured per run (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=5_000, help="events per second for latency (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="measured at that rate (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=10.0, help="seconds before that (default: %(default)s)")
    parser.add_argument(
        "--broker-warm-up", type=float, default=60.0, help="seconds before the first turn (default: %(default)s)"
    )
    parser.add_argument("--repeat", type=int, default=5, help="turns (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short turn: that it works, not what it costs")
    parser.add_argument("--servers", help="a broker that is already there, instead of an embedded one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    options = parser.parse_args(arguments)
    if options.quick:
        options.events, options.rate, options.seconds, options.warm_up, options.repeat = 10_000, 500, 2.0, 1.0, 1
        options.broker_warm_up = 0.0
    return options


def others() -> set[int]:
    """The cores of all but the shadow worker."""
    cores = os.cpu_count() or 1
    return set(range(max(cores - 1, 1)))


def alone() -> set[int]:
    """The core of the shadow worker."""
    return {(os.cpu_count() or 1) - 1}


class Bench:
    """The broker with the events on it, and one run at a time."""

    def __init__(self, broker: Broker, scratch: Path, options: argparse.Namespace) -> None:
        self.broker, self.scratch, self.options = broker, scratch, options
        self.weights = scratch / "weights.safetensors"
        write_weights(self.weights)
        self.warm_up = int(options.events * WARM_UP)
        self.total = options.events + self.warm_up
        self.expected = Scorer(str(self.weights)).score(value for _, value in events(self.total)).scores
        self.events_topic = f"{EVENTS}-{os.getpid()}"
        broker.create(self.events_topic, stamped=False)
        broker.produce(self.events_topic, events(self.total))

    def run(self, kind: str, turn: int) -> Run:
        rate, score_cpu_us, shadow_cpu_us = self.throughput(kind, turn)
        latencies = self.latencies(f"latency-{kind}-{turn}", kind, self.options.rate, self.options)
        return Run(rate, float(np.percentile(latencies, 99)), score_cpu_us, shadow_cpu_us)

    def warm_up_broker(self) -> None:
        span = argparse.Namespace(warm_up=self.options.broker_warm_up, seconds=0.0)
        self.latencies("warm-up", "candidate", WARM_UP_RATE, span)

    def throughput(self, kind: str, turn: int) -> tuple[float, float, float | None]:
        """Events per second of the score worker, its CPU per event, and the shadow worker's."""
        task = self.task(f"rate-{kind}-{turn}", self.events_topic)
        self.broker.create(task.predictions, task.scored, f"{task.group}.shadow-scores")
        prepare(task, kind)
        with shadowing(task, kind) as shadow, ThreadPoolExecutor(1) as beside:
            keeps_up = shadow if kind == "candidate" else None
            cost = beside.submit(keeps_up.cpu_us_per_event, self.warm_up, self.total) if keeps_up else None
            score = measure(
                self.broker, [*python("penstock"), "worker", "score"], task, Path(task.directory),
                warm_up=self.warm_up, count=self.options.events, cores=None, timeout_s=TIMEOUT_S,
            )  # fmt: skip
            shadow_cpu_us = None if cost is None else cost.result()
        check(self.broker.read(task.predictions, self.total)[1], self.expected)
        self.broker.delete(task.predictions, task.scored, f"{task.group}.shadow-scores")
        return score.events_per_s, score.cpu_us_per_event, shadow_cpu_us

    def latencies(self, pipeline: str, kind: str, rate: int, span: argparse.Namespace) -> NDArray[np.float64]:
        """Milliseconds of each event after the warm-up of `span`."""
        task = self.task(pipeline, f"{pipeline}-{os.getpid()}-events")
        made = (task.events, task.predictions, task.scored, f"{task.group}.shadow-scores")
        self.broker.create(*made, partitions=PARTITIONS, stamped=False)
        prepare(task, kind)
        score = [*python("penstock"), "worker", "score"]
        with shadowing(task, kind), running(score, task, Path(task.directory), None) as worker:
            wait_until_serving(self.broker, task, worker)
            found: NDArray[np.float64] = measure_rate(task, rate, span)
        self.broker.delete(*made)
        return found

    def task(self, name: str, events_topic: str) -> Task:
        pipeline = f"{name}-{os.getpid()}"
        directory = self.scratch / pipeline
        directory.mkdir()
        return Task(
            servers=self.broker.servers,
            events=events_topic,
            predictions=f"{pipeline}.predictions",
            scored=f"{pipeline}.scored",
            group=pipeline,
            weights=str(self.weights),
            directory=str(directory),
            log=True,
        )


def prepare(task: Task, kind: str) -> None:
    module = python("peers.penstock_project") if kind == "off" else [*python("peers.shadow_project"), kind]
    subprocess.run(module, env=contender_environment(task), cwd=task.directory, check=True)


class ShadowWorker:
    """A shadow worker that has its candidate and its partitions."""

    def __init__(self, process: psutil.Process, log: Path) -> None:
        self._process, self._log = process, log
        self._wait_for("Shadowing partitions")
        [self._address] = re.findall(r"Admin at (http://\S+)", log.read_text())

    def cpu_us_per_event(self, warm_up: int, total: int) -> float:
        """From when it has asked its candidate about `warm_up` events until it has about `total`; waits for both."""
        begun, cpu_begun = self._when_asked(warm_up)
        ended, cpu_ended = self._when_asked(total)
        return (cpu_ended - cpu_begun) * 1e6 / max(ended - begun, 1)

    def _when_asked(self, events: int) -> tuple[float, float]:
        deadline = time.monotonic() + TIMEOUT_S
        while (rows := self._rows()) < events:
            self._check(deadline)
            time.sleep(ROWS_POLL_S)
        return rows, cpu_seconds(self._process)

    def _rows(self) -> float:
        with urllib.request.urlopen(f"{self._address}/metrics", timeout=10) as answer:  # noqa: S310
            told = answer.read().decode()
        return sum(map(float, re.findall(r"^penstock_shadow_rows_total\{.*\} (\S+)$", told, re.MULTILINE)))

    def _wait_for(self, words: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while words not in self._log.read_text():
            self._check(deadline)
            time.sleep(POLL_S)

    def _check(self, deadline: float) -> None:
        if not self._process.is_running() or time.monotonic() > deadline:
            raise SystemExit(f"the shadow worker does not go on:\n{self._log.read_text()[-3000:]}")


@contextmanager
def shadowing(task: Task, kind: str) -> Iterator[ShadowWorker | None]:
    """A shadow worker on its own core meanwhile; none where it is off."""
    if kind == "off":
        yield None
        return
    logs = Path(task.directory, "shadow")
    logs.mkdir()
    mine = replace(task, directory=str(logs))
    with running([*python("penstock"), "worker", "shadow"], mine, Path(task.directory), alone()) as process:
        yield ShadowWorker(process, logs / "output.log")


def report(runs: dict[str, list[Run]]) -> dict[str, object]:
    """All runs, the ratios to the run without a shadow worker in the same turn, and the shadow's cost."""
    ratios = {kind: {figure: ratios_of(runs, kind, figure) for figure in LIMITS} for kind in KINDS if kind != "off"}
    costs = [run.shadow_cpu_us / run.score_cpu_us for run in runs["candidate"] if run.shadow_cpu_us is not None]
    return {
        "runs": {kind: [asdict(run) for run in of_kind] for kind, of_kind in runs.items()},
        "ratios": {kind: {name: summary(each) for name, each in found.items()} for kind, found in ratios.items()},
        "cost": summary(costs),
    }


def ratios_of(runs: dict[str, list[Run]], kind: str, figure: str) -> list[float]:
    return [getattr(on, figure) / getattr(off, figure) for on, off in zip(runs[kind], runs["off"], strict=True)]


def summary(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def print_tables(runs: dict[str, list[Run]], figures: dict[str, object], options: argparse.Namespace) -> None:
    console = Console(width=110)
    table = Table(title=f"{options.events:,} events; latency at {options.rate:,} events/s; median of {options.repeat}")
    for heading in ("", "events/s", "p99 ms", "score CPU µs", "shadow CPU µs"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for kind, title in KINDS.items():
        rate, *others = (median(runs[kind], name) for name in Run.__dataclass_fields__)
        table.add_row(title, f"{rate:,.0f}", *("–" if figure is None else f"{figure:.2f}" for figure in others))
    console.print(table)
    for kind in KINDS:
        for figure, (sign, limit) in LIMITS.items():
            if kind != "off":
                found = summary(ratios_of(runs, kind, figure))
                console.print(f"{figure} with {KINDS[kind]} / without: {said(found)}   (to reach: {sign} {limit:g})")
    console.print(f"CPU per event, shadow / score: {said(figures['cost'])}   (to reach: ≤ {COST_LIMIT:g})")


def median(runs: Sequence[Run], figure: str) -> float | None:
    """None where no run has the figure."""
    values = [getattr(run, figure) for run in runs]
    return None if None in values else statistics.median(values)


def said(found: object) -> str:
    assert isinstance(found, dict)
    return f"{found['median']:.3f} ({found['lowest']:.3f} – {found['highest']:.3f})"


if __name__ == "__main__":
    main()
