"""The benchmark of routing runs, and finds experiments independent also of a fifth of its keys."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "routing.py"


def test_it_measures_costs_and_independence(tmp_path: Path) -> None:
    file = tmp_path / "routing.json"
    few = ["--keys", "200000", "--repetitions", "1", "--json", str(file)]

    done = subprocess.run([sys.executable, BENCHMARK, *few], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    assert all(cost > 0 for cost in figures["costs_ns_per_key"].values())
    for tests in figures["independence"].values():
        assert tests["smallest_p"] > 0.001 / tests["tests"]
        assert tests["uniform_p"] > 0.001
