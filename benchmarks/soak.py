"""Does it grow? All roles on one machine under steady traffic for an hour, each topic limited to 1 GB.

`--rate` events a second (JSON, 16 floats, an MLP 16-64-64-1, four partitions, the scored log on) go through a score
worker; a watch, a judge and a shadow worker with a candidate as large as the model run beside it (`--roles`). Every
10 s the memory of each is read from outside. A consumer of committed predictions that shares no code with the service
counts, by source offset, what is lost and what is doubled. In the end: the memory after five minutes and at the end
(each the median of a minute's samples), what the broker's disk holds, what each role had not read, and the counts.

Exits with 1 where a worker ended, an event was lost, or one was doubled exactly once. A role that grew is marked, and
exits with 1 if the run is `--strict`; the broker's heap is Java's own affair.

    uv run --group benchmark benchmarks/soak.py --json soak.json
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import psutil
from confluent_kafka import Consumer, TopicPartition
from latency import PARTITIONS, wait_until_serving
from measurement import Broker, contender_environment, python, running
from msgspec.structs import replace
from network import write_weights
from rich.console import Console
from rich.table import Table
from soak_suite.samples import Sample, bytes_on_disk, held_at, sample
from soak_suite.traffic import Counted, Counter, counting, traffic
from soak_suite.verdicts import GROWTH, ROLES, Figures, broken, grown
from workload import Task

READ = {"watch": "scored", "judge": "summaries", "shadow": "scored"}
"""What each role reads; how far the score role is, its predictions tell."""
SAMPLE_S = 10.0
SETTLED_S = 300.0
"""Memory is compared with what it was after this time; in a shorter run, after half of it."""
PATIENCE_S = 120.0
MB = 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # with all that was started
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="penstock-soak-", dir=options.directory) as scratch:
        figures = soak(Path(scratch), options, console)
    print_table(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    found = broken(figures)
    for problem in found:
        print(f"BROKEN: {problem}")
    return 1 if found or (options.strict and grown(figures)) else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="of traffic (default: %(default)g)")
    parser.add_argument("--rate", type=int, default=20_000, help="events per second (default: %(default)s)")
    parser.add_argument("--roles", nargs="+", choices=ROLES, default=ROLES, help="workers to run (default: all)")
    parser.add_argument("--mode", choices=("exactly_once", "at_least_once"), default="exactly_once")
    parser.add_argument("--topic-bytes", type=int, default=1_000_000_000, help="kept per topic (default: 1 GB)")
    parser.add_argument("--directory", type=Path, help="for the broker's data (default: the system's for such things)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 also where a role's memory grew")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, with all samples, as JSON")
    options = parser.parse_args(arguments)
    if "score" not in options.roles:
        parser.error("--roles: without score nothing comes of the events")
    return options


def soak(scratch: Path, options: argparse.Namespace, console: Console) -> Figures:
    from penstock.streams.embedded import EmbeddedKafka

    with EmbeddedKafka(scratch / "kafka", extra=limits(options.topic_bytes)) as kafka, ExitStack() as stack:
        task = make_project(scratch, ",".join(kafka.servers), options)
        broker = Broker(task.servers)
        workers = {role: stack.enter_context(worker(task, role)) for role in options.roles}
        wait_until_serving(broker, replace(task, directory=str(logs_of(task, "score"))), workers["score"])
        counter = stack.enter_context(counting(task.servers, task.predictions, PARTITIONS))
        seen = Seen(broker, task, {**workers, "broker": psutil.Process(kafka.pids()[0])}, counter, kafka.directory)
        return watch_it(seen, options, console)


def limits(topic_bytes: int) -> dict[str, str]:
    """Broker settings that keep each topic at `topic_bytes`, give or take a segment of each partition."""
    return {
        "log.retention.bytes": str(topic_bytes // PARTITIONS),
        "log.segment.bytes": str(max(topic_bytes // PARTITIONS // 16, 1 << 20)),
        "log.retention.check.interval.ms": "5000",
        "log.segment.delete.delay.ms": "1000",
    }


def make_project(scratch: Path, servers: str, options: argparse.Namespace) -> Task:
    directory = scratch / "project"
    directory.mkdir()
    write_weights(weights := directory / "weights.safetensors")
    task = Task(
        servers=servers,
        events="soak-events",
        predictions="soak.predictions",
        scored="soak.scored",
        group="soak",
        weights=str(weights),
        directory=str(directory),
        log=True,
        mode=options.mode,
    )
    shadowed = "shadow" in options.roles
    module = [*python("peers.shadow_project"), "candidate"] if shadowed else python("peers.penstock_project")
    subprocess.run(module, env=contender_environment(task), cwd=directory, check=True)
    return task


@contextmanager
def worker(task: Task, role: str) -> Iterator[psutil.Process]:
    """A worker, its log in a folder of its own in the project."""
    logs_of(task, role).mkdir()
    command, mine = [*python("penstock"), "worker", role], replace(task, directory=str(logs_of(task, role)))
    with running(command, mine, Path(task.directory), None) as process:
        yield process


def logs_of(task: Task, role: str) -> Path:
    return Path(task.directory, role)


def watch_it(seen: Seen, options: argparse.Namespace, console: Console) -> Figures:
    """Sample until all events are sent and predicted, or nothing more comes."""
    begun, seconds = time.monotonic(), options.minutes * 60
    with traffic(seen.task.servers, seen.task.events, PARTITIONS, options.rate, seconds) as producing:
        while (now := time.monotonic() - begun) < seconds + PATIENCE_S:
            seen.look(now)
            if len(seen.disk) % round(60 / SAMPLE_S) == 1:
                console.print(seen.progress, soft_wrap=True)
            if not producing.is_alive() and not seen.lost:
                break
            time.sleep(SAMPLE_S - (time.monotonic() - begun) % SAMPLE_S)
    seen.look(time.monotonic() - begun)
    console.print(seen.progress, soft_wrap=True)
    general = {"minutes": options.minutes, "rate": options.rate, "mode": options.mode}
    return general | seen.figures(settled_s=min(SETTLED_S, seconds / 2), end_s=seconds)


class Seen:
    """What was sampled so far."""

    def __init__(
        self, broker: Broker, task: Task, processes: Mapping[str, psutil.Process], counter: Counter, kafka: Path
    ) -> None:
        self.task = task
        self._broker, self._processes, self._counter, self._kafka = broker, processes, counter, kafka
        self._readers = {
            role: Consumer({"bootstrap.servers": task.servers, "group.id": f"{task.group}.{role}"})
            for role in READ
            if role in processes
        }
        self.memory: dict[str, list[Sample]] = {name: [] for name in processes}
        self.unread: dict[str, list[int]] = {role: [] for role in self._readers}
        self.disk: list[tuple[float, int]] = []
        self.behind: list[tuple[float, int]] = []
        self.events = 0
        self.counted = Counted({})

    @property
    def lost(self) -> int:
        """Events without a prediction, so far."""
        return self.counted.missing + self.events - sum(self.counted.next.values())

    def look(self, now: float) -> None:
        """Take a sample. Raises SystemExit, with the end of its log, where a worker is gone."""
        for name, process in self._processes.items():
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                log = logs_of(self.task, name) / "output.log"
                raise SystemExit(f"{name} ended after {now:.0f} s:\n{log.read_text()[-3000:] if log.exists() else ''}")
            self.memory[name].append(sample(process, now))
        for role, reader in self._readers.items():
            self.unread[role].append(self._unread(reader, READ[role]))
        self.counted = self._counter.newest()
        self.events = sum(self._broker.end(self.task.events, partition) for partition in range(PARTITIONS))
        self.behind.append((now, self.lost))
        self.disk.append((now, bytes_on_disk(self._kafka)))

    def _unread(self, reader: Consumer, topic: str) -> int:
        """Offsets of the topic that the role's group has not committed yet."""
        name = f"{self.task.group}.{topic}"
        partitions = range(1 if topic == "summaries" else PARTITIONS)
        places = reader.committed([TopicPartition(name, partition) for partition in partitions], PATIENCE_S)
        return sum(self._broker.end(name, place.partition) - max(place.offset, 0) for place in places)

    @property
    def progress(self) -> str:
        now, behind = self.behind[-1]
        memory = ", ".join(f"{name} {samples[-1].rss / MB:.0f}" for name, samples in self.memory.items())
        unread = ", ".join(f"{role} {records[-1]:,}" for role, records in self.unread.items())
        return (
            f"{now / 60:4.1f} min: {self.events:,} events, {self.counted.predictions:,} predictions, behind by "
            f"{behind:,} (missing {self.counted.missing}), doubled {self.counted.doubled}, "
            f"disk {self.disk[-1][1] / 1e9:.1f} GB; MB: {memory}; records not read: {unread}"
        )

    def figures(self, *, settled_s: float, end_s: float) -> Figures:
        roles = {}
        for name, samples in self.memory.items():
            held, private = (growth(samples, settled_s, end_s - 30.0, what) for what in ("rss", "uss"))
            cores = (samples[-1].cpu_s - samples[0].cpu_s) / (samples[-1].at_s - samples[0].at_s)
            roles[name] = {**held, "private_ratio": private["ratio"], "cores": cores}
        return {
            "settled_s": settled_s,
            "memory": roles,
            "disk": {"end": self.disk[-1][1], "most": max(held for _, held in self.disk)},
            "most_behind": max(behind for at, behind in self.behind if at < end_s),
            "most_unread": {role: max(records) for role, records in self.unread.items()},
            "events": self.events,
            "predictions": self.counted.predictions,
            "lost": self.lost,
            "doubled": self.counted.doubled,
            "samples": {name: [asdict(each) for each in samples] for name, samples in self.memory.items()},
            "disk_samples": self.disk,
            "behind_samples": self.behind,
            "unread_samples": self.unread,
        }


def growth(samples: Sequence[Sample], settled_s: float, end_s: float, what: str) -> dict[str, float]:
    settled, end = held_at(samples, settled_s, what), held_at(samples, end_s, what)
    return {"settled": settled, "end": end, "ratio": end / settled}


def print_table(figures: Figures) -> None:
    console, too_large = Console(width=110), grown(figures)
    title = f"{figures['minutes']:g} minutes at {figures['rate']:,} events/s, {figures['mode'].replace('_', ' ')}"
    table = Table(title=title)
    settled = f"MB after {figures['settled_s']:g} s"
    for heading in ("", settled, "at the end", f"ratio (≤ {GROWTH:g})", "private", "cores", "records not read"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, of in figures["memory"].items():
        memory = (
            f"{of['settled'] / MB:.1f}",
            f"{of['end'] / MB:.1f}",
            f"{of['ratio']:.3f}{' GREW' * (name in too_large)}",
        )
        unread = figures["most_unread"].get(name)
        said = "–" if unread is None else f"{unread:,} at most"
        table.add_row(name, *memory, f"{of['private_ratio']:.3f}", f"{of['cores']:.2f}", said)
    console.print(table)
    console.print(f"disk {figures['disk']['end'] / 1e9:.2f} GB at the end, {figures['disk']['most'] / 1e9:.2f} at most")
    console.print(
        f"{figures['events']:,} events in, {figures['predictions']:,} predictions, lost {figures['lost']:,}, "
        f"doubled {figures['doubled']:,}; behind by {figures['most_behind']:,} at most"
    )


if __name__ == "__main__":
    sys.exit(main())
