"""Events per second and CPU per event: Penstock's score role beside a bare loop, Bytewax, Quix Streams and Faust.

One process each, on the same embedded broker, with the same events (one partition, JSON, 16 floats), the same network
(MLP 16-64-64-1), the same output (one JSON prediction per event), acks=all, at least once, offsets committed. The
contenders take turns, `--repeat` times; medians and ranges are printed. Every prediction of every run is checked.

    uv run --group benchmark benchmarks/throughput.py --json throughput.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measurement import Broker, Measurement, check, contender_environment, embedded_or_given, measure, python
from network import write_weights
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from workload import Scorer, Task, events

EVENTS = "departures"
WARM_UP = 0.1
"""Share of the events that is scored before the measurement begins."""
RUN_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Contender:
    title: str
    module: str
    log: bool = False
    project: bool = False
    """A Penstock project is made for it first, and the worker runs there."""
    slow: bool = False
    """Measured on `--slow-events` only: it would take minutes otherwise."""

    def command(self) -> list[str]:
        return [*python("penstock"), "worker", "score"] if self.project else python(self.module)


CONTENDERS = {
    "penstock": Contender("Penstock, with the scored log", "peers.penstock_project", log=True, project=True),
    "penstock_no_log": Contender("Penstock, predictions only", "peers.penstock_project", project=True),
    "bare_loop": Contender("bare loop, with the log", "peers.bare_loop", log=True),
    "bare_loop_no_log": Contender("bare loop, predictions only", "peers.bare_loop"),
    "bytewax": Contender("Bytewax, flat_map_batch", "peers.bytewax_flow"),
    "quix_streams": Contender("Quix Streams", "peers.quix_dataframe", slow=True),
    "faust_take": Contender("idiomatic Faust, take()", "peers.faust_take", slow=True),
}
RATIOS = (
    ("penstock", "bare_loop"),
    ("penstock_no_log", "bare_loop_no_log"),
    ("penstock", "bytewax"),
    ("penstock", "quix_streams"),
    ("penstock", "faust_take"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    console = Console(stderr=True)
    names = options.only or list(CONTENDERS)
    with (
        tempfile.TemporaryDirectory(prefix="penstock-throughput-") as scratch,
        embedded_or_given(options.servers, Path(scratch), {0} if options.pin else None) as servers,
    ):
        results = run_all(Bench(Broker(servers), Path(scratch), options), names, console)
    print_table(results, options)
    if options.json:
        options.json.write_text(json.dumps(report(results), indent=2) + "\n")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000, help="events measured per run (default: %(default)s)")
    parser.add_argument(
        "--slow-events", type=int, default=20_000,
        help="events measured of contenders that take one event at a time (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--repeat", type=int, default=5, help="repetitions, contenders alternating (default: %(default)s)"
    )
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, metavar="NAME", help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--servers", help="a broker that is already there, instead of an embedded one")
    parser.add_argument("--pin", action="store_true", help="the broker on core 0, the contender on the others")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    return parser.parse_args(arguments)


class Bench:
    """The broker with the events on it, and one contender's run at a time."""

    def __init__(self, broker: Broker, scratch: Path, options: argparse.Namespace) -> None:
        self.broker, self.scratch, self.options = broker, scratch, options
        self.weights = scratch / "weights.safetensors"
        self.events_topic = f"{EVENTS}-{os.getpid()}"
        write_weights(self.weights)
        self.total = options.events + int(options.events * WARM_UP)
        self.expected = self._expected()
        broker.create(self.events_topic, stamped=False)
        broker.produce(self.events_topic, events(self.total))

    def _expected(self) -> NDArray[np.float32]:
        scorer = Scorer(str(self.weights))
        return scorer.score(value for _, value in events(self.total)).scores

    def run(self, name: str, repetition: int) -> Measurement:
        contender = CONTENDERS[name]
        count = min(self.options.slow_events, self.options.events) if contender.slow else self.options.events
        warm_up = int(count * WARM_UP)
        pipeline = f"{name.replace('_', '-')}-{os.getpid()}-{repetition}"
        directory = self.scratch / pipeline
        directory.mkdir()
        task = Task(
            servers=self.broker.servers,
            events=self.events_topic,
            predictions=f"{pipeline}.predictions",
            scored=f"{pipeline}.scored",
            group=pipeline,
            weights=str(self.weights),
            directory=str(directory),
            log=contender.log,
        )
        self.broker.create(task.predictions, task.scored)
        if contender.project:
            subprocess.run(python(contender.module), env=contender_environment(task), cwd=directory, check=True)
        cores = set(range(1, os.cpu_count() or 2)) if self.options.pin else None
        measurement = measure(
            self.broker, contender.command(), task, directory,
            warm_up=warm_up, count=count, cores=cores, timeout_s=RUN_TIMEOUT_S,
        )  # fmt: skip
        check(self.broker.read(task.predictions, warm_up + count)[1], self.expected)
        if contender.log and not self.broker.end(task.scored):
            raise SystemExit(f"{name} wrote no scored log")
        self.broker.delete(task.predictions, task.scored)
        return measurement


def run_all(bench: Bench, names: Sequence[str], console: Console) -> dict[str, list[Measurement]]:
    results: dict[str, list[Measurement]] = {name: [] for name in names}
    for repetition in range(bench.options.repeat):
        for name in names:
            console.print(f"{repetition + 1}/{bench.options.repeat} {CONTENDERS[name].title} … ", end="")
            results[name].append(measurement := bench.run(name, repetition))
            console.print(f"{measurement.events_per_s:,.0f} events/s, {measurement.cpu_us_per_event:.2f} µs CPU/event")
    return results


def report(results: dict[str, list[Measurement]]) -> dict[str, dict[str, object]]:
    """Medians per contender, and the ratios of their rates."""
    figures: dict[str, dict[str, object]] = {
        name: {"events_per_s": median(runs, rate), "cpu_us_per_event": median(runs, cpu)}
        for name, runs in results.items()
    }
    ratios: dict[str, object] = {
        f"{one}/{other}": median(results[one], rate) / median(results[other], rate)
        for one, other in RATIOS
        if one in results and other in results and median(results[other], rate)  # none where all came within one ms
    }
    return figures | {"ratios": ratios}


def print_table(results: dict[str, list[Measurement]], options: argparse.Namespace) -> None:
    table = Table(title=f"{options.events:,} events, median of {options.repeat} (lowest – highest)")
    for heading in ("contender", "events/s", "CPU µs/event"):
        table.add_column(heading, justify="left" if heading == "contender" else "right", no_wrap=True)
    for name, runs in results.items():
        rates, cpus = sorted(map(rate, runs)), sorted(map(cpu, runs))
        table.add_row(
            CONTENDERS[name].title,
            f"{statistics.median(rates):,.0f} ({rates[0]:,.0f} – {rates[-1]:,.0f})",
            f"{statistics.median(cpus):.2f} ({cpus[0]:.2f} – {cpus[-1]:.2f})",
        )
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(table)
    for pair, ratio in report(results)["ratios"].items():
        console.print(f"{pair.replace('/', ' / ')}: {ratio:.2f}")
    if any(CONTENDERS[name].slow for name in results):
        slow = min(options.slow_events, options.events)
        console.print(f"Quix Streams and idiomatic Faust were measured on {slow:,} events: they take one at a time.")


def rate(run: Measurement) -> float:
    return run.events_per_s


def cpu(run: Measurement) -> float:
    return run.cpu_us_per_event


def median(runs: Sequence[Measurement], figure: Callable[[Measurement], float]) -> float:
    return statistics.median(map(figure, runs))


if __name__ == "__main__":
    main()
