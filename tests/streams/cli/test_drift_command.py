from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv
from typer.testing import CliRunner

from penstock.streams.cli import app


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["drift", *arguments], env={"COLUMNS": "160"})


@pytest.fixture
def history(tmp_path: Path) -> Path:
    random = np.random.default_rng(7)
    price = random.normal(40, 5, 8_000)
    price[7_000:] *= 1_000
    file = tmp_path / "history.csv"
    csv.write_csv(pa.table({"id": np.arange(8_000), "price": price, "count": random.poisson(3, 8_000)}), file)
    return file


def test_an_alert_names_row_column_and_figures(history: Path) -> None:
    result = run(str(history), "--reference", "5,000")

    assert result.exit_code == 0
    assert "3,000 rows against its first 5,000, in segments of 50." in result.stdout
    assert "Left out: id (it never falls: a clock or a counter)." in result.stdout
    row = next(line for line in result.stdout.splitlines() if line.startswith("7,0"))
    assert "price: " in row
    assert "→" in row
    assert "1 alert in 3,000 rows; budget: 1 false alarm in 1,000,000 rows." in result.stdout


def test_json_says_the_same_to_a_program(history: Path) -> None:
    document = json.loads(run(str(history), "--reference", "5000", "--json").stdout)

    [alert] = document["alerts"]
    assert alert["causes"][0]["signal"] == "feature:price"
    assert 7_000 < alert["row"] <= 7_050
    assert document["left_out"] == {"id": "it never falls: a clock or a counter"}


def test_a_pipeline_can_fail_on_an_alert(history: Path) -> None:
    assert run(str(history), "--reference", "5000", "--fail-on-alert").exit_code == 1
    assert run(str(history), "--reference", "5000", "--fail-on-alert", "--ignore", "price").exit_code == 0


def test_a_calm_table_says_so(history: Path) -> None:
    assert "No alert in 3,000 rows" in run(str(history), "--reference", "5000", "--ignore", "price").stdout


def test_another_file_can_be_the_reference(history: Path) -> None:
    assert "No alert in 8,000 rows" in run(str(history), "--reference", str(history)).stdout


def test_a_mistake_is_one_sentence(history: Path) -> None:
    result = run(str(history), "--reference", "9000")

    assert result.exit_code == 2
    assert result.stderr.strip().endswith("expected fewer than its 8000. Some rows must follow the reference.")


def test_a_reference_that_is_not_there_is_named(history: Path) -> None:
    result = run(str(history), "--reference", "last-year.csv")

    assert result.exit_code == 2
    assert "last-year.csv: the file is not there" in result.stderr


def test_neither_torch_nor_kafka_nor_redis_is_imported() -> None:
    script = "import sys, penstock.streams.offline.drift; print(*{name.partition('.')[0] for name in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert not {"torch", "faust", "aiokafka", "redis"} & set(ran.stdout.split())
