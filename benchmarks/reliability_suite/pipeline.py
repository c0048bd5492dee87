"""A pipeline with a real model, and its score workers as real processes."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from reliability_suite.children import BENCHMARKS
from workload import Task

from penstock.streams.settings import Settings

RESTART_S = 1.0
"""As `penstock up` waits before it starts a worker again."""
STOP_S = 60.0
START_S = 180.0
"""So long young brokers may take for their first transaction."""


@dataclass
class ScoreWorker:
    """One place for a worker; whoever works there is killed, stopped and started again."""

    number: int
    directory: Path
    environment: dict[str, str]
    starts: int = 0
    crashes: list[str] = field(default_factory=list)
    """What it said in the end, each time it ended though nobody had asked."""

    def start(self) -> None:
        self.starts += 1
        self.wished = True
        command = [sys.executable, "-m", "penstock", "worker", "score"]
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                command, cwd=self.directory, env=self.environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip

    @property
    def log(self) -> Path:
        return self.directory / f"worker-{self.number}-{self.starts}.log"

    @property
    def owns(self) -> list[int]:
        """The partitions that it last said it scores."""
        lines = re.findall(r"Scoring partitions ([0-9, ]+)", self.log.read_text(errors="replace"))
        return sorted(map(int, re.findall(r"[0-9]+", lines[-1]))) if lines else []

    @property
    def repeats(self) -> int:
        """Events that it said, in all its lives, it scores again."""
        said = "".join(log.read_text(errors="replace") for log in self.directory.glob(f"worker-{self.number}-*.log"))
        return sum(map(int, re.findall(r"(\d+) events are scored again", said)))

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """kill -9."""
        self.wished = False
        self._process.kill()
        self._process.wait()

    def stop(self) -> tuple[int, float]:
        """SIGTERM; the exit code, and the seconds that it took. Killed after `STOP_S`."""
        self.wished = False
        begun = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return self._process.returncode, time.monotonic() - begun

    def stand_still(self) -> None:
        """SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)

    def wake_up(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def tend(self) -> None:
        """As a supervisor does: start it again where it ended and nobody had asked."""
        if not self.wished or self.runs:
            return
        lines = self.log.read_text(errors="replace").strip().splitlines()
        self.crashes.append(f"exit code {self._process.returncode}: {lines[-1] if lines else 'no word'}")
        time.sleep(RESTART_S)
        self.start()


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """Runs in the worker's process: it is killed when this one ends, however it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Pipeline:
    """Topics, a project on disk and its model, all made as a user would make them; `workers` are not started yet.

    Predictions are stamped by the broker as it appends them. `settings` are tables that the project has beside.
    """

    def __init__(
        self,
        servers: str,
        scratch: Path,
        name: str,
        *,
        mode: str,
        partitions: int,
        replicas: int = 1,
        workers: int = 2,
        events: str | None = None,
        settings: str = "",
    ) -> None:
        self.name, self.servers, self.partitions, self._replicas = name, servers, partitions, replicas
        self.directory = scratch / name
        self.directory.mkdir(parents=True)
        self._task = Task(
            servers=servers,
            events=events or f"{name}-events",
            predictions=f"{name}.predictions",
            scored=f"{name}.scored",
            group=name,
            weights="",
            directory=str(self.directory),
            log=True,
            mode=mode,
        )
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(BENCHMARKS)}
        environment |= {"PENSTOCK_KAFKA__REPLICATION_FACTOR": str(replicas)}
        self.workers = [ScoreWorker(number, self.directory, environment) for number in range(workers)]
        mine = [self.predictions] if events else [self.events, self.predictions]
        asyncio.run(self._create(mine))
        self._prepare(environment | self._task.environment())
        with (self.directory / "penstock.toml").open("a") as file:
            file.write(settings)

    def _prepare(self, environment: dict[str, str]) -> None:
        log = self.directory / "prepare.log"
        with log.open("wb") as out:
            command = [sys.executable, "-m", "peers.penstock_project"]
            done = subprocess.run(command, cwd=self.directory, env=environment, stdout=out, stderr=out)
        if done.returncode != 0:
            raise RuntimeError(f"no project was made:\n{log.read_text(errors='replace')[-3000:]}")

    @property
    def events(self) -> str:
        return self._task.events

    @property
    def predictions(self) -> str:
        return self._task.predictions

    @property
    def dead_letters(self) -> str:
        return f"{self.name}.dead-letters"

    @property
    def commit_interval_ms(self) -> float:
        return Settings.load(self.directory / "penstock.toml").delivery.commit_interval_ms

    def written_events(self) -> int:
        """Records on the events topic."""
        return asyncio.run(self._written(self.events))

    def wait_until_done(self, events: int, timeout_s: float) -> bool:
        """Until the group has committed what makes `events` together: Kafka's own word, so nobody reads meanwhile."""
        return asyncio.run(self._committed(events, timeout_s))

    def close(self) -> None:
        """Kill what runs, and give the brokers their disk back."""
        for worker in self.workers:
            if worker.starts:
                worker.kill()
        asyncio.run(self._delete())

    async def _create(self, names: list[str]) -> None:
        config = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "2097152"}
        async with _admin(self.servers) as admin:
            await admin.create_topics(
                [NewTopic(name, self.partitions, self._replicas, topic_configs=config) for name in names]
            )
        # Brokers that have just been made create the log of transactions at the first one: nobody is to wait for that.
        producer = AIOKafkaProducer(bootstrap_servers=self.servers, transactional_id=f"{self.name}-first")
        try:
            await asyncio.wait_for(producer.start(), START_S)
        finally:
            await producer.stop()

    async def _delete(self) -> None:
        async with _admin(self.servers) as admin:
            await admin.delete_topics(
                [name for name in await admin.list_topics() if name.startswith((f"{self.name}.", f"{self.name}-"))]
            )

    async def _committed(self, events: int, timeout_s: float) -> bool:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.servers, group_id=f"{self.name}.score", enable_auto_commit=False
        )
        await consumer.start()
        deadline = time.monotonic() + timeout_s
        try:
            while time.monotonic() < deadline:
                places = [TopicPartition(self.events, partition) for partition in range(self.partitions)]
                if sum([await consumer.committed(place) or 0 for place in places]) >= events:
                    return True
                await asyncio.sleep(0.2)
            return False
        finally:
            await consumer.stop()

    async def _written(self, topic: str) -> int:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers)
        await consumer.start()
        try:
            places = [TopicPartition(topic, partition) for partition in range(self.partitions)]
            return sum((await consumer.end_offsets(places)).values())
        finally:
            await consumer.stop()


@asynccontextmanager
async def _admin(servers: str) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
