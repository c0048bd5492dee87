"""Pipelines for tests: a project on disk, its score workers as real processes, and a witness who only reads Kafka."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from penstock.models.package import write_package
from penstock.models.registry import Registry
from penstock.models.signature import Output, Signature, TensorInput
from penstock.schemas.records import ModelRef
from penstock.streams import topics
from penstock.streams.control import use_champion
from penstock.streams.embedded.testing import Kafka as Kafka
from penstock.streams.settings import Settings

FEATURES = [f"x{i}" for i in range(4)]


@dataclass
class Worker:
    """One `penstock worker` process."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_until_it_scores(self, timeout_s: float = 90) -> None:
        """Until partitions are assigned to it."""
        self.wait_until_it_says("Scoring partitions", timeout_s)

    def wait_until_it_says(self, words: str, timeout_s: float = 90) -> None:
        deadline = time.monotonic() + timeout_s
        while words not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"no {words!r} after {timeout_s} s: {self.log.read_text()}"
            time.sleep(0.05)

    @property
    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text()

    @property
    def owns(self) -> set[int]:
        """The partitions it last said that it scores."""
        lines = re.findall(r"Scoring partitions ([0-9, ]+|none yet)", self.said)
        return {int(number) for number in re.findall(r"[0-9]+", lines[-1])} if lines else set()

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page of its admin door."""
        [address] = re.findall(r"Admin at (http://\S+)", self.said)
        try:
            with urllib.request.urlopen(address + path, timeout=10) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()

    def metric(self, name: str) -> float:
        """Sum of a metric's samples, over all labels."""
        found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return sum(map(float, found))

    def kill(self) -> None:
        """As a machine dies: at once, saying nothing."""
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> int:
        """As an operator stops it: SIGTERM, then whatever time it takes to finish."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    async def stopped(self) -> int:
        """The same, with the event loop free meanwhile."""
        return await asyncio.to_thread(self.stop)


@dataclass
class Project:
    """A pipeline with topics, a model and settings; `start_worker` runs one of its roles."""

    settings: Settings
    workers: list[Worker] = field(default_factory=list)

    @property
    def inputs(self) -> list[str]:
        """The features that its models add up: all numbers."""
        return [feature.name for feature in self.settings.catalogue.features if feature.type.kind == "float"]

    def start_worker(self, role: str = "score", **environ: str) -> Worker:
        """`environ` adds to this process's environment."""
        log = self.settings.directory / f"worker-{len(self.workers)}.log"
        command = [sys.executable, "-m", "penstock", "worker", role, "--config", str(self.settings.file.absolute())]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, cwd=self.settings.directory, stdout=out, stderr=out, env={**os.environ, **environ},
                start_new_session=True,  # a shadow worker steps back with its whole session
            )  # fmt: skip
        self.workers.append(Worker(process, log))
        return self.workers[-1]

    def package(
        self, *, seed: int, factor: float = 1.0, beside: Sequence[str] = (), inputs: Sequence[str] = ()
    ) -> ModelRef:
        """Package and register the next version of the model: the logistic of `factor` times the features' sum.

        `beside` names float features that the catalogue lacks, and that the model asks for all the same; `inputs` those
        that it reads, if not all.
        """
        directory, inputs = self.settings.directory, [*(inputs or self.inputs), *beside]
        summing = _load(directory / "summing.py")
        wider = directory / "wider.toml"
        wider.write_text(self.settings.file.read_text() + _features(beside))
        path = write_package(
            directory / "packages",
            Settings.load(wider, environ={}).catalogue,
            name="sum",
            network=summing.Sum(len(inputs), factor),
            factory="summing:Sum",
            arguments={"width": len(inputs)},
            signature=Signature(inputs=(TensorInput("x", tuple(inputs), "float32"),), output=Output("probability")),
            reference={name: np.random.default_rng(seed).normal(size=500) for name in inputs},
            seed=seed,
        )
        return Registry(self.settings.registry_location).add(path)

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()


class MakeProject(Protocol):
    async def __call__(self, name: str, *, mode: str, **options: Any) -> Project: ...


NETWORK = '''
import os
import signal

import torch

class Sum(torch.nn.Module):
    """The score is the sum of the features through a logistic: easy to check by hand.

    It fails on large numbers. A number above a billion breaks it for good, one above a trillion kills the process.
    One below minus a billion makes it want more memory than there is, one below minus a trillion gives no score.
    """

    broken = False

    def __init__(self, width: int, factor: float = 1.0) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(width, 1)
        torch.nn.init.constant_(self.linear.weight, factor)
        torch.nn.init.zeros_(self.linear.bias)

    def forward(self, x):
        if (x > 1e12).any():
            os.kill(os.getpid(), signal.SIGKILL)
        self.broken |= bool((x > 1e9).any())
        if self.broken:
            raise RuntimeError("broken for good")
        if (x > 1e6).any():
            raise ValueError("more than a million")
        hoard, lowest = [], x.min()
        while -1e12 < lowest < -1e9:
            hoard.append(torch.empty(1 << 30, dtype=torch.uint8))  # never touched: it is a limit's, not the machine's
        return torch.sigmoid(self.linear(x)).masked_fill((x < -1e12).any(dim=1, keepdim=True), torch.nan)
'''


def _features(names: Sequence[str]) -> str:
    return "".join(f'\n[features.{name}]\ntype = "float"\npath = "features.{name}"\n' for name in names)


async def make_project(
    directory: Path,
    servers: list[str],
    name: str,
    *,
    mode: str,
    partitions: int = 2,
    replicas: int = 1,
    max_bytes: int = 1_048_576,
    event_id: str | None = "id",
    more: str = "",
    with_topics: bool = True,
    serves: bool = True,
) -> Project:
    """A pipeline in `directory`, with its topics made and the first version of its model serving.

    `event_id` is the path of the events' id (None: they have none), `more` is TOML that follows the features. Without
    `with_topics` there are no topics, and so nothing serves; without `serves` nothing serves.
    """
    directory.mkdir()  # noqa: ASYNC240  (a test waits for nothing else)
    (directory / "summing.py").write_text(NETWORK)
    (directory / "penstock.toml").write_text(
        textwrap.dedent(f"""
            [pipeline]
            name = "{name}"
            [kafka]
            servers = {json.dumps(servers)}
            partitions = {partitions}
            replication_factor = {replicas}
            [delivery]
            mode = "{mode}"
            [admin]
            port = 0
            [events]
            topic = "{name}.events"
            max_bytes = {max_bytes}
            """)
        + (f'id = "{event_id}"\n' if event_id else "")
        + _features(FEATURES)
        + textwrap.dedent(more)
    )
    project = Project(Settings.load(directory / "penstock.toml", environ={}))
    project.package(seed=0)
    if with_topics:
        await topics.create(project.settings)
    if with_topics and serves:
        await use_champion(project.settings, ModelRef("sum", 1), author="test", reason="the first model")
    return project


async def until(condition: Callable[[], object], what: str, *, timeout_s: float = 60) -> None:
    """Wait for `condition`, with the event loop free meanwhile; fails with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.05)


def _load(path: Path) -> Any:
    """The module at `path`, under its own name, so that a factory named `summing:Sum` is found."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Witness:
    """Reads topics from the beginning, committed records only, with nothing of Penstock in between."""

    def __init__(self, servers: list[str]) -> None:
        self._servers = servers

    async def read(
        self, topic: str, enough: Callable[[list[ConsumerRecord]], bool], *, timeout_s: float
    ) -> list[ConsumerRecord]:
        """All records up to the present end, once `enough` of them are there; fails after `timeout_s`."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers, isolation_level="read_committed", auto_offset_reset="earliest",
            max_partition_fetch_bytes=20_000_000,
        )  # fmt: skip
        await consumer.start()
        try:
            partitions = [
                TopicPartition(topic, p)
                for p in sorted(consumer.partitions_for_topic(topic) or await self._partitions(consumer, topic))
            ]
            consumer.assign(partitions)
            records: list[ConsumerRecord] = []
            deadline = time.monotonic() + timeout_s
            while time.monotonic() < deadline:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records += batch
                if enough(records):
                    return records
            raise AssertionError(f"{topic} has {len(records)} records after {timeout_s} s: not enough")
        finally:
            await consumer.stop()

    async def _partitions(self, consumer: AIOKafkaConsumer, topic: str) -> set[int]:
        cluster = await consumer._client.fetch_all_metadata()
        partitions: set[int] = cluster.partitions_for_topic(topic)
        return partitions
