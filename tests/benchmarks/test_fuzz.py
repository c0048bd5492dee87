"""The fuzzer in short: no reader of bytes from the bus crashes, and one that did would not go unseen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import crashing_reader
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_readers_give_a_value_or_their_refusal(tmp_path: Path) -> None:
    file = tmp_path / "fuzz.json"
    few = ["--inputs", "4000", "--seed", "7", "--findings", str(tmp_path), "--json", str(file)]

    done = subprocess.run(
        [sys.executable, BENCHMARKS / "fuzz.py", *few], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    targets = json.loads(file.read_text())["targets"]
    assert sum(target["inputs"] for target in targets.values()) == pytest.approx(4000, rel=0.02)
    for name, target in targets.items():
        assert target["refused"] + target["accepted"] == target["inputs"], name
    assert sum(target["accepted"] for target in targets.values()) > 200


def test_a_reader_that_dies_or_leaks_is_counted_and_the_others_inputs_are_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from fuzz_suite.running import Runner, case_of, load, save

    target, leaking = crashing_reader.targets().values()
    first = [case_of(target, 7, number)[0].value for number in range(8)]

    with Runner(7, crashing_reader.targets) as runner:
        *_, tally = runner.run(target, cases=8, batch=4)
        *_, leaked = runner.run(leaking, cases=40, batch=10)

    found = {finding.number: finding.what for finding in tally.findings}
    assert {number for number, value in enumerate(first) if value in (b"\0", b"\1")} == set(found)
    for number, what in found.items():
        assert what.startswith("the process died: exit status -11" if first[number] == b"\0" else "KeyError")
    assert tally.accepted == 8 - len(found)
    assert leaked.leaks, leaked.growth_mb
    assert not tally.leaks, tally.growth_mb
    file = save(tmp_path, tally.findings[0], case_of(target, 7, tally.findings[0].number))
    assert load(file)[1][0].value == first[tally.findings[0].number]
