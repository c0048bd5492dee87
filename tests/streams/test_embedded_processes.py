"""No server outlives the process that started it, however that ends; what it was told is there at the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_client

from penstock.streams.embedded import EmbeddedRedis
from penstock.streams.embedded.errors import DirectoryInUse, StartFailed
from penstock.streams.embedded.processes import (
    PORTS,
    DirectoryLock,
    ServerProcess,
    free_ports,
    is_free,
    is_running,
    last_lines,
)

pytestmark = pytest.mark.redis

DEADLINE_S = 60.0

PARENT = """
import os, sys, time
from pathlib import Path
from penstock.streams.embedded import EmbeddedRedis

with EmbeddedRedis(Path(sys.argv[1])) as server:
    child = {child}
    print(server.pid, server.url, child, flush=True)
    time.sleep(600)
"""


class Parent:
    """Another process that runs an embedded Redis in a session of its own, as a terminal would start it."""

    def __init__(self, directory: Path, *, child: str = "0") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT.format(child=child), str(directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        with self.process.stdout as answer:
            pid, self.url, child = answer.readline().split()
        self.server_pid, self.child_pid = int(pid), int(child)

    def send(self, number: signal.Signals) -> None:
        """To the whole process group, as Ctrl-C in a terminal does."""
        os.killpg(self.process.pid, number)
        self.process.wait(DEADLINE_S)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    return not is_running(pid)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    parent = Parent(tmp_path)
    yield parent
    if parent.process.poll() is None:
        parent.send(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_server_ends_with_its_parent(parent: Parent, number: signal.Signals) -> None:
    parent.send(number)
    wait_until(lambda: is_gone(parent.server_pid))


def test_the_server_ends_after_an_exception(tmp_path: Path) -> None:
    pids = []

    def fail(server: EmbeddedRedis) -> None:
        with server:
            pids.append(server.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail(EmbeddedRedis(tmp_path))
    [pid] = pids
    assert pid is not None
    assert is_gone(pid)


def test_a_forked_child_that_lives_on_does_not_keep_the_server(tmp_path: Path) -> None:
    parent = Parent(tmp_path, child="os.fork() or (os.setsid(), time.sleep(600))")
    try:
        parent.send(signal.SIGKILL)
        wait_until(lambda: is_gone(parent.server_pid))
        assert is_running(parent.child_pid)
    finally:
        os.kill(parent.child_pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process together with its parent")
def test_the_server_ends_with_its_watchdog(parent: Parent) -> None:
    watchdog = int(Path(f"/proc/{parent.server_pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(watchdog, signal.SIGKILL)
    wait_until(lambda: is_gone(parent.server_pid))


def test_what_was_written_is_there_after_a_crash_of_the_parent(parent: Parent, tmp_path: Path) -> None:
    with redis_client.Redis.from_url(parent.url) as client:
        client.hset("weather:JFK", "visib", "10.0")
    parent.send(signal.SIGKILL)
    with EmbeddedRedis(tmp_path) as again, redis_client.Redis.from_url(again.url) as client:
        assert client.hget("weather:JFK", "visib") == b"10.0"
        assert again.url == parent.url


def test_two_processes_do_not_use_one_directory(parent: Parent, tmp_path: Path) -> None:
    with pytest.raises(DirectoryInUse, match=f"{tmp_path} is in use by process {parent.process.pid}") as refusal:
        EmbeddedRedis(tmp_path).start()
    assert refusal.value.pid == parent.process.pid


def test_a_server_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").mkdir()
    with pytest.raises(
        StartFailed, match=r"(?s)did not start: it ended with status 1.*append-only file: Is a directory"
    ):
        EmbeddedRedis(tmp_path).start()
    (tmp_path / "appendonly.aof").rmdir()
    with EmbeddedRedis(tmp_path) as server:
        assert server.pid is not None


def test_a_killed_server_starts_again_where_it_was(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        url, pid = server.url, server.pid
        server.kill()
        assert pid is not None
        assert is_gone(pid)
        server.start()
        assert (server.url, server.pid != pid) == (url, True)


def test_a_server_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    stubborn = "from signal import *; signal(SIGTERM, SIG_IGN); print('up', flush=True); pause(), pause()"
    output = tmp_path / "output.log"
    server = ServerProcess(
        "Stubborn",
        [sys.executable, "-c", stubborn],
        directory=tmp_path,
        output=output,
        lock=DirectoryLock(tmp_path),
        grace_s=0.2,
    )
    wait_until(lambda: last_lines(output) == ["up"])
    server.stop()
    assert server.status == 128 + signal.SIGKILL
    assert is_gone(server.pid)


def test_a_program_that_is_not_there_is_named_in_the_log(tmp_path: Path) -> None:
    output = tmp_path / "output.log"
    server = ServerProcess(
        "Missing", [str(tmp_path / "java")], directory=tmp_path, output=output, lock=DirectoryLock(tmp_path)
    )
    wait_until(lambda: not server.running)
    server.stop()
    assert server.status == 127
    assert last_lines(output) == [f"{tmp_path / 'java'}: No such file or directory"]


def test_free_ports_differ_and_stay_clear_of_outgoing_connections() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(port in PORTS and is_free(port) for port in ports)
    assert set(free_ports(20, besides=ports)).isdisjoint(ports)
