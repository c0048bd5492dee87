"""Who steps back takes nobody along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os
from pathlib import Path
from penstock.streams.shadowing.niceness import step_back
before = os.nice(0)
step_back()
print(os.nice(0) > before, Path("/proc/self/autogroup").read_text().split()[-1])
"""
LEADS = [sys.executable, "-c", SCRIPT]
GROUP = Path("/proc/self/autogroup")
BESIDE_OTHERS = ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, SCRIPT]


@pytest.mark.skipif(not (GROUP.exists() and GROUP.read_text()), reason="processes are not grouped by session")
@pytest.mark.parametrize(("command", "group"), [(LEADS, 10), (BESIDE_OTHERS, 0)], ids=["leads", "beside others"])
def test_only_a_session_of_its_own_steps_back_with_it(command: list[str], group: int) -> None:
    said = subprocess.run(command, start_new_session=True, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.split() == ["True", str(group)]
