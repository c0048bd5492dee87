"""Apache Kafka in KRaft mode as child processes: each broker is its own controller."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import os
import re
import shutil
import socket
import struct
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from penstock.streams.embedded.errors import OtherCluster, StartFailed
from penstock.streams.embedded.jars import Progress, java, kafka_jars, no_progress
from penstock.streams.embedded.kafka_properties import LOGGING, broker_properties, render
from penstock.streams.embedded.processes import DirectoryLock, ServerProcess, free_ports, is_free, last_lines

HOST = "127.0.0.1"
POLL_S = 0.02
JAVA_VARIABLES = {"CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"}


@dataclasses.dataclass
class Cluster:
    """What a data directory remembers in `cluster.json`, so that clients find the brokers where they were."""

    cluster_id: str
    ports: dict[str, list[int]]  # by listener, one of each broker

    @classmethod
    def load(cls, path: Path) -> Cluster | None:
        return cls(**json.loads(path.read_text())) if path.exists() else None

    def taken(self) -> bool:
        """Whether somebody listens where a broker is to: a port that was free a moment ago may be so no more."""
        return not all(is_free(port) for ports in self.ports.values() for port in ports)

    def save(self, path: Path) -> None:
        made = path.with_suffix(".tmp")
        made.write_text(json.dumps(dataclasses.asdict(self), indent=2))
        made.replace(path)


QUICK_JAVA = ("-XX:TieredStopAtLevel=1",)
"""For programs that end soon: compiled at once, and no better later."""


class EmbeddedKafka:
    """A real Apache Kafka on the loopback interface, its data kept in `directory`.

    Args:
        directory: Data, settings and logs. Survives restarts and `kill -9`; one process at a time may use it.
        brokers: 1, or 3 with replication factor 3 and `min.insync.replicas` 2.
        extra: Broker settings that are added to, or replace, those written here.
        listeners: Further listeners by name, with their security protocol: `{"SASL": "SASL_PLAINTEXT"}`.
            Their settings (`listener.name.sasl.…`) go into `extra`.
        cache: Folder that keeps Kafka's jars (default: `$PENSTOCK_CACHE`, or the user's cache directory).
        heap_mb: Heap of each broker.
        start_timeout_s: Time for all brokers to answer.
        progress: Called during the one-time download.

    Use it as a context manager, or call `start` and `stop`. The brokers end with this process, however it ends.

    Raises:
        NotInstalled, JarsUnavailable: Kafka cannot be brought here.
        DirectoryInUse, OtherCluster: the directory serves somebody or something else.
        StartFailed: a broker ended or did not answer in time; shows the end of its log.
    """

    java_options: ClassVar[Sequence[str]] = ()
    """Of all brokers; `QUICK_JAVA` where they live for a minute and their first seconds count, as in tests."""

    def __init__(
        self,
        directory: Path,
        *,
        brokers: int = 1,
        extra: Mapping[str, str] | None = None,
        listeners: Mapping[str, str] | None = None,
        cache: Path | None = None,
        heap_mb: int = 512,
        start_timeout_s: float = 120.0,
        progress: Progress = no_progress,
    ) -> None:
        self.directory = directory.absolute()
        self.brokers, self.extra, self.listeners = brokers, dict(extra or {}), dict(listeners or {})
        self.cache, self.heap_mb, self.start_timeout_s, self.progress = cache, heap_mb, start_timeout_s, progress
        self._lock = DirectoryLock(self.directory)
        self._cluster: Cluster | None = None
        self._jars = Path()
        self._processes: dict[int, ServerProcess] = {}

    @property
    def servers(self) -> list[str]:
        """Bootstrap servers of the plain-text listener, one of each broker; known once started."""
        return self.addresses("PLAINTEXT")

    def addresses(self, listener: str) -> list[str]:
        """Bootstrap servers of a listener, in the order of the brokers."""
        if self._cluster is None:
            raise RuntimeError("EmbeddedKafka.start() was not called")
        return [f"{HOST}:{port}" for port in self._cluster.ports[listener]]

    def start(self) -> None:
        """Returns once every broker answers and knows the others."""
        self._jars = kafka_jars(self.cache, progress=self.progress)
        self._lock.acquire(patience_s=15.0)
        try:
            for others_may_come in (True, True, False):
                cluster = self._cluster = self._remembered_or_new()
                try:
                    self._start_all(cluster)
                    return
                except StartFailed:
                    self._stop_all()
                    if not others_may_come or not cluster.taken():
                        raise
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends all brokers, cleanly if they manage in time. Stopping twice is fine."""
        try:
            self._stop_all()
        finally:
            self._lock.release()

    def kill(self, broker: int) -> None:
        """`kill -9` of one broker (0 is the first)."""
        self._processes.pop(broker).kill()

    def restart(self, *brokers: int) -> None:
        """Starts killed brokers again, together, or stops and starts running ones; returns once they have joined."""
        for broker in brokers:
            self.relaunch(broker)
        self._wait_until_ready(brokers)

    def relaunch(self, broker: int) -> None:
        """As `restart`, and returns at once."""
        if broker in self._processes:
            self._processes.pop(broker).stop()
        self._launch(broker)

    def ended(self) -> dict[int, str]:
        """Brokers that ended by themselves, and why: their last error, or else their status."""
        return {
            broker: last_words(last_lines(self._log(broker), 500)) or f"status {process.status}"
            for broker, process in self._processes.items()
            if not process.running
        }

    def pids(self) -> list[int]:
        """Process ids of the brokers that run."""
        return [process.pid for process in self._processes.values() if process.running]

    def __enter__(self) -> EmbeddedKafka:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_all(self, cluster: Cluster) -> None:
        self._configure(cluster)
        self._format(cluster)
        self.progress(
            f"Starting Apache Kafka ({self.brokers} of it)" if self.brokers > 1 else "Starting Apache Kafka", 0, 0
        )
        for broker in range(self.brokers):
            self._launch(broker)
        self._wait_until_ready(range(self.brokers))

    def _stop_all(self) -> None:
        try:
            for process in self._processes.values():
                process.ask_to_stop()
            for process in self._processes.values():
                process.stop()
        finally:
            self._processes.clear()

    def _remembered_or_new(self) -> Cluster:
        path = self.directory / "cluster.json"
        names = ["PLAINTEXT", "CONTROLLER", *self.listeners]
        cluster = Cluster.load(path) or Cluster(new_cluster_id(), {})
        held = len(cluster.ports.get("PLAINTEXT", ())) or self.brokers
        if held != self.brokers:
            raise OtherCluster(self.directory, held=held, wanted=self.brokers)
        for name in names:
            kept = cluster.ports.get(name, [])
            if not kept or not all(map(is_free, kept)):
                taken = itertools.chain.from_iterable(cluster.ports.values())
                cluster.ports[name] = free_ports(self.brokers, besides=taken)
        cluster.save(path)
        return cluster

    def _configure(self, cluster: Cluster) -> None:
        (self.directory / "log4j2.properties").write_text(LOGGING)
        for broker in range(self.brokers):
            home = self._home(broker)
            home.mkdir(exist_ok=True)
            properties = broker_properties(broker, self.brokers, cluster.ports, self.listeners, host=HOST)
            (home / "server.properties").write_text(render({**properties, **self.extra}))

    def _format(self, cluster: Cluster) -> None:
        """Kafka refuses a directory without a cluster id; `meta.properties` is the last file that formatting writes."""
        tools = {}
        for broker in range(self.brokers):
            data = self._home(broker) / "data"
            if not (data / "meta.properties").exists():
                shutil.rmtree(data, ignore_errors=True)
                arguments = ["format", "--cluster-id", cluster.cluster_id, "--config", "server.properties"]
                # Too short a run for the optimising compiler to pay.
                tools[broker] = self._java(broker, QUICK_JAVA, "kafka.tools.StorageTool", arguments)
        deadline = time.monotonic() + self.start_timeout_s
        try:
            for broker, tool in tools.items():
                while tool.running and time.monotonic() < deadline:
                    time.sleep(POLL_S)
                if tool.status != 0:
                    raise self._failure(broker, f"formatting its storage ended with status {tool.status}")
        finally:
            for tool in tools.values():
                tool.stop()

    def _launch(self, broker: int) -> None:
        self._processes[broker] = self._java(broker, self.java_options, "kafka.Kafka", ["server.properties"])

    def _java(self, broker: int, options: Sequence[str], main_class: str, arguments: list[str]) -> ServerProcess:
        command = [
            str(java()),
            f"-Xmx{self.heap_mb}m",
            "-XX:+UseParallelGC",  # stands still for a third of the serial collector's time, at no more CPU
            "-XX:MetaspaceSize=96m",  # more than a broker needs: each rise of the limit is a full collection
            "-XX:+ExitOnOutOfMemoryError",
            f"-XX:ErrorFile={self._home(broker) / 'crash.log'}",
            "--sun-misc-unsafe-memory-access=allow",  # Java 24 and later warn of what Kafka's ByteBufferUnmapper does
            "-Djava.awt.headless=true",
            f"-Dpenstock.log=../{self._log(broker).name}",
            "-Dlog4j2.configurationFile=../log4j2.properties",
            *options,
            "-cp",
            f"{self._jars}/*",
            main_class,
            *arguments,
        ]
        environment = {name: value for name, value in os.environ.items() if name not in JAVA_VARIABLES}
        return ServerProcess(
            "Kafka",
            command,
            directory=self._home(broker),  # all paths in the settings are relative to it: the directory can be moved
            output=self._home(broker) / "output.log",
            environment=environment,
            lock=self._lock,
        )

    def _wait_until_ready(self, brokers: Iterable[int]) -> None:
        deadline = time.monotonic() + self.start_timeout_s
        for broker in brokers:
            while True:
                process = self._processes[broker]
                if not process.running:
                    raise self._failure(broker, f"broker {broker} ended with status {process.status}")
                if brokers_known_to(self.servers[broker]) >= len(self._processes):
                    break
                if time.monotonic() > deadline:
                    raise self._failure(broker, f"broker {broker} did not answer within {self.start_timeout_s:g} s")
                time.sleep(POLL_S)

    def _failure(self, broker: int, reason: str) -> StartFailed:
        log = self._log(broker)
        tail = last_lines(log) + last_lines(self._home(broker) / "output.log")
        return StartFailed("Kafka", reason, log=log, tail=tail)

    def _home(self, broker: int) -> Path:
        return self.directory / f"broker-{broker}"

    def _log(self, broker: int) -> Path:
        return self.directory / f"broker-{broker}.log"


def last_words(lines: Sequence[str]) -> str | None:
    r"""The last error of a broker's log that has a cause, and a first one; None where there is none.

    >>> last_words([
    ...     "2026-11-21T23:19:10,445 ERROR LogDirFailureChannel: Error while appending records to t-0",
    ...     "java.io.IOException: No space left on device",
    ...     "\tat java.base/sun.nio.ch.FileDispatcherImpl.write0(Native Method)",
    ...     "2026-11-21T23:19:10,446 ERROR TransactionStateManager: Error loading transactions",
    ...     "org.apache.kafka.common.errors.KafkaStorageException: t is offline due to a previous IO exception.",
    ...     "2026-11-21T23:19:10,722 ERROR LogManager: Shutdown broker because all log dirs have failed",
    ... ])
    'Error while appending records to t-0: No space left on device'
    """
    for line, following in reversed(list(itertools.pairwise(lines))):
        error = re.search(r" (?:ERROR|FATAL) +\w+: (.+)", line)
        cause = re.match(r"[\w.]+(?:Exception|Error): (.+)", following)
        if error and cause and "due to a previous" not in cause[1]:
            return f"{error[1]}: {cause[1]}"
    return None


def new_cluster_id() -> str:
    """A random UUID as Kafka writes it; not one that a command line takes for an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        pass
    return text


def brokers_known_to(address: str) -> int:
    """How many live brokers the one at this address knows of; 0 if it does not answer.

    Kafka's own metadata request (api 3, version 1, no topics), by hand: it needs neither an event loop nor a client.
    """
    host, port = address.rsplit(":", 1)
    request = struct.pack(">hhihi", 3, 1, 0, -1, 0)  # api, version, correlation, no client id, no topics
    try:
        with socket.create_connection((host, int(port)), timeout=2.0) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.makefile("rb").read(12)  # size, correlation, number of brokers
    except OSError:
        return 0
    return int(struct.unpack(">iii", answer)[2]) if len(answer) == 12 else 0
