from __future__ import annotations

import json
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from penstock.schemas.json_events import JsonCodec
from penstock.streams.cli import app
from penstock.streams.settings import Settings


def init(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["init", *arguments])


def test_the_project_is_named_after_its_folder(tmp_path: Path) -> None:
    assert init(str(tmp_path / "Card Fraud")).exit_code == 0

    settings = Settings.load(tmp_path / "Card Fraud" / "penstock.toml", {})
    assert settings.pipeline.name == "card-fraud"
    assert init(str(tmp_path / "other"), "--name", "risk").exit_code == 0
    assert Settings.load(tmp_path / "other" / "penstock.toml", {}).pipeline.name == "risk"


def test_what_to_type_next_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert "Next: cd 'My Project!' && penstock package" in init("My Project!").stdout
    assert "Next: cd fraud && penstock package" in init("fraud").stdout


def test_it_writes_files_only_so_that_a_project_may_have_its_own_models(tmp_path: Path) -> None:
    init(str(tmp_path))

    assert all(path.is_file() for path in tmp_path.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {
        "penstock.toml", "network.py", "events.ndjson", "customers.csv", "README.md", ".gitignore",
    }  # fmt: skip


def test_nothing_is_overwritten_unless_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "network.py").write_text("mine")

    refused = init(str(tmp_path))

    assert refused.exit_code == 2
    assert "network.py is there already" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["network.py"]
    assert init(str(tmp_path), "--force").exit_code == 0
    assert (tmp_path / "network.py").read_text() != "mine"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    init(str(tmp_path), "--name", "fraud")
    return tmp_path


def test_its_events_fit_its_settings_but_for_the_last(project: Path) -> None:
    settings = Settings.load(project / "penstock.toml", {})
    lines = (project / "events.ndjson").read_bytes().splitlines()
    records: list[Any] = [
        SimpleNamespace(offset=number, timestamp=0, key=None, value=line, headers=())
        for number, line in enumerate(lines)
    ]

    decoded = JsonCodec(settings.event_schema).decode(records, [0] * len(records))

    assert decoded.rows == len(lines) - 1
    assert [rejection.position for rejection in decoded.rejected] == [len(lines) - 1]
    assert np.all(np.diff(decoded.times) > 0)


def test_its_features_are_those_of_its_entity(project: Path) -> None:
    header = (project / "customers.csv").read_text().splitlines()[0].split(",")
    tree = tomllib.loads((project / "penstock.toml").read_text())

    assert set(header[1:]) == {name for name, feature in tree["features"].items() if "entity" in feature}
    customers = {json.loads(line)["customer"]["id"] for line in (project / "events.ndjson").read_text().splitlines()}
    assert customers & {line.partition(",")[0] for line in (project / "customers.csv").read_text().splitlines()}
