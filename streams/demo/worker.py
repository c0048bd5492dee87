"""The score worker as a child process, as `penstock worker score` runs it anywhere."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from penstock.schemas.errors import PenstockError
from penstock.streams.demo.folder import Folder
from penstock.streams.embedded.processes import ServerProcess, last_lines

READY_DEADLINE_S = 90.0
_POLL_S = 0.05


class WorkerFailed(PenstockError):
    """The score worker ended, or did not get ready in time; carries the last lines it logged.

    >>> print(WorkerFailed("ended with exit code 70", log=Path("worker.log"), tail=["no model"]))
    The score worker ended with exit code 70. The end of worker.log:
      no model
    """

    def __init__(self, what: str, *, log: Path, tail: list[str]) -> None:
        self.what, self.log, self.tail = what, log, tail
        lines = "".join(f"\n  {line}" for line in tail) or " (it is empty)"
        super().__init__(f"The score worker {what}. The end of {log}:{lines}")


class ScoreWorker:
    """Starts at once, under a watchdog: it never outlives this process."""

    def __init__(self, folder: Folder, config: Path, port: int) -> None:
        self.log, self.address = folder.path / "worker.log", f"http://127.0.0.1:{port}"
        self._port = port
        self._process = ServerProcess(
            "score worker",
            [sys.executable, "-m", "penstock", "worker", "score", "-c", str(config)],
            directory=folder.path,
            output=self.log,
            lock=folder.lock,
            # The demo's own file says where everything is: the user's environment speaks of other servers.
            environment={name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
            grace_s=20.0,
        )

    def check(self) -> None:
        """Raises WorkerFailed unless it runs."""
        if not self._process.running:
            raise self._failure(f"ended with exit code {self._process.status}")

    async def wait_until_ready(self, deadline_s: float = READY_DEADLINE_S) -> None:
        """Returns when it has a model and consumes events. Raises WorkerFailed."""
        deadline, answer = time.monotonic() + deadline_s, b""
        while b" 200 " not in answer[:20]:
            self.check()
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready within {deadline_s:g} s")
            await asyncio.sleep(_POLL_S)
            answer = await self._ask_readiness()

    def stop(self) -> None:
        """SIGTERM: it finishes and commits what is in flight. Stopping twice is fine."""
        self._process.stop()

    async def _ask_readiness(self) -> bytes:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return b""
        try:
            writer.write(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return await reader.read(4096)
        except OSError:
            return b""
        finally:
            writer.close()

    def _failure(self, what: str) -> WorkerFailed:
        return WorkerFailed(what, log=self.log, tail=last_lines(self.log))
