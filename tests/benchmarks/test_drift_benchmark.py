"""Every part of the drift benchmark runs, on files of the public ones' shape, and writes figures that can be read."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "drift.py"
PARTS = ("cost", "false_alarms", "delays", "causes", "errors", "joint", "injected", "robustness", "default_set")
NEEDS_DATA = ("errors", "injected")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=280)


def figures(file: Path, *arguments: str) -> dict[str, dict[str, list[dict[str, object]]]]:
    done = run("--quick", "--json", str(file), *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(file.read_text("utf-8"), parse_constant=refuse)
    assert isinstance(report, dict)
    return report


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files with the public files' columns; what is in them is chance."""
    directory, random = tmp_path_factory.mktemp("data"), np.random.default_rng(7)

    def write(name: str, header: str, rows: int, label: Callable[[], int]) -> None:
        width = header.count(",")
        lines = [",".join([*(f"{value:.4f}" for value in random.random(width)), str(label())]) for _ in range(rows)]
        with gzip.open(directory / name, "wt") as file:
            file.write("\n".join([header, *lines, ""]))

    binary = lambda: int(random.integers(0, 2))  # noqa: E731
    write("elec2.csv.gz", "date,day,period,nswprice,nswdemand,vicprice,vicdemand,transfer,class", 6_500, binary)
    write("interchanging_rbf.csv.gz", "x1,x2,class", 5_000, lambda: int(random.integers(0, 15)))
    write("acs_employment_ma.csv.gz", "id,AGEP,SCHL,SEX,year,prediction,predicted_probability,employed", 500, binary)
    return directory


def test_help_tells_how_to_run_it() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "uv run benchmarks/drift.py --data DIR" in done.stdout


@pytest.mark.slow
def test_every_part_writes_its_figures(data: Path, tmp_path: Path) -> None:
    report = figures(tmp_path / "drift.json", "--data", str(data))
    assert not report["left_out"]
    assert tuple(report["parts"]) == PARTS
    for part, found in report["parts"].items():
        assert found, part
        for figure in found:
            assert {"measure", "unit", "value", "goal", "reached", "others", "prototype"} <= figure.keys()


def test_what_needs_a_file_that_is_not_there_is_left_out_by_name(tmp_path: Path) -> None:
    report = figures(tmp_path / "drift.json", "--only", *NEEDS_DATA)
    assert report["parts"] == {part: [] for part in NEEDS_DATA}
    assert all(".csv.gz is not there; --data DIR" in str(reason) for reason in report["left_out"].values())
    assert len(report["left_out"]) == 6
