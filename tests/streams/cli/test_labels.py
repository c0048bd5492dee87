"""`penstock labels load` as a person types it, against a real broker."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from penstock.streams.cli import app

if TYPE_CHECKING:
    from penstock.streams.embedded.testing import Kafka

pytestmark = pytest.mark.kafka


@pytest.fixture
def config(kafka: Kafka, tmp_path: Path) -> Path:
    path, name = tmp_path / "penstock.toml", f"labels-{uuid.uuid4().hex[:8]}"
    path.write_text(
        f'[pipeline]\nname = "{name}"\n[kafka]\nservers = ["{kafka.servers[0]}"]\npartitions = 2\n'
        f'[events]\ntopic = "{name}-departures"\nid = "id"\nkey = "origin"\n[features.distance]\ntype = "float"\n'
    )
    assert penstock("topics", "create", config=path).exit_code == 0
    return path


def penstock(*arguments: str, config: Path) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(config)])


def test_labels_are_loaded_and_bad_rows_told_by_line(config: Path) -> None:
    file = config.parent / "outcomes.csv"
    file.write_text("flight,late,origin\nUA1,1,EWR\nUA2,perhaps,JFK\nUA3,false,JFK\n")
    columns = ("--id", "flight", "--label", "late", "--key", "origin")
    loaded = penstock("labels", "load", str(file), *columns, "--origin", "tower", config=config)
    assert loaded.exit_code == 1
    assert loaded.stdout.startswith("2 of 3 rows are labels in labels-")
    assert "line 3 has late 'perhaps'; expected a finite number, true or false" in loaded.stderr
    shown = penstock("tail", "labels", "--no-follow", "--json", config=config)
    found = [json.loads(line) for line in shown.stdout.splitlines()]
    assert {(label["value"]["id"], label["value"]["label"], label["value"]["origin"]) for label in found} == {
        ("UA1", 1.0, "tower"), ("UA3", 0.0, "tower"),
    }  # fmt: skip


def test_json_for_a_program(config: Path) -> None:
    file = config.parent / "outcomes.ndjson"
    file.write_text('{"id": "UA1", "label": 1, "partition": 1, "offset": 4}\n')
    result = penstock("labels", "load", str(file), "--json", config=config)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["rows"], report["confirmed"], report["bad"]) == (1, 1, 0)


def test_a_column_that_is_not_there_is_named(config: Path) -> None:
    file = config.parent / "outcomes.csv"
    file.write_text("id,label,key\na,1,k\n")
    result = penstock("labels", "load", str(file), "--time", "when", config=config)
    assert result.exit_code == 2
    assert "--time is 'when'; expected a column of" in result.stderr
