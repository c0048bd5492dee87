"""The commands on a project that `init` wrote, with a real broker and a real Redis."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from typer.testing import CliRunner

from penstock.streams.cli import app
from penstock.streams.embedded.testing import Kafka


class Project:
    """A project's folder, and its commands as a terminal in it would run them."""

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        self.directory, self.environ = directory, environ

    def run(self, *arguments: str) -> Any:
        config = ["--config", str(self.directory / "penstock.toml")]
        return CliRunner().invoke(app, [*arguments, *config], env=self.environ)

    def json(self, *arguments: str) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose model is trained and in the registry: by the command line, in a folder with its own models/."""
    directory = tmp_path_factory.mktemp("projects") / "fraud"
    assert CliRunner().invoke(app, ["init", str(directory)]).exit_code == 0
    (directory / "models").mkdir()
    (directory / "models" / "__init__.py").write_text("")
    command = [sys.executable, "-m", "penstock", "package", "network:train", "--add", "--json"]
    ran = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["model"] == "fraud@1"
    return directory


@pytest.fixture
def project(packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of it, not connected to anything."""
    shutil.copytree(packaged, tmp_path / "fraud")
    monkeypatch.syspath_prepend(tmp_path / "fraud")
    monkeypatch.delitem(sys.modules, "network", raising=False)
    nobody = {"PENSTOCK_KAFKA__SERVERS": "127.0.0.1:1", "PENSTOCK_REDIS__URL": "redis://:hunter2@127.0.0.1:1/0"}
    return Project(tmp_path / "fraud", nobody)


@pytest.fixture
def connected(project: Project, kafka: Kafka, redis_url: str) -> Project:
    """The same with servers, and topics of its own."""
    name = f"p{uuid.uuid4().hex[:8]}"
    servers = {"PENSTOCK_KAFKA__SERVERS": ",".join(kafka.servers), "PENSTOCK_REDIS__URL": redis_url}
    names = {"PENSTOCK_PIPELINE__NAME": name, "PENSTOCK_EVENTS__TOPIC": f"{name}-events"}
    return Project(project.directory, {**servers, **names})


def findings(project: Project) -> dict[str, list[dict[str, str]]]:
    result = project.run("doctor", "--json")
    found: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(result.stdout):
        found.setdefault(finding["check"], []).append(finding)
    failed = any(each["state"] == "failed" for group in found.values() for each in group)
    assert result.exit_code == (1 if failed else 0)
    return found


def test_a_version_can_be_named_shown_and_listed(project: Project) -> None:
    assert project.run("models", "alias", "fraud", "stable", "1").exit_code == 0

    assert project.json("models", "list")[0]["aliases"] == ["stable"]
    assert project.json("models", "show", "fraud@stable")["factory"] == "network:build"
    assert "fraud@1" in project.run("models", "show", "fraud").output
    unknown = project.run("models", "show", "fraud@7")
    assert (unknown.exit_code, "it has fraud@1" in unknown.stderr) == (6, True)


def test_the_same_package_keeps_its_version(project: Project) -> None:
    package = next((project.directory / "packages").iterdir())

    assert project.run("models", "add", str(package)).output == "fraud@1\n"
    assert project.json("models", "add", str(package), "--alias", "best") == {"model": "fraud@1", "alias": "best"}
    assert project.json("models", "alias", "fraud", "stable", "1") == {"model": "fraud@1", "alias": "stable"}
    assert project.json("models", "list")[0]["aliases"] == ["best", "stable"]


def test_a_model_is_used_only_with_servers(project: Project) -> None:
    result = project.run("models", "use", "fraud@1", "--no-check")

    assert result.exit_code == 3
    assert "Kafka at 127.0.0.1:1 cannot be reached: connection refused" in result.stderr


def test_doctor_with_everything_down_names_each_fix_and_no_secret(project: Project) -> None:
    found = findings(project)

    assert {check for check, group in found.items() if group[0]["state"] == "failed"} == {"brokers", "redis"}
    assert {check for check, group in found.items() if group[0]["state"] == "skipped"} == {
        "topics",
        "labels",
        "champion",
    }
    assert "kafka.servers" in found["brokers"][0]["fix"]
    assert "redis.url" in found["redis"][0]["fix"]
    assert "hunter2" not in json.dumps(found)


def test_doctor_with_a_wrong_configuration_skips_what_needs_it(project: Project) -> None:
    project.environ |= {"PENSTOCK_WINDOW__MAX_ROWS": "many", "PENSTOCK_KAFKA__PARTITIONS": "0"}

    found = findings(project)

    assert len(found["configuration"]) == 2
    assert found["device"][0]["state"] == "skipped"


def test_doctor_tells_a_model_that_the_catalogue_cannot_feed(project: Project) -> None:
    file = project.directory / "penstock.toml"
    file.write_text(file.read_text().replace("[features.amount]", "[features.price]"))

    told = findings(project)["models"][0]

    assert told["state"] == "failed"
    assert "needs the feature 'amount'" in told["detail"]


@pytest.mark.kafka
@pytest.mark.redis
def test_from_an_empty_cluster_to_a_model_that_answers(connected: Project) -> None:
    before = findings(connected)
    assert before["topics"][0]["fix"] == "`penstock topics create`"
    assert connected.run("topics", "list").exit_code == 1

    created = connected.json("topics", "create", "--partitions", "2")
    assert len(created["created"]) == 13
    assert connected.json("topics", "create")["created"] == []
    assert connected.json("topics", "list")["partitions"] == 2

    assert connected.json("models", "serving") is None
    assert connected.json("models", "use", "fraud@1", "--reason", "the first")["revision"] == 1
    serving = connected.json("models", "serving")
    assert (serving["champion"], serving["reason"]) == ("fraud@1", "the first")
    assert "fraud@1, revision 1" in connected.run("models", "serving").output

    after = findings(connected)
    assert {finding["state"] for group in after.values() for finding in group} <= {"passed", "skipped"}
    assert after["champion"][0]["detail"].startswith("fraud@1 since revision 1")
    assert "✓ champion" in connected.run("doctor").output


@pytest.mark.redis
def test_features_are_loaded_under_their_entity(connected: Project, redis: redis_client.Redis) -> None:
    file = str(connected.directory / "customers.csv")

    report = connected.json("features", "load", file, "--entity", "customer", "--key", "id")

    assert report["written"] == report["rows"] == 21
    assert redis.hget("customer:c001", "account_age_days") is not None
    unknown = connected.run("features", "load", file, "--entity", "custmer", "--key", "id")
    assert (unknown.exit_code, "expected customer" in unknown.stderr) == (2, True)
