"""README.md against the code: what it lists is what there is, and what it shows is accepted.

`test_readme_commands.py` runs its commands on real servers.
"""

from __future__ import annotations

import inspect
import io
import json
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace
from typing import Any, get_args, get_origin

import msgspec
import pytest
import readme
import typer.main
from pydantic import BaseModel
from rich.console import Console
from traffic import once

import penstock
from penstock.models.key_templates import KeyTemplate
from penstock.models.resolution import Reason
from penstock.monitoring.metrics.judge import JudgeMetrics
from penstock.monitoring.metrics.score import PipelineMetrics, ScoreMetrics
from penstock.monitoring.metrics.shadow import ShadowMetrics
from penstock.monitoring.metrics.watch import WatchMetrics
from penstock.schemas.dead_letters import DeadLetter
from penstock.schemas.errors import PenstockError
from penstock.schemas.json_events import JsonCodec
from penstock.schemas.records import Prediction, Stage
from penstock.schemas.sealing import SecretKey
from penstock.schemas.topics import DAY_MS, Topic, Topics
from penstock.streams import delivery, supervisor
from penstock.streams.access import Access, needed
from penstock.streams.admin import AdminServer
from penstock.streams.cli import EXIT_CODES, app
from penstock.streams.demo.report import Latency, Month, Report, Stretches
from penstock.streams.demo.screen import counts_table, month_table
from penstock.streams.settings import Settings
from penstock.streams.settings.sections import ROLES, Role

PREDICTION, EVENT = "Topics and records", "Events and features"


def test_two_commands_do_everything() -> None:
    assert [line for line in readme.lines() if "pip install uv" in line] == [
        "pip install uv && uv run penstock demo",
        "pip install uv && uv run pytest",
    ]
    assert "uv run pytest" in (readme.ROOT / ".ci" / "run").read_text()


# Commands


@pytest.mark.parametrize("arguments", readme.penstock_commands(), ids=" ".join)
def test_every_command_on_the_page_is_accepted(arguments: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    left = list(arguments)
    while left and hasattr(command, "commands"):
        command = command.commands[left.pop(0)]
    if left or not any(parameter.required for parameter in command.params):  # the text also names bare commands
        command.make_context("penstock", left, resilient_parsing=hasattr(command, "commands"))


def test_every_option_in_the_text_exists() -> None:
    known = {option for command in commands() for each in command.params for option in each.opts}
    named = {flag for text in readme.inline() for flag in re.findall(r"--[a-z][a-z-]*", text)}

    assert named
    assert named <= known


def commands(group: Any = None) -> Iterator[Any]:
    group = group or typer.main.get_command(app)
    for command in group.commands.values():
        yield command
        if hasattr(command, "commands"):
            yield from commands(command)


def test_every_file_and_heading_that_it_points_to_is_there() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", readme.TEXT, re.M)
    }
    targets = re.findall(r"\]\(([^)]+)\)", readme.TEXT)
    files = [word for line in readme.lines() for word in line.split() if word.startswith("benchmarks/")]

    assert targets
    assert files
    assert {target[1:] for target in targets if target.startswith("#")} <= anchors
    assert all((readme.ROOT / target).exists() for target in [*targets, *files] if not target.startswith("#"))


# Settings


def settings_keys() -> Iterator[tuple[str, Any, Any]]:
    """Key as the table writes it, its type, and its default (`...` where there is none)."""
    for name, table in Settings.model_fields.items():
        nested = get_origin(table.annotation) is dict
        model: type[BaseModel] = get_args(table.annotation)[1] if nested else table.annotation  # type: ignore[assignment]
        for key, field in model.model_fields.items():
            default = ... if field.is_required() else field.default
            yield f"{name}.NAME.{key}" if nested else f"{name}.{key}", field.annotation, default


def from_table(default: str) -> Any:
    """The value that a cell of the table stands for."""
    if default in ("required", "–"):
        return {"required": ..., "–": None}[default]
    value = tomllib.loads(f"value = {default.strip('`')}")["value"]
    return tuple(value) if isinstance(value, list) else value


def test_the_settings_are_all_there_with_their_defaults() -> None:
    rows = readme.table("key", "type", "default", "meaning")

    assert {readme.names(key)[0]: from_table(default) for key, _, default, _ in rows} == {
        key: default for key, _, default in settings_keys()
    }


def test_settings_that_choose_list_their_choices() -> None:
    listed = {
        readme.names(key)[0]: readme.names(kind) for key, kind, *_ in readme.table("key", "type", "default", "meaning")
    }
    choices = {key: literals(annotation) for key, annotation, _ in settings_keys()}

    assert {key: listed[key] for key, found in choices.items() if found} == {
        k: found for k, found in choices.items() if found
    }


def literals(annotation: Any) -> list[str]:
    if "Literal" in str(get_origin(annotation)):
        return list(get_args(annotation))
    return [choice for part in get_args(annotation) for choice in literals(part)]


def test_variables_in_the_text_are_settings() -> None:
    configured = tomllib.loads(readme.blocks("toml")[0])
    shown = dict(text.split("=", 1) for text in readme.inline() if re.fullmatch(r"PENSTOCK_\w+__\w+=.+", text))

    settings = Settings.of(configured, environ=shown)

    assert settings.kafka.servers == ("b1:9092", "b2:9092")
    assert settings.features["visibility"].max_age_s == 3600


# Events, features, records


@pytest.mark.parametrize("block", readme.blocks("toml"))
def test_configurations_are_valid(block: str) -> None:
    assert Settings.of(tomllib.loads(block)).catalogue.features


def test_the_event_is_one_of_the_configuration_and_asks_redis_for_the_hash_that_is_written() -> None:
    settings = Settings.of(tomllib.loads(readme.blocks("toml")[0]))
    value = readme.blocks("json", readme.section(EVENT))[0].encode()
    record: Any = SimpleNamespace(offset=0, timestamp=0, key=None, value=value, headers=())

    events = JsonCodec(settings.event_schema).decode([record], [0])

    [line] = [line for line in readme.lines() if line.startswith("redis-cli HSET")]
    _, _, key, *pairs = line.split()
    written = dict(zip(pairs[::2], pairs[1::2], strict=True))
    [entity] = settings.catalogue.entities
    assert events.rejected == []
    assert key == f"{entity.prefix}:{entity.key.render(events)[0]}"
    assert {feature.field for feature in entity.features} <= written.keys()
    age_s = (int(events.times[0]) - int(written["_ts"])) / 1000
    assert 0 <= age_s <= (settings.features["visibility"].max_age_s or 0)


def test_the_units_of_key_templates() -> None:
    for unit in ("minute", "hour", "day", "month"):
        assert f"`{unit}`" in readme.section("Looked-up features")
        assert KeyTemplate.parse(f"{{time:{unit}-1}}").parts


def test_the_prediction_is_one() -> None:
    [block] = readme.blocks("json", readme.section(PREDICTION))

    prediction = msgspec.json.decode(block, type=Prediction)

    assert set(json.loads(block)) >= {"id", "score", "variant", "model", "version", "source", "event_time", "defaulted"}
    assert set(json.loads(block)) <= set(Prediction.__struct_fields__)
    assert prediction.variant == "champion"


def test_what_a_consumer_keeps_is_every_prediction_once() -> None:
    [code] = readme.blocks("python", readme.section("Delivery"))
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    sources = [(0, 7), (1, 3), (0, 8), (0, 9), (0, 8), (0, 9), (0, 10), (1, 3), (1, 4)]
    predictions = [{"source": {"partition": partition, "offset": offset}} for partition, offset in sources]
    kept = [each for each in predictions if names["is_new"](each)]
    assert sorted(tuple(each["source"].values()) for each in kept) == sorted(set(sources))
    assert kept == once(predictions), "the tests' witness does the same"


def test_the_topics_are_those_of_the_table() -> None:
    listed = readme.table("topic", "key", "value", "partitions", "kept", "clean-up", "in use")
    used = {topic.role for role in ROLES for each in access(role) for topic in (*each.reads, *each.writes)}

    assert listed == [topic_row(topic, used) for topic in Topics("p", "e").table()]


def access(role: Role) -> list[Access]:
    """What a role needs under each setting that matters."""
    levels = {"full": {}, "partial": {"abstain": [0.4, 0.6]}, "assist": {}, "shadow_people": {}}
    return [
        needed(
            Settings.of({
                "pipeline": {"name": "p"}, "events": {"topic": "e"}, "features": {"x": {"type": "float"}},
                "automation": {"level": level, **more}, "delivery": {"mode": mode}, "rollout": {"mode": acts},
            }),
            role,
        )
        for level, more in levels.items()
        for mode in ("at_least_once", "exactly_once")
        for acts in ("manual", "automatic")
    ]  # fmt: skip


def test_the_access_that_each_role_needs_is_listed() -> None:
    columns = ("role", "reads topics", "writes topics", "reads its group", "writes transactional ids")
    listed = {role: [set(readme.names(cell)) for cell in cells] for role, *cells in readme.table(*columns)}

    assert listed == {
        role: [
            {topic.role for each in access(role) for topic in each.reads},
            {topic.role for each in access(role) for topic in each.writes},
            {f"<pipeline>.{role}"},
            {name.replace("p.", "<pipeline>.", 1) for each in access(role) for name in each.transactions},
        ]
        for role in ROLES
    }


def topic_row(topic: Topic, used: set[str]) -> list[str]:
    kept = (
        "for ever" if topic.cleanup == "compact" or topic.retention_ms < 0 else f"{topic.retention_ms // DAY_MS} days"
    )
    partitions = str(topic.partitions or "as events")
    in_use = "yes" if topic.role in used else "planned"
    return [f"`{topic.role}`", topic.key, topic.value, partitions, kept, topic.cleanup, in_use]


def test_the_headers_of_a_dead_letter() -> None:
    letter = DeadLetter(b"k", b"v", (), "t", 0, 0, 0, "score", "not_finite", "m", "delay@3").without_value()
    sealed = replace(letter, value=b"v", left_out=None).sealed(SecretKey(bytes(32)))
    listed = {name for cell, _ in readme.table("header", "content") for name in readme.names(cell)}

    assert listed == {name for each in (letter, sealed) for name, _ in each.to_record()[2]}


def test_the_errors_of_dead_letters() -> None:
    listed = {(stage, name) for stage, cell in readme.table("stage", "errors") for name in readme.names(cell)}
    schemas, streams = readme.ROOT / "schemas", readme.ROOT / "streams"
    source = "".join(
        path.read_text()
        for path in (
            *(schemas / "json_errors.py", schemas / "json_events.py"),
            *(streams / "scoring" / "outputs.py", streams / "scoring" / "scoring.py"),
        )
    )
    in_code = set(re.findall(r'"(decode|validate|score|encode)",\s*"(\w+)"', source))
    named = {("validate", name) for name in re.findall(r'return "(\w+)", f"', source)}

    assert {stage for stage, _ in listed} == set(get_args(Stage))
    assert listed == in_code | named | {("features", f"{reason}_feature") for reason in get_args(Reason)}


# Operating


def test_the_exit_codes_are_those_of_the_code() -> None:
    for module in pkgutil.walk_packages(penstock.__path__, "penstock."):
        if ".embedded.watchdog" not in module.name and not module.name.endswith("__main__"):
            import_module(module.name)
    codes = {error.exit_code for error in subclasses(PenstockError)} | {0, 130, delivery.FAILED}

    assert {int(code) for code, _ in readme.table("exit code", "meaning")} == codes
    assert {int(code) for code in re.findall(r"\b\d+\b", EXIT_CODES)} == codes
    assert {0, *supervisor.HOPELESS} == {0, 2, 4}  # as the sentence under the table says


def subclasses(base: type[PenstockError]) -> Iterator[type[PenstockError]]:
    yield base
    for each in base.__subclasses__():
        yield from subclasses(each)


@pytest.mark.parametrize(
    ("role", "metrics"),
    [("score", ScoreMetrics), ("watch", WatchMetrics), ("judge", JudgeMetrics), ("shadow", ShadowMetrics)],
)
def test_the_metrics_are_those_that_a_worker_counts(role: str, metrics: type[PipelineMetrics]) -> None:
    listed = {
        readme.names(name)[0]: set(readme.names(labels))
        for name, labels, roles, _ in readme.table("metric", "labels", "of", "what it counts")
        if role in roles.split(", ")
    }
    registry = metrics("p").registry
    collectors: set[Any] = set(registry._names_to_collectors.values())
    labels = {each.describe()[0].name: set(each._labelnames) - {"pipeline"} for each in collectors}
    counters = {family.name for family in registry.collect() if family.type == "counter"}

    assert listed == {f"{name}_total" if name in counters else name: found for name, found in labels.items()}


def test_the_pages_of_the_admin_port() -> None:
    served = set(re.findall(r'web\.get\("(/\w+)"', inspect.getsource(AdminServer)))

    assert {
        name.removeprefix("GET ") for row in readme.table("at `admin.port`", "answer") for name in readme.names(row[0])
    } == served


def test_the_demo_ends_with_these_tables() -> None:
    report = Report(
        1, 1, 0, 0, 0, 1.0, Latency(1.0, 2.0), {3: 0.7}, 1.0, {3: 0.6}, 0.7, 0.6, {3: Month(0.7, 0.5, 1.0, 0)}
    )  # fmt: skip
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(counts_table(report, Stretches(0, "evenly"), 0), month_table(report))
    labels = re.findall(r"^[│┃] ([\w ]+?)  ", console.export_text(), re.M)
    [shown] = readme.blocks("text", readme.section("See it"))

    assert {"events in", "lost", "Mar", "all"} <= set(labels)
    assert [label for label in labels if f"│ {label} " not in shown] == []
