"""`penstock routes`, `experiment` and `explain-route` as a person types them, against a real broker."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pipelines import Project, make_project
from typer.testing import CliRunner, Result

from penstock.schemas.records import ModelRef
from penstock.streams.cli import app
from penstock.streams.control import read_control, use_champion

if TYPE_CHECKING:
    from penstock.streams.embedded.testing import Kafka

pytestmark = pytest.mark.kafka

MORE_FEATURES = """
[features.origin]
type = "category"
[features.hour]
type = "int"
[features.night]
type = "bool"
[features.ssn]
type = "category"
sensitive = true
"""


@pytest.fixture(scope="module")
def project(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Three versions of a model, of which the first answers."""
    name = f"routes-{uuid.uuid4().hex[:8]}"
    directory = tmp_path_factory.mktemp("projects") / name
    project = asyncio.run(make_project(directory, kafka.servers, name, mode="at_least_once"))
    for seed in (1, 2):
        project.package(seed=seed, factor=seed)
    with project.settings.file.open("a") as file:
        file.write(MORE_FEATURES)
    return project


@pytest.fixture(autouse=True)
def nothing_but_a_champion(project: Project) -> None:
    """Whatever rules and experiments the test before left are gone."""
    control = asyncio.run(read_control(project.settings))
    assert control is not None
    for rule in control.rules:
        penstock(project, "routes", "remove", rule.name)
    for experiment in control.experiments:
        penstock(project, "experiment", "stop", experiment.name)


def penstock(project: Project, *arguments: str) -> Result:
    config = ["--config", str(project.settings.file)]
    return CliRunner().invoke(app, [*arguments, *config], env={"COLUMNS": "200"})


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def routes(project: Project) -> Any:
    return json.loads(penstock(project, "routes", "--json").stdout)


def test_where_nothing_is_routed_all_go_to_the_champion(project: Project) -> None:
    first, heading, champion, *_ = lines(penstock(project, "routes"))

    assert first.startswith(project.settings.pipeline.name)
    assert heading == "name of the keys answered by"
    assert champion == "champion all sum@1"


def test_rules_and_experiments_as_they_are_asked(project: Project) -> None:
    start = ["experiment", "start", "price", "--share", "0.2", "--arm", "champion", "--arm", "blue=sum@2:3"]
    assert lines(penstock(project, *start, "--reason", "cheaper?"))[0].startswith(
        "price has 20 % of the keys, revision"
    )
    penstock(project, "experiment", "start", "speed", "--share", "0.5", "--arm", "green=sum@latest", "--no-check")
    staff = ["routes", "add", "staff", "--to", "green", "--key", "c-1", "--key", "c-2"]
    assert lines(penstock(project, *staff))[0].startswith("staff: c-1, c-2 to green, sum@3, revision")
    penstock(project, "routes", "add", "jfk", "--to", "blue", "--feature", "origin", "--value", "JFK", "--value", "LGA")

    assert lines(penstock(project, "routes"))[2:6] == [
        "rule staff c-1, c-2 green: sum@3",
        "rule jfk origin JFK or LGA blue: sum@2",
        "experiment price 20 % 75 % blue: sum@2, 25 % champion: sum@1",
        "experiment speed 50 % of the rest green: sum@3",
    ]
    assert routes(project)["variants"] == {"blue": "sum@2", "green": "sum@3"}


def test_a_share_grows_and_an_experiment_ends_with_its_variant(project: Project) -> None:
    penstock(project, "experiment", "start", "price", "--share", "0.2", "--arm", "blue=sum@2", "--no-check")
    revision = routes(project)["revision"]

    late = penstock(project, "experiment", "share", "price", "0.5", "--expect-revision", str(revision - 1))
    assert late.exit_code == 5
    assert lines(penstock(project, "experiment", "share", "price", "0.5"))[0].startswith("price has 50 % of the keys")
    assert [each["share"] for each in routes(project)["experiments"]] == [0.5]

    assert lines(penstock(project, "experiment", "stop", "price"))[0].startswith("price is over")
    assert routes(project)["variants"] == {}
    assert routes(project)["revision"] == revision + 2


def test_why_an_event_goes_where_it_goes(project: Project) -> None:
    penstock(project, "experiment", "start", "price", "--share", "1", "--arm", "blue=sum@2", "--no-check")
    penstock(project, "routes", "add", "dawn", "--to", "champion", "--feature", "hour", "--value", "5")

    by_share, by_rule = (
        lines(penstock(project, "explain-route", "c-1", *more)) for more in ([], ["--feature", "hour=5"])
    )

    assert by_share[0] == "Rule dawn does not fit: it is for hour 5, and hour is unknown here."
    assert by_share[1].startswith("Experiment price takes it: its point 0.")
    assert by_share[-1] == "So it goes to blue, sum@2."
    assert by_rule == ["Rule dawn takes it: it is for hour 5.", "So it goes to champion, sum@1."]
    told = json.loads(penstock(project, "explain-route", "c-1", "--json").stdout)
    assert (told["variant"], told["model"], told["rule"], told["experiment"]) == ("blue", "sum@2", None, "price")
    assert 0 <= told["point"] < told["share"] == 1


@pytest.mark.parametrize(
    ("typed", "exit_code", "said"),
    [
        ("routes add r --to blue --key a", 1, "Say which model it is: blue=MODEL"),
        ("routes add r --to blue=sum@9 --key a", 6, "The registry has no sum@9"),
        ("routes add r --to champion", 2, "give at least one"),
        ("routes add r --to champion --feature origin", 2, "they go together"),
        ("routes add r --to champion --feature gate --value A1", 2, "'gate'; expected a feature of the catalogue"),
        (
            "routes add r --to champion --feature x0 --value 1",
            2,
            "'x0', a float; expected a category, an int or a bool",
        ),
        ("routes add r --to champion --feature hour --value six", 2, "'six'; expected a whole number"),
        ("routes add r --to champion --feature night --value 1", 2, "'1'; expected true or false"),
        ("routes add r --to champion --feature ssn --value 7", 2, "sensitive"),
        ("routes remove nobody", 1, "there is none of that name"),
        ("experiment start x --share 0.1 --arm fallback=sum@2 --no-check", 1, "fallback is no variant that it can set"),
        ("experiment start x --share 0.1 --arm blue=sum@2:0 --no-check", 2, "weight of arm blue of experiment x is 0"),
        ("experiment start x --share 0.1 --arm blue=sum@2:much --no-check", 2, "is 'blue=sum@2:much'"),
        ("experiment start a/b --share 0.1 --arm blue=sum@2 --no-check", 2, "name of an experiment is 'a/b'"),
        ("experiment start x --share 0.1 --arm champion --arm champion:2", 2, "a variant is named twice"),
        ("experiment start x --share 1.1 --arm champion", 2, "it is '1.1'; expected at most 1"),
        ("experiment share nobody 0.1", 1, "there is none of that name"),
        ("explain-route c-1 --feature hour", 2, "'hour' is not F=V"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    project: Project, typed: str, exit_code: int, said: str
) -> None:
    before = routes(project)

    result = penstock(project, *typed.split())

    assert result.exit_code == exit_code, result.output
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert routes(project) == before


def test_options_before_the_command_are_not_passed_over(project: Project) -> None:
    result = CliRunner().invoke(app, ["routes", "--config", "elsewhere.toml", "remove", "staff"])

    assert result.exit_code == 2
    assert "give --config and --json after remove" in " ".join(result.stderr.replace("│", " ").split())


def test_where_nothing_serves_it_says_how_to_begin(kafka: Kafka, tmp_path: Path) -> None:
    name = f"empty-{uuid.uuid4().hex[:8]}"
    project = asyncio.run(make_project(tmp_path / name, kafka.servers, name, mode="at_least_once", serves=False))

    for command in (["routes"], ["explain-route", "k"], ["routes", "remove", "r"]):
        assert "Begin with a first one: penstock models use MODEL" in penstock(project, *command).stderr

    asyncio.run(use_champion(project.settings, ModelRef("sum", 1), reason=""))
    assert penstock(project, "routes").exit_code == 0
