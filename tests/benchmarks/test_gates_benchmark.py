"""The benchmark of the gates runs, and its figures stand beside what is asked of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gates.py"


def test_every_part_writes_its_figures(tmp_path: Path) -> None:
    file = tmp_path / "gates.json"
    command = [sys.executable, str(SCRIPT), "--runs", "1", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(file.read_text("utf-8"))
    assert report["runs"] == 1
    assert [*report["parts"]] == ["errors", "decided", "limits"]
    errors = report["parts"]["errors"]
    assert len(errors) == 2 * (4 + 6), "of each setting: wrong rollbacks and wrong promotions"
    for figure in errors:
        assert figure["goal"] == "≤ 0.05"
        assert figure["value"] <= figure["upper_limit"] <= 1
        assert {"naive peeking", "no key groups"} <= figure["others"].keys()
    asked = {figure["goal"] for figure in report["parts"]["decided"] if figure["goal"]}
    assert asked == {"≤ 17,000", "≤ 5,000", "≥ 0.99"}
