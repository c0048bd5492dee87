"""Child processes that never outlive their parent, and the lock on their data directory."""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from penstock.streams.embedded import watchdog
from penstock.streams.embedded.errors import DirectoryInUse, StartFailed

# Below the range from which Linux takes the ports of outgoing connections, so that none of them sits on a server's
# port while the server restarts.
PORTS = range(20_000, 32_000)


class DirectoryLock:
    """One process tree at a time on a data directory.

    The lock is an `flock` that the servers inherit: it lasts until the last of them is gone, so the data is never
    opened while a server of a killed parent still writes.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.fd: int | None = None

    def acquire(self, *, patience_s: float) -> None:
        """Waits at most `patience_s` for servers whose parent is gone; raises DirectoryInUse."""
        self.directory.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = int(os.pread(fd, 20, 0) or 0) or None
                if time.monotonic() >= deadline or (holder is not None and is_running(holder)):
                    os.close(fd)
                    raise DirectoryInUse(self.directory, pid=holder) from None
                time.sleep(0.02)
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self.fd = fd

    def release(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class ServerProcess:
    """A server under a watchdog: ends when `stop` is called or when this process ends in any way, `kill -9` included.

    `output` receives the server's standard output and error; it starts empty each time.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        directory: Path,
        output: Path,
        lock: DirectoryLock,
        environment: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
    ) -> None:
        self.grace_s = grace_s
        arguments = [str(grace_s), str(os.getpid()), *command]
        with output.open("wb") as file:
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", watchdog.__file__, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                cwd=directory,
                env=environment,
                pass_fds=() if lock.fd is None else (lock.fd,),
                start_new_session=True,
            )
        assert self._watchdog.stdin is not None  # noqa: S101
        assert self._watchdog.stdout is not None  # noqa: S101
        self._life_line = self._watchdog.stdin
        with self._watchdog.stdout as answer:
            self.pid = int(answer.readline() or -1)
        if self.pid < 0:
            self.stop()
            raise StartFailed(name, "its watchdog ended", log=output, tail=last_lines(output))

    @property
    def running(self) -> bool:
        return self._watchdog.poll() is None

    @property
    def status(self) -> int | None:
        """Exit status of the server; 128 + n after signal n; None while it runs."""
        return self._watchdog.poll()

    def ask_to_stop(self) -> None:
        """SIGTERM, then SIGKILL after `grace_s`; returns at once."""
        self._life_line.close()

    def stop(self) -> None:
        """As `ask_to_stop`, and waits until the server is gone."""
        self.ask_to_stop()
        try:
            self._watchdog.wait(self.grace_s + 5.0)
        except subprocess.TimeoutExpired:
            self._watchdog.kill()
            self._watchdog.wait()

    def kill(self) -> None:
        """SIGKILL, as a crash would; returns when the server is gone."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
        self._watchdog.wait(5.0)
        self.stop()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_free(port: int) -> bool:
    """Whether a server can listen on this port of the loopback interface; its own last connections do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int, *, besides: Iterable[int] = ()) -> list[int]:
    """Different ports on which nobody listens, at random so that programs that choose at the same time differ."""
    candidates = random.SystemRandom().sample(PORTS, len(PORTS))
    taken = set(besides)
    free = (port for port in candidates if port not in taken and is_free(port))
    return list(itertools.islice(free, count))


def last_lines(path: Path, count: int = 15) -> list[str]:
    """The end of a log file; looks at its last 64 KiB."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 65_536))
        return file.read().decode(errors="replace").splitlines()[-count:]
