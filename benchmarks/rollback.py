"""How soon the old model answers again: from a rollback to its first prediction, under steady traffic.

One score worker on four partitions, `--rate` events a second (JSON, 16 floats, an MLP 16-64-64-1, the scored log on).
Again and again a new version is deployed and taken back, by the control plane's own call and by the command `penstock
rollback` in a process of its own. The broker stamps predictions as it appends them, so no consumer runs beside. In the
end every event must have exactly one prediction, by the version that its revision names.

    uv run --group benchmark benchmarks/rollback.py --json rollback.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from confluent_kafka import Producer
from latency import PARTITIONS, PATIENCE_S, TICK_S, wait_until_serving
from measurement import Broker, contender_environment, embedded_or_given, python, running
from network import mlp, write_weights
from peers.penstock_project import prepare
from rich.console import Console
from rich.table import Table
from workload import FEATURES, Task, feature_matrix

from penstock.models.package import write_package
from penstock.models.registry import Registry
from penstock.models.signature import Signature, TensorInput
from penstock.schemas.records import ModelRef
from penstock.streams.control import ControlPlane
from penstock.streams.control.changes import deploy, rollback, to_what_serves
from penstock.streams.settings import Settings

DOORS = ("control plane", "command")


class _Prediction(msgspec.Struct):
    id: str
    version: int
    routing_revision: int


class Told(NamedTuple):
    """A rollback: when it was asked for and when whoever asked had the answer, Unix s."""

    door: str
    revision: int
    asked: float
    answered: float


@dataclass(frozen=True)
class Predictions:
    """All of a run, in columns: the broker's Unix ms, and what stands in the predictions."""

    times: np.ndarray[Any, np.dtype[np.int64]]
    versions: np.ndarray[Any, np.dtype[np.int64]]
    revisions: np.ndarray[Any, np.dtype[np.int64]]
    numbers: np.ndarray[Any, np.dtype[np.int64]]
    partitions: np.ndarray[Any, np.dtype[np.int64]]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="penstock-rollback-") as scratch,
        embedded_or_given(options.servers, Path(scratch)) as servers,
    ):
        figures = asyncio.run(measure(servers, Path(scratch), options))
    print_table(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=20_000, help="events per second (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=5, help="rollbacks by each door (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=8.0, help="seconds before the first (default: %(default)s)")
    parser.add_argument("--between", type=float, default=1.5, help="seconds between changes (default: %(default)s)")
    parser.add_argument("--servers", help="a broker that is already there, instead of an embedded one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    return parser.parse_args(arguments)


async def measure(servers: str, scratch: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    broker, pipeline = Broker(servers), f"rollback-{os.getpid()}"
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
    )
    broker.create(task.events, partitions=PARTITIONS, stamped=False)
    broker.create(task.predictions, partitions=PARTITIONS)
    await prepare(directory, task)
    settings = Settings.load(directory / "penstock.toml")
    candidate = package_another(settings)
    with running([*python("penstock"), "worker", "score"], task, directory, None) as worker:
        await asyncio.to_thread(wait_until_serving, broker, task, worker)
        context = multiprocessing.get_context("spawn")
        stop = context.Event()
        producer = context.Process(target=flow, args=(task, options.rate, stop), daemon=True)
        producer.start()
        await asyncio.sleep(options.warm_up)
        told = await roll_back_again_and_again(settings, task, candidate, options)
        stop.set()
        await asyncio.to_thread(producer.join, 2 * PATIENCE_S)
        sent = sum(broker.end(task.events, partition) for partition in range(PARTITIONS))
        predictions = await asyncio.to_thread(read, broker, task, sent)
    check(predictions, sent - PARTITIONS, {ModelRef("mlp", 1).version, candidate.version})
    return {door: figures_of([one for one in told if one.door == door], predictions) for door in DOORS}


def package_another(settings: Settings) -> ModelRef:
    """The next version: the same network with other weights."""
    torch.manual_seed(1789)
    matrix = feature_matrix(1000)
    package = write_package(
        settings.directory / "packages",
        settings.catalogue,
        name="mlp",
        network=mlp().eval(),
        factory="network:mlp",
        signature=Signature(inputs=(TensorInput("input", FEATURES),)),
        reference={name: matrix[:, i] for i, name in enumerate(FEATURES)},
    )
    return Registry(settings.registry_location).add(package)


def flow(task: Task, rate: int, stop: Any) -> None:
    """Events, evenly spaced, until told to stop; their ids are `flow-<number>`."""
    producer = Producer({"bootstrap.servers": task.servers, "linger.ms": 2, "acks": "all"})
    rows = [msgspec.json.encode(dict(zip(FEATURES, row, strict=True)))[1:] for row in feature_matrix(1000).tolist()]
    begun, sent = time.monotonic(), 0
    while not stop.is_set():
        due = int((time.monotonic() - begun) * rate) + 1
        for number in range(sent, due):
            value = b'{"id":"flow-%d","time":%d,' % (number, time.time_ns() // 1_000_000) + rows[number % len(rows)]
            producer.produce(task.events, value, b"key-%d" % (number % 1000), number % PARTITIONS)
        sent = due
        producer.poll(0)
        time.sleep(TICK_S)
    producer.flush(PATIENCE_S)


async def roll_back_again_and_again(
    settings: Settings, task: Task, candidate: ModelRef, options: argparse.Namespace
) -> list[Told]:
    plane, told = ControlPlane.of(settings), []
    for _ in range(options.repeat):
        for door in DOORS:
            await plane.change(
                to_what_serves(settings.pipeline.name, lambda control: deploy(control, candidate)),
                command="deploy", author="benchmark", reason="to be taken back",
            )  # fmt: skip
            await asyncio.sleep(options.between)
            asked = time.time()
            if door == "command":
                await asyncio.to_thread(command, settings, task)
                control = await plane.read()
            else:
                control = await plane.change(
                    to_what_serves(settings.pipeline.name, rollback),
                    command="rollback", author="benchmark", reason="to be measured",
                )  # fmt: skip
            answered = time.time()
            if control is None or control.champion == candidate:
                raise SystemExit("the rollback did not go back")
            told.append(Told(door, control.revision, asked, answered))
            await asyncio.sleep(options.between)
    return told


def command(settings: Settings, task: Task) -> None:
    subprocess.run(
        [*python("penstock"), "rollback", "--config", str(settings.file.absolute()), "--reason", "to be measured"],
        env=contender_environment(task), cwd=settings.directory, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def read(broker: Broker, task: Task, sent: int) -> Predictions:
    """Every prediction, once as many are there as events were sent."""
    deadline = time.monotonic() + PATIENCE_S
    while sum(ends := [broker.end(task.predictions, partition) for partition in range(PARTITIONS)]) < sent:
        if time.monotonic() > deadline:
            raise SystemExit(f"{sent - sum(ends)} of {sent} events had no prediction within {PATIENCE_S:g} s")
        time.sleep(0.1)
    decode = msgspec.json.Decoder(_Prediction).decode
    times, values, partitions = [], [], []
    for partition, end in enumerate(ends):
        stamps, texts = broker.read(task.predictions, end, partition)
        times.append(stamps)
        values += [decode(text) for text in texts]
        partitions.append(np.full(end, partition))
    # The events that showed that the worker serves have other ids.
    numbers = [int(one.id.removeprefix("flow-")) if one.id.startswith("flow-") else -1 for one in values]
    return Predictions(
        np.concatenate(times),
        np.array([one.version for one in values]),
        np.array([one.routing_revision for one in values]),
        np.array(numbers),
        np.concatenate(partitions),
    )


def check(predictions: Predictions, sent: int, versions: set[int]) -> None:
    """Nothing lost, nothing doubled, and each revision answered by one version."""
    numbers = predictions.numbers[predictions.numbers >= 0]
    if len(numbers) != sent or len(np.unique(numbers)) != sent:
        raise SystemExit(f"{sent} events have {len(numbers)} predictions, of {len(np.unique(numbers))} events")
    pairs = set(zip(predictions.revisions.tolist(), predictions.versions.tolist(), strict=True))
    if len(pairs) != len({revision for revision, _ in pairs}) or {version for _, version in pairs} != versions:
        raise SystemExit(f"revisions and the versions that answered under them: {sorted(pairs)}")


def figures_of(told: Sequence[Told], predictions: Predictions) -> dict[str, float]:
    """Medians and the worst, in milliseconds; the last partition is the one whose first prediction came last."""
    took, first, last = [], [], []
    for one in told:
        under = predictions.revisions >= one.revision
        begun = [
            predictions.times[under & (predictions.partitions == partition)].min() for partition in range(PARTITIONS)
        ]
        took.append((one.answered - one.asked) * 1000)
        first.append(float(min(begun)) - one.asked * 1000)
        last.append(float(max(begun)) - one.asked * 1000)
    figures = {"answer_ms": took, "first_prediction_ms": first, "last_partition_ms": last}
    return {name: median(values) for name, values in figures.items()} | {
        f"worst_{name}": max(values) for name, values in figures.items()
    }


def print_table(figures: dict[str, dict[str, float]]) -> None:
    table = Table(title="Milliseconds from asking for a rollback: median (worst)")
    for heading in ("by", "the asker has the answer", "first prediction of the old model", "on every partition"):
        table.add_column(heading, justify="left" if heading == "by" else "right")
    for door, each in figures.items():
        numbers = (
            f"{each[name]:,.0f} ({each[f'worst_{name}']:,.0f})"
            for name in ("answer_ms", "first_prediction_ms", "last_partition_ms")
        )
        table.add_row(door, *numbers)
    Console().print(table)
    Console().print("No event lost or doubled; each revision was answered by the version that it names.")


if __name__ == "__main__":
    main()
