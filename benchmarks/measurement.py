"""Measuring a contender from outside, the same way for all: broker timestamps for the time, /proc for the CPU.

The predictions topic has `message.timestamp.type=LogAppendTime`: the broker stamps each record batch when it appends
it. So the rate needs no consumer beside the contender; the topic is read, and every prediction checked, afterwards.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import psutil
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from numpy.typing import NDArray
from workload import Task

HERE = Path(__file__).parent
POLL_S = 0.02
"""How often the end of the predictions topic is asked for while a contender runs: well under 1 % of a core."""
METADATA_TIMEOUT_S = 30.0
SCORE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Measurement:
    """One run of one contender, from its first prediction after the warm-up to its last."""

    events_per_s: float
    cpu_us_per_event: float


class Broker:
    """What a benchmark asks of Kafka."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        client = {"bootstrap.servers": servers, "log_level": 2}
        self._admin = AdminClient(client)
        self._reader = Consumer(client | {"group.id": "penstock-benchmark", "enable.auto.commit": False})

    def create(self, *names: str, partitions: int = 1, stamped: bool = True) -> None:
        """`stamped`: the broker stamps records as it appends them, whatever the producer says."""
        config = {"max.message.bytes": "2097152"}
        if stamped:
            config["message.timestamp.type"] = "LogAppendTime"
        topics = [NewTopic(name, partitions, 1, config=config) for name in names]
        for future in self._admin.create_topics(topics).values():
            future.result(METADATA_TIMEOUT_S)
        deadline = time.monotonic() + METADATA_TIMEOUT_S
        while not self._have_leaders(names):
            if time.monotonic() > deadline:
                raise RuntimeError(f"no broker leads {', '.join(names)}")
            time.sleep(POLL_S)

    def _have_leaders(self, names: Iterable[str]) -> bool:
        """Asks for all topics, not for these: librdkafka would remember for minutes that a new one is unknown."""
        found = self._reader.list_topics(timeout=METADATA_TIMEOUT_S).topics
        return all(
            name in found and all(place.leader >= 0 for place in found[name].partitions.values()) for name in names
        )

    def delete(self, *names: str) -> None:
        for future in self._admin.delete_topics(list(names), operation_timeout=METADATA_TIMEOUT_S).values():
            future.result(METADATA_TIMEOUT_S)

    def end(self, topic: str, partition: int = 0) -> int:
        """The offset after the last record; asked again while the broker is still making the topic."""
        deadline = time.monotonic() + METADATA_TIMEOUT_S
        while True:
            try:
                return int(self._reader.get_watermark_offsets(TopicPartition(topic, partition), METADATA_TIMEOUT_S)[1])
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)

    def produce(self, topic: str, records: Iterable[tuple[bytes, bytes]], partition: int = 0) -> None:
        producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 20, "acks": "all"})
        for key, value in records:
            while True:
                try:
                    producer.produce(topic, value, key, partition)
                    break
                except BufferError:
                    producer.poll(0.1)
        if producer.flush(60):
            raise RuntimeError(f"the broker did not take all events of {topic}")

    def read(self, topic: str, count: int, partition: int = 0) -> tuple[NDArray[np.int64], list[bytes]]:
        """The first `count` records: their timestamps (Unix ms) and values."""
        self._reader.assign([TopicPartition(topic, partition, 0)])
        stamps: list[int] = []
        values: list[bytes] = []
        while len(values) < count:
            for message in self._reader.consume(min(10_000, count - len(values)), 30):
                if message.error():
                    raise RuntimeError(f"{topic}: {message.error()}")
                stamps.append(message.timestamp()[1])
                values.append(message.value())
        self._reader.unassign()
        return np.array(stamps), values


@contextmanager
def pinned(cores: set[int] | None) -> Iterator[None]:
    """What is started in here keeps to `cores`."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def embedded_or_given(servers: str | None, directory: Path, cores: set[int] | None = None) -> Iterator[str]:
    """`servers`, or those of a real broker that runs here meanwhile."""
    if servers:
        yield servers
        return
    from penstock.streams.embedded import EmbeddedKafka

    with pinned(cores), EmbeddedKafka(directory / "kafka") as kafka:
        yield ",".join(kafka.servers)


@contextmanager
def running(command: Sequence[str], task: Task, directory: Path, cores: set[int] | None) -> Iterator[psutil.Process]:
    """A contender in a process of its own, in a session of its own; stopped when the block ends."""
    with Path(task.directory, "output.log").open("wb") as log, pinned(cores):
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=contender_environment(task),
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def contender_environment(task: Task) -> dict[str, str]:
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return os.environ | threads | task.environment() | {"PYTHONPATH": str(HERE), "PYTHONUNBUFFERED": "1"}


def measure(
    broker: Broker, command: Sequence[str], task: Task, directory: Path, *,
    warm_up: int, count: int, cores: set[int] | None, timeout_s: float,
) -> Measurement:  # fmt: skip
    """Run `command` until it has written `warm_up` + `count` predictions; the first `warm_up` are not measured."""
    with running(command, task, directory, cores) as process:
        deadline = time.monotonic() + timeout_s
        begun, cpu_begun = _when_written(broker, task, process, warm_up, deadline)
        ended, cpu_ended = _when_written(broker, task, process, warm_up + count, deadline)
    stamps, _ = broker.read(task.predictions, warm_up + count)
    measured = stamps[warm_up:]
    after_first = int((measured > measured[0]).sum())
    seconds = max(measured[-1] - measured[0], 1) / 1000  # a few events may all be of one millisecond
    return Measurement(after_first / seconds, (cpu_ended - cpu_begun) * 1e6 / max(ended - begun, 1))


def _when_written(
    broker: Broker, task: Task, process: psutil.Process, count: int, deadline: float
) -> tuple[int, float]:
    """Wait until `count` predictions are there; how many are there then, and the CPU seconds spent so far."""
    while True:
        end = broker.end(task.predictions)
        if end >= count:
            return end, cpu_seconds(process)
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE or time.monotonic() > deadline:
            log = Path(task.directory, "output.log").read_text(errors="replace")
            raise SystemExit(f"{task.group} wrote {end} of {count} predictions and went no further:\n{log[-3000:]}")
        time.sleep(POLL_S)


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process and its children."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        times = one.cpu_times()
        total += times.user + times.system
    return total


class _Written(msgspec.Struct):
    id: str
    score: float
    source: dict[str, int]


def check(values: Sequence[bytes], expected: NDArray[np.float32]) -> None:
    """Every event has its one prediction, with its source and the score that the network gives."""
    written = [msgspec.json.decode(value, type=_Written) for value in values]
    offsets = np.array([one.source["offset"] for one in written])
    if not np.array_equal(np.sort(offsets), np.arange(len(values))):
        raise SystemExit(f"{len(values) - len(set(offsets.tolist()))} events are lost or doubled")
    worst = float(np.abs(np.array([one.score for one in written]) - expected[offsets]).max())
    if worst > SCORE_TOLERANCE:
        raise SystemExit(f"scores differ from the network's by up to {worst:g}")


def python(module: str) -> list[str]:
    return [sys.executable, "-m", module]
