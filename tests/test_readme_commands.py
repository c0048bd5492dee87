"""What README.md tells a person to type, typed: in an empty folder, on servers that it starts itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import NamedTuple

import pytest
import readme

from penstock.streams import embedded_session

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow]

DEADLINE_S = 120
NOTEBOOK = """
import ast, asyncio, sys
code = compile(sys.stdin.read(), "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
cells = {}
asyncio.run(eval(code, cells))
print(cells["table"].num_rows, *cells["table"].column_names)
"""


class Person(NamedTuple):
    """Somebody at a terminal in `folder`."""

    folder: Path
    environment: dict[str, str]

    def types(self, line: str) -> str:
        """What a command says; it must succeed."""
        done = subprocess.run(
            ["sh", "-c", line], cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=DEADLINE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def types_until(self, line: str, expected: str) -> str:
        """The same, again and again until it says what is expected."""
        deadline = time.monotonic() + DEADLINE_S
        while expected not in (said := self.types(line)):
            assert time.monotonic() < deadline, said
        return said

    def watches(self, line: str, lines: int) -> list[str]:
        """The first lines of a command that goes on until Ctrl-C."""
        command = self.start(line, stdout=subprocess.PIPE)
        guard = Timer(DEADLINE_S, command.kill)
        guard.start()
        try:
            assert command.stdout is not None
            seen = [command.stdout.readline() for _ in range(lines)]
            command.send_signal(signal.SIGINT)
            command.communicate()
        finally:
            guard.cancel()
            command.kill()
        assert command.returncode == 0, line
        return seen

    def runs(self, *command: str, code: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], input=code, cwd=self.folder, env=self.environment, capture_output=True,
            text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, line: str, *, stdout: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", "-c", f"exec {line}"], cwd=self.folder, env=self.environment, stdout=stdout,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def first_terminal(tmp_path_factory: pytest.TempPathFactory) -> Person:
    """`penstock` is on the path, and no setting comes from outside but a free port for the worker."""
    tools = tmp_path_factory.mktemp("bin")
    (tools / "penstock").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m penstock "$@"\n')
    (tools / "penstock").chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    environment |= {"PATH": f"{tools}:{environment['PATH']}", "PENSTOCK_ADMIN__PORT": "0", "COLUMNS": "200"}
    return Person(tmp_path_factory.mktemp("work"), environment)


@pytest.fixture(scope="module")
def second_terminal(first_terminal: Person) -> Iterator[Person]:
    """In the project's folder, while the first terminal runs what the first block of the quick start says."""
    init, package, up = readme.lines(readme.section("Quick start"))[:3]
    folder = Path(first_terminal.types(f"{init} && pwd").splitlines()[-1])
    project = first_terminal._replace(folder=folder)
    assert "fraud@1" in project.types(package)
    log = folder / "up.log"
    with log.open("w") as output:
        running = project.start(up, stdout=output.fileno())
    try:
        deadline = time.monotonic() + DEADLINE_S
        while "No model serves fraud yet" not in log.read_text():
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield project
    finally:
        running.send_signal(signal.SIGINT)
        code = running.wait(60)
    assert code == 0, log.read_text()


def test_the_quick_start(second_terminal: Person) -> None:
    block = readme.blocks("sh", readme.section("Quick start"))[1]
    use, load, send, tail, tail_scored, letters, doctor = readme.lines(f"```sh\n{block}```\n")
    customers = len((second_terminal.folder / "customers.csv").read_text().splitlines()) - 1

    assert second_terminal.types(use).startswith("fraud@1 answers fraud, revision 1")
    assert second_terminal.types(load).startswith(f"{customers} of {customers} rows are in Redis")
    assert second_terminal.types(send).startswith("60 events")
    assert all("fraud@1  champion" in line for line in second_terminal.watches(tail, 10))
    assert "1 dead letter" in second_terminal.types_until(letters, "amount has the wrong type")
    assert second_terminal.types_until(tail_scored, "chargebacks").count("fraud@1") >= 3
    assert "✗" not in second_terminal.types(doctor)


def test_models_as_the_page_handles_them(second_terminal: Person) -> None:
    section = readme.section("Models")
    [code] = readme.blocks("python", section)
    listed, show, alias, deploy, serving = readme.lines(section)

    second_terminal.runs("-", code=code)

    assert "fraud@2" in second_terminal.types(listed)
    assert "network:build" in second_terminal.types(show)
    assert "fraud@candidate is fraud@2" in second_terminal.types(alias)
    assert second_terminal.types(deploy).startswith("fraud@2 answers fraud, revision 2")
    assert "more data" in second_terminal.types(serving)


def test_the_scored_log_in_a_notebook(second_terminal: Person) -> None:
    section = readme.section("Topics and records")
    [code] = readme.blocks("python", section)
    session = embedded_session.find(second_terminal.folder)
    assert session is not None

    code = code.replace("localhost:9092", session.servers[0])
    rows, *columns = second_terminal.runs("-c", NOTEBOOK, code=code).split()

    assert int(rows) > 0
    told = section.partition("One column per feature")[2]
    own = {name for name in columns if name not in ("amount", "country", "channel", "account_age_days", "chargebacks")}
    assert own - {"age_s:account_age_days", "age_s:chargebacks"} == set(readme.inline(told)) - {"age_s:NAME"}
