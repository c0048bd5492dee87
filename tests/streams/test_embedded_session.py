from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.streams import embedded_session
from penstock.streams.embedded.errors import DirectoryInUse

ANNOUNCES = """
import pathlib, sys
from penstock.streams import embedded_session
with embedded_session.announced(pathlib.Path(sys.argv[1]), ["127.0.0.1:1"], "redis://127.0.0.1:2/0"):
    print("announced", flush=True)
    sys.stdin.read()
"""


def start(directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ANNOUNCES, str(directory)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "announced\n"
    return process


def test_other_processes_find_the_servers_while_they_run(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        found = embedded_session.find(tmp_path)
        with pytest.raises(DirectoryInUse), embedded_session.announced(tmp_path, ["x:1"], "redis://x"):
            pass
        process.communicate("")

    assert found == embedded_session.Session(("127.0.0.1:1",), "redis://127.0.0.1:2/0", 1)
    assert embedded_session.find(tmp_path) is None


def test_what_a_killed_run_left_behind_counts_for_nothing(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        process.kill()
        process.wait(30)

        assert embedded_session.find(tmp_path) is None
        with embedded_session.announced(tmp_path, ["y:1"], "redis://y"):
            assert embedded_session.find(tmp_path) is not None


def test_where_nothing_ever_ran_there_is_nothing(tmp_path: Path) -> None:
    assert embedded_session.find(tmp_path) is None
