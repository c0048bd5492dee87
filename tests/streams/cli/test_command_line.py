from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from penstock.streams.cli import app

HEAVY = {"torch", "faust", "aiokafka", "pyarrow", "numpy", "pydantic", "redis", "river"}


def run(*arguments: str, **options: Any) -> Any:
    return CliRunner().invoke(app, list(arguments), **options)


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_help_imports_nothing_heavy() -> None:
    script = "import sys, penstock.streams.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert not HEAVY & set(ran.stdout.split())


def test_the_commands_are_those_that_the_readme_may_name() -> None:
    assert {" ".join(path) for path, _ in commands()} == {
        "init", "doctor", "demo", "up", "worker score", "worker watch", "worker judge", "package",
        "models add", "models list", "models show", "models alias", "models use", "models serving",
        "send", "tail", "dead-letters list", "dead-letters show", "dead-letters replay",
        "features load", "labels load", "topics create", "topics list", "drift", "report",
        "alerts list", "alerts show", "alerts ack", "alerts follow",
        "keys create", "keys list", "keys show", "keys sign-control", "models sign",
        "deploy", "promote", "rollback", "canary start", "canary step", "canary stop", "shadow start", "shadow stop",
        "fallback use", "fallback off", "history", "decisions",
        "routes add", "routes remove", "experiment start", "experiment share", "experiment stop", "explain-route",
        "replay", "stage", "shadow status", "worker shadow",
    }  # fmt: skip


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_help_teaches_by_example(path: tuple[str, ...]) -> None:
    result = run(*path, "--help")

    assert result.exit_code == 0
    assert f"penstock {' '.join(path)}" in result.output.replace("\n", " ")
    assert "Example" in result.output


def test_help_shows_what_stands_in_brackets() -> None:
    assert "[default: the folder's name]" in " ".join(run("init", "--help", env={"COLUMNS": "200"}).output.split())
    assert "[entities.NAME]" in run("features", "load", "--help", env={"COLUMNS": "200"}).output


@pytest.mark.parametrize("command", [command for _, command in commands()], ids=lambda command: command.name)
def test_a_paragraph_of_help_breaks_only_where_the_terminal_ends(command: Any) -> None:
    assert all("\n" not in paragraph for paragraph in command.help.split("\n\n"))


def test_without_a_command_there_is_help() -> None:
    assert "penstock demo" in run().output


def test_an_unknown_command_is_wrong_usage() -> None:
    result = run("topic")

    assert result.exit_code == 2
    assert "topics" in result.output


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("tail nope", "Invalid value for 'TOPIC': 'nope' is not one of 'predictions', 'review', 'scored',"),
        ("canary start m@2 --mode nope", "Invalid value for '--mode': 'nope' is not one of 'manual', 'propose',"),
        ("experiment start e --share 2 --arm a", "Invalid value for '--share': it is '2'; expected at most 1."),
        ("experiment start e --share x --arm a", "Invalid value for '--share': it is 'x'; expected a number."),
        ("models alias m a 0", "Invalid value for 'VERSION': it is '0'; expected at least 1."),
    ],
)
def test_wrong_usage_is_said_in_words_of_the_command_line(line: str, sentence: str) -> None:
    result = run(*line.split(), env={"COLUMNS": "300"})

    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("debug", [False, True])
def test_a_function_that_raises_is_one_sentence_and_its_own_frames(
    debug: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("init", "--name", "fraud").exit_code == 0
    (tmp_path / "broken_training.py").write_text(
        "import json\n\ndef train(catalogue):\n    return read('{')\n\ndef read(text):\n    return json.loads(text)\n"
    )

    result = run("package", "broken_training:train", env={"PENSTOCK_DEBUG": "1" if debug else ""})

    if debug:
        assert type(result.exception).__name__ == "FunctionFailed"
        return
    sentence, *frames = result.stderr.strip().splitlines()
    assert result.exit_code == 4
    assert sentence.startswith("Model broken_training:train is refused: it raised JSONDecodeError: Expecting property")
    assert [frame.strip() for frame in frames] == [
        f"{tmp_path / 'broken_training.py'}, line 4, in train: return read('{{')",
        f"{tmp_path / 'broken_training.py'}, line 7, in read: return json.loads(text)",
    ]


def test_a_function_that_takes_no_catalogue_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("init", "--name", "fraud")

    result = run("package", "os:getcwd")

    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (4, 1)
    assert result.stderr.strip().startswith("Model os:getcwd is refused: it raised TypeError: ")


def test_an_error_is_one_sentence_and_an_exit_code() -> None:
    result = run("topics", "list", "-c", "nowhere.toml")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("nowhere.toml: the file is missing; expected a configuration.")
    assert len(result.stderr.splitlines()) == 1


def test_debug_shows_where_an_error_comes_from() -> None:
    result = run("--debug", "topics", "list", "-c", "nowhere.toml")

    assert type(result.exception).__name__ == "ConfigurationError"


def test_the_configuration_comes_from_the_environment_too() -> None:
    result = run("topics", "list", env={"PENSTOCK_CONFIG": "elsewhere.toml"})

    assert "elsewhere.toml" in result.stderr


def test_the_module_is_the_command_line_in_a_folder_with_its_own_models(tmp_path: Path) -> None:
    for name in ("models", "streams", "schemas", "monitoring"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the user\\'s own, imported by mistake')")
    command = [sys.executable, "-m", "penstock", "topics", "list"]

    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)

    assert ran.returncode == 2
    assert ran.stderr.startswith("penstock.toml: the file is missing")


def test_version() -> None:
    assert run("--version").output.startswith("penstock 0.")
