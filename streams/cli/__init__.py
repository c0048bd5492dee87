"""The command line. Modules here import what is heavy inside the commands that need it, so that `--help` is instant."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from penstock.schemas.errors import PenstockError
from penstock.streams.cli import (
    alerts,
    canary,
    console,
    demo,
    drift,
    features,
    keys,
    labels,
    models,
    project,
    replay,
    report,
    rollout,
    routes,
    run,
    shadow,
    shadow_status,
    topics,
    trail,
)
from penstock.streams.cli.usage import say_what_is_expected

HELP = """
Streaming inference on Apache Kafka: score every event of a topic with your torch model.

[bold]To look around:[/bold] penstock demo

[bold]Your own stream:[/bold]
  penstock init fraud && cd fraud
  penstock package network:train --add   train a small model, register it
  penstock up --embedded                 Kafka, Redis, all workers, until Ctrl-C
and in a second terminal, in the same folder:
  penstock models use fraud@1            this model answers
  penstock send events.ndjson            events in …
  penstock tail predictions              … predictions out

When something is wrong: penstock doctor
"""

EXIT_CODES = """
[dim]Exit codes: 0 done, 1 failed, 2 wrong usage or configuration,
3 a server cannot be reached, 4 model refused, 5 somebody else holds or changed
it, 6 no such model, 7 access refused, 70 a worker stopped to go on from its
last commit, 130 interrupted.[/dim]
"""


class CommandLine(TyperGroup):
    """Turns the errors that are meant for people into one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            say_what_is_expected(error)
            raise
        except PenstockError as error:
            if ctx.params.get("debug"):
                raise
            typer.echo(str(error), err=True)
            raise typer.Exit(error.exit_code) from error


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"penstock {version('penstock')}")
        raise typer.Exit


app = typer.Typer(
    name="penstock",
    cls=CommandLine,
    help=HELP,
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def penstock(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="PENSTOCK_DEBUG", help="Show where an error comes from.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for group in (
    project, demo, run, models, replay, rollout, shadow, shadow_status, canary, routes, trail, console, features,
    labels, topics, drift, report, alerts, keys,
):  # fmt: skip
    group.register(app)


def _join_lines(commands: typer.Typer) -> None:
    """Make each paragraph of a docstring one line: it breaks where the terminal ends, not where the code does."""
    for command in commands.registered_commands:
        if command.callback is not None and command.callback.__doc__:
            paragraphs = inspect.cleandoc(command.callback.__doc__).split("\n\n")
            command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for inner in commands.registered_groups:
        if inner.typer_instance is not None:
            _join_lines(inner.typer_instance)


_join_lines(app)


def main() -> None:
    """The console script. Code of the user's project, like `network:build`, is found in the current folder."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    app(prog_name="penstock")
