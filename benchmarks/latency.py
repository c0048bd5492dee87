"""Latency from an event's production to its prediction at a consumer, at several rates and in both delivery modes.

Beside them the bare loop of throughput.py, at least once: what this machine, its broker and these clients allow.

The whole path of the score role: four partitions, JSON events with 16 floats, an MLP 16-64-64-1, the scored log on.
Producer and consumer are processes of their own; the event carries the moment it was handed to the producer (linger
2 ms), and the consumer notes the moment it holds the prediction. Exactly once is read with `read_committed`.

A broker that was just started is slow until Java has compiled what it runs, on cores that the others need: before each
mode is measured, its path runs for a while at the highest rate (`--broker-warm-up`). The beginning of every rate is
left out, too (`--warm-up`).

    uv run --group benchmark benchmarks/latency.py --json latency.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from measurement import Broker, contender_environment, embedded_or_given, python, running
from network import write_weights
from rich.console import Console
from rich.table import Table
from workload import FEATURES, Task, events, feature_matrix

PARTITIONS = 4
BARE = "bare_loop"
MODES = (BARE, "at_least_once", "exactly_once")
RATES = (1_000, 5_000, 20_000)
TICK_S = 0.001
"""The producer hands over what is due this often."""
PATIENCE_S = 30.0
START_TIMEOUT_S = 120.0


class _Prediction(msgspec.Struct):
    id: str


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="penstock-latency-") as scratch,
        embedded_or_given(options.servers, Path(scratch)) as servers,
    ):
        results = {mode: measure_mode(servers, Path(scratch), mode, options) for mode in options.modes}
    print_table(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rates", type=int, nargs="+", default=RATES, help="events per second (default: 1000 5000 20000)"
    )
    parser.add_argument(
        "--modes", nargs="+", choices=MODES, default=MODES, help="delivery modes, and the bare loop (default: all)"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="measured per rate (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=12.0, help="seconds before that (default: %(default)s)")
    parser.add_argument(
        "--broker-warm-up", type=float, default=20.0, help="seconds before each mode (default: %(default)s)"
    )
    parser.add_argument("--servers", help="a broker that is already there, instead of an embedded one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    return parser.parse_args(arguments)


def measure_mode(servers: str, scratch: Path, mode: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """One worker for all rates; p50, p99 and the largest, in milliseconds, by rate."""
    broker = Broker(servers)
    pipeline = f"latency-{mode.replace('_', '-')}-{os.getpid()}"
    directory = scratch / pipeline
    directory.mkdir()
    write_weights(weights := directory / "weights.safetensors")
    task = Task(
        servers=servers,
        events=f"{pipeline}-events",
        predictions=f"{pipeline}.predictions",
        scored=f"{pipeline}.scored",
        group=pipeline,
        weights=str(weights),
        directory=str(directory),
        log=True,
        mode="at_least_once" if mode == BARE else mode,
    )
    broker.create(task.events, task.predictions, task.scored, partitions=PARTITIONS, stamped=False)
    contender = python("peers.bare_loop")
    if mode != BARE:
        contender = [*python("penstock"), "worker", "score"]
        prepare = python("peers.penstock_project")
        subprocess.run(prepare, env=contender_environment(task), cwd=directory, check=True)
    with running(contender, task, directory, None) as worker:
        wait_until_serving(broker, task, worker)
        figures = {}
        if options.broker_warm_up:
            measure_rate(task, max(options.rates), argparse.Namespace(warm_up=options.broker_warm_up, seconds=0.0))
        for rate in options.rates:
            latencies = measure_rate(task, rate, options)
            p50, p99 = np.percentile(latencies, [50, 99])
            figures[str(rate)] = {"p50_ms": float(p50), "p99_ms": float(p99), "max_ms": float(latencies.max())}
    return figures


def wait_until_serving(broker: Broker, task: Task, worker: psutil.Process) -> None:
    """One event to each partition, and wait for their predictions."""
    for partition in range(PARTITIONS):
        broker.produce(task.events, events(1), partition)
    deadline = time.monotonic() + START_TIMEOUT_S
    while sum(broker.end(task.predictions, partition) for partition in range(PARTITIONS)) < PARTITIONS:
        if not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE or time.monotonic() > deadline:
            raise SystemExit(f"the worker does not serve:\n{Path(task.directory, 'output.log').read_text()[-3000:]}")
        time.sleep(0.1)


def measure_rate(task: Task, rate: int, options: argparse.Namespace) -> Any:
    """Latencies [events] in milliseconds of the events after the warm-up; every event must come back."""
    warm_up, count = int(rate * options.warm_up), int(rate * (options.warm_up + options.seconds))
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    received: multiprocessing.Queue[list[tuple[int, float]]] = context.Queue()
    consumer = context.Process(target=consume, args=(task, rate, count, ready, received), daemon=True)
    consumer.start()
    if not ready.wait(PATIENCE_S):
        raise SystemExit("the consumer of the predictions did not start")
    producer = context.Process(target=produce, args=(task, rate, count), daemon=True)
    producer.start()
    pairs = received.get(timeout=options.warm_up + options.seconds + 2 * PATIENCE_S)
    producer.join()
    consumer.join()
    if len({number for number, _ in pairs}) < count:
        raise SystemExit(
            f"{count - len(pairs)} of {count} events at {rate}/s had no prediction within {PATIENCE_S:g} s"
        )
    return np.array([latency for number, latency in pairs if number >= warm_up])


def produce(task: Task, rate: int, count: int) -> None:
    """`count` events, evenly spaced; each id is `<rate>-<number>-<Unix ns when it was handed over>`."""
    producer = Producer({"bootstrap.servers": task.servers, "linger.ms": 2, "acks": "all"})
    rows = [msgspec.json.encode(dict(zip(FEATURES, row, strict=True)))[1:] for row in feature_matrix(1000).tolist()]
    begun = time.monotonic()
    sent = 0
    while sent < count:
        due = min(count, int((time.monotonic() - begun) * rate) + 1)
        for number in range(sent, due):
            now = time.time_ns()
            value = b'{"id":"%d-%d-%d","time":%d,' % (rate, number, now, now // 1_000_000) + rows[number % len(rows)]
            producer.produce(task.events, value, b"key-%d" % (number % 1000), number % PARTITIONS)
        sent = due
        producer.poll(0)
        time.sleep(TICK_S)
    producer.flush(PATIENCE_S)


def consume(task: Task, rate: int, count: int, ready: Any, received: Any) -> None:
    """Note when each prediction of this rate is in hand, until all are or none has come for a while."""
    consumer = Consumer(
        {
            "bootstrap.servers": task.servers,
            "group.id": f"{task.group}-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 500,  # answered as soon as there is one byte
            "fetch.queue.backoff.ms": 1,
        }
    )
    ends = [TopicPartition(task.predictions, partition) for partition in range(PARTITIONS)]
    for place in ends:
        place.offset = consumer.get_watermark_offsets(place, PATIENCE_S)[1]
    consumer.assign(ends)
    ready.set()
    decode = msgspec.json.Decoder(_Prediction).decode
    pairs: list[tuple[int, float]] = []
    quiet_since = time.monotonic()
    while len(pairs) < count and time.monotonic() - quiet_since < PATIENCE_S:
        message = consumer.poll(0.1)
        if message is None or message.error():
            continue
        now = time.time_ns()
        of_rate, number, handed_over = map(int, decode(message.value()).id.split("-"))
        if of_rate == rate:
            pairs.append((number, (now - handed_over) / 1e6))
            quiet_since = time.monotonic()
    consumer.close()
    received.put(pairs)


def print_table(results: dict[str, dict[str, dict[str, float]]]) -> None:
    table = Table(title="Milliseconds from production to prediction, whole path")
    for heading in ("delivery", "events/s", "p50", "p99", "largest"):
        table.add_column(heading, justify="left" if heading == "delivery" else "right")
    for mode, figures in results.items():
        for rate, each in figures.items():
            numbers = (f"{each[key]:.1f}" for key in ("p50_ms", "p99_ms", "max_ms"))
            table.add_row(mode.replace("_", " "), f"{int(rate):,}", *numbers)
    Console().print(table)


if __name__ == "__main__":
    main()
