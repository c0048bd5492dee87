from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.streams.back_off import BackOff
from penstock.streams.embedded.processes import is_running
from penstock.streams.supervisor import Worker, supervise

AT_ONCE = BackOff(first_s=0.01, longest_s=0.05)
RUNS_UNTIL_STOPPED = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1]).write_text("finished"), sys.exit(0)))
print("ready", file=sys.stderr)
while True:
    signal.pause()
"""
FAILS_TWICE = """
import pathlib, signal, sys
runs = pathlib.Path(sys.argv[1])
runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
if len(runs.read_text()) < 3:
    sys.exit(70)
signal.pause()
"""


def worker(script: str, *arguments: object) -> Worker:
    return Worker("score", [sys.executable, "-c", script, *map(str, arguments)], os.environ)


async def test_a_worker_that_fails_is_started_again_later_each_time_and_one_line_says_why_and_when(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pids: list[int] = []

    def on_start(worker: Worker, pid: int) -> None:
        pids.append(pid)
        if len(pids) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    code = await supervise([worker(FAILS_TWICE, tmp_path / "runs")], back_off=AT_ONCE, on_start=on_start)

    assert code == 0
    assert len(set(pids)) == 3
    assert not any(map(is_running, pids))
    assert [record.message for record in caplog.records] == [
        "The score worker ended with exit code 70 after 0 s (failure 1 in a row); starting it again in 0.01 s",
        "The score worker ended with exit code 70 after 0 s (failure 2 in a row); starting it again in 0.02 s",
    ]


async def test_a_worker_that_ran_well_for_a_while_is_started_again_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    starts: list[int] = []

    def on_start(worker: Worker, pid: int) -> None:
        starts.append(pid)
        if len(starts) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    a_good_while = BackOff(first_s=0.01, longest_s=9.0, healthy_s=0.0)
    await supervise([worker(FAILS_TWICE, tmp_path / "runs")], back_off=a_good_while, on_start=on_start)

    assert [record.message.rpartition(" in ")[2] for record in caplog.records] == ["0.01 s", "0.01 s"]


async def test_a_worker_that_ended_by_itself_is_left_alone() -> None:
    starts: list[int] = []

    code = await supervise([worker("")], back_off=AT_ONCE, on_start=lambda worker, pid: starts.append(pid))

    assert (code, len(starts)) == (0, 1)


async def test_a_wrong_configuration_ends_everything_with_its_exit_code(tmp_path: Path) -> None:
    pids: list[int] = []
    workers = [worker(RUNS_UNTIL_STOPPED, tmp_path / "said"), worker("import sys; sys.exit(2)")]

    code = await supervise(workers, back_off=AT_ONCE, on_start=lambda worker, pid: pids.append(pid))

    assert code == 2
    assert not any(map(is_running, pids))


SUPERVISES = """
import asyncio, os, sys
from penstock.streams.supervisor import Worker, supervise
worker = Worker("score", [sys.executable, "-c", sys.argv[1], sys.argv[2]], os.environ)
sys.exit(asyncio.run(supervise([worker], on_start=lambda worker, pid: print(pid, flush=True))))
"""


def start_supervisor(said: Path) -> tuple[subprocess.Popen[str], int]:
    """A supervisor in a process of its own, once its worker is ready; and the worker's process id."""
    command = [sys.executable, "-c", SUPERVISES, RUNS_UNTIL_STOPPED, str(said)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    pid = int(process.stdout.readline())
    assert process.stderr.readline() == "ready\n"
    return process, pid


def test_ctrl_c_lets_the_worker_finish(tmp_path: Path) -> None:
    process, pid = start_supervisor(tmp_path / "said")
    with process:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0

    assert (tmp_path / "said").read_text() == "finished"
    assert not is_running(pid)


def test_a_killed_supervisor_leaves_no_orphan(tmp_path: Path) -> None:
    process, pid = start_supervisor(tmp_path / "said")
    with process:
        process.kill()
        process.wait(30)
        deadline = time.monotonic() + 30
        while is_running(pid):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    assert (tmp_path / "said").read_text() == "finished"
