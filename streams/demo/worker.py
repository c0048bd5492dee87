"""The roles as child processes, each as `penstock worker ROLE` runs it anywhere."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path

from penstock.schemas.errors import PenstockError
from penstock.streams.demo.folder import Folder
from penstock.streams.embedded.processes import ServerProcess, free_ports, is_free, last_lines
from penstock.streams.settings.sections import ROLES, AdminSettings, Role

READY_DEADLINE_S = 90.0
IDLE_DEADLINE_S = 60.0
FOLLOW_DEADLINE_S = 90.0
_POLL_S = 0.05
_QUIET_POLL_S, _QUIET_POLLS = 0.25, 4
"""Longer than a checkpoint, after which watch counts."""
_REVISION = "penstock_control_revision{"


class WorkerFailed(PenstockError):
    """A worker ended, or did not get ready in time; carries the last lines it logged.

    >>> print(WorkerFailed("score", "ended with exit code 70", log=Path("score.log"), tail=["no model"]))
    The score worker ended with exit code 70. The end of score.log:
      no model
    """

    def __init__(self, role: str, what: str, *, log: Path, tail: list[str]) -> None:
        self.role, self.what, self.log, self.tail = role, what, log, tail
        lines = "".join(f"\n  {line}" for line in tail) or " (it is empty)"
        super().__init__(f"The {role} worker {what}. The end of {log}:{lines}")


def admin_port() -> int:
    """A port for [admin]: it and those after it, which the other roles take, are free."""
    [port] = free_ports(1)
    while not all(is_free(port + place) for place in range(len(ROLES))):
        [port] = free_ports(1)
    return port


class RoleWorker:
    """Starts at once, under a watchdog: it never outlives this process.

    Its log is ROLE.log in the demo's folder. All but score are nice: what is watched goes first.
    """

    def __init__(self, role: Role, folder: Folder, config: Path, admin: AdminSettings) -> None:
        self.role, self.log = role, folder.path / f"{role}.log"
        self._port = admin.port_of(role)
        self.address = f"http://127.0.0.1:{self._port}"
        nice = None if role == "score" else shutil.which("nice")
        self._process = ServerProcess(
            f"{role} worker",
            [*([nice] if nice else []), sys.executable, "-m", "penstock", "worker", role, "-c", str(config)],
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
            raise self.failure(f"ended with exit code {self._process.status}")

    async def wait_until_ready(self, deadline_s: float = READY_DEADLINE_S) -> None:
        """Returns when it does its work: score, when it has a model and consumes events. Raises WorkerFailed."""
        deadline, answer = time.monotonic() + deadline_s, b""
        while b" 200 " not in answer[:20]:
            self.check()
            if time.monotonic() > deadline:
                raise self.failure(f"was not ready within {deadline_s:g} s")
            await asyncio.sleep(_POLL_S)
            answer = await self._get("/readyz")

    def ask_to_stop(self) -> None:
        """SIGTERM; returns at once."""
        self._process.ask_to_stop()

    def stop(self) -> None:
        """SIGTERM: it finishes and commits what is in flight. Stopping twice is fine."""
        self._process.stop()

    async def counted(self) -> float:
        """The sum of everything that it has counted so far: what does not grow has nothing to do."""
        text = (await self._get("/metrics")).decode()
        lines = (line.split() for line in text.splitlines() if not line.startswith("#"))
        return sum(float(line[-1]) for line in lines if line and line[0].partition("{")[0].endswith("_total"))

    async def follows(self, revision: int) -> bool:
        """Whether it works by this revision of the control record."""
        text = (await self._get("/metrics")).decode()
        lines = (line.split() for line in text.splitlines() if line.startswith(_REVISION))
        return any(float(line[-1]) >= revision for line in lines)

    async def _get(self, path: str) -> bytes:
        """The answer, its head included; empty where nobody answers."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return b""
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            return await reader.read()
        except OSError:
            return b""
        finally:
            writer.close()

    def failure(self, what: str) -> WorkerFailed:
        """What to raise about it."""
        return WorkerFailed(self.role, what, log=self.log, tail=last_lines(self.log))


class Workers:
    """One worker of each role."""

    def __init__(self, folder: Folder, config: Path, admin: AdminSettings) -> None:
        self._all: list[RoleWorker] = []
        for role in ROLES:
            self._all.append(RoleWorker(role, folder, config, admin))

    def __getitem__(self, role: Role) -> RoleWorker:
        return self._all[ROLES.index(role)]

    def check(self) -> None:
        """Raises WorkerFailed unless all of them run."""
        for worker in self._all:
            worker.check()

    async def wait_until_ready(self) -> None:
        """Raises WorkerFailed."""
        await asyncio.gather(*(worker.wait_until_ready() for worker in self._all))

    async def wait_until_they_follow(self, revision: int) -> None:
        """Returns when all of them work by this revision of the control record. Raises WorkerFailed."""
        deadline = time.monotonic() + FOLLOW_DEADLINE_S
        for worker in self._all:
            while not await worker.follows(revision):
                self.check()
                if time.monotonic() > deadline:
                    raise worker.failure(f"does not follow revision {revision} of the control record")
                await asyncio.sleep(_POLL_S)

    async def counted(self) -> float:
        """What watch, shadow and judge have counted so far."""
        return sum([await self[role].counted() for role in ("shadow", "watch", "judge")])

    async def wait_until_idle(self, deadline_s: float = IDLE_DEADLINE_S) -> None:
        """Returns when shadow, watch and judge have done what there was to do, or after `deadline_s`."""
        deadline, before, quiet = time.monotonic() + deadline_s, -1.0, 0
        while quiet < _QUIET_POLLS and time.monotonic() < deadline:
            self.check()
            await asyncio.sleep(_QUIET_POLL_S)
            counted = await self.counted()
            before, quiet = counted, quiet + 1 if counted == before else 0

    def stop(self) -> None:
        """All at once; returns when the last has stopped."""
        for worker in self._all:
            worker.ask_to_stop()
        for worker in self._all:
            worker.stop()
