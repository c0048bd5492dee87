"""`penstock init` and `penstock doctor`: a project to begin with, and what is wrong with one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from penstock.schemas.errors import ConfigurationError
from penstock.streams.cli.shared import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    console,
    load_settings,
    print_json,
    run_async,
)

TEMPLATE = Path(__file__).parent.parent / "project_template"
FILES = {
    "penstock.toml": "penstock.toml",
    "network.py": "network.py.template",
    "events.ndjson": "events.ndjson",
    "customers.csv": "customers.csv",
    "README.md": "README.md",
    ".gitignore": "gitignore.template",
}
"""What `init` writes → the file it comes from. None of it is a folder: a project may have its own models/."""


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Start")(init)
    app.command(rich_help_panel="Start")(doctor)


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; it is made if need be.")] = Path(),
    name: Annotated[
        str | None, typer.Option("--name", help="Of the pipeline: begins its topics. \\[default: the folder's name]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
) -> None:
    """Write a project that runs at once: settings, a small network with its training, events and features.

    Example: [bold]penstock init fraud && cd fraud && penstock package network:train --add[/bold]
    """
    pipeline = pipeline_name(name or directory.absolute().name)
    written = write_project(directory, pipeline, force=force)
    out = console()
    for path in written:
        out.print(f"wrote {path}", markup=False)
    enter = "" if directory.absolute() == Path.cwd() else f"cd {shlex.quote(str(directory))} && "
    out.print(f"\nNext: {enter}penstock package network:train --add\nThen: penstock up --embedded", markup=False)


def write_project(directory: Path, pipeline: str, *, force: bool = False) -> list[Path]:
    """Write the template's files. Raises ConfigurationError, before anything is written, where one is there already."""
    paths = {directory / name: TEMPLATE / source for name, source in FILES.items()}
    if not force:
        for path in paths:
            if path.exists():
                fix = "Choose another folder, or overwrite with --force."
                raise ConfigurationError(
                    "penstock init", str(path), found="there already", expected="no such file", fix=fix
                )
    directory.mkdir(parents=True, exist_ok=True)
    for path, source in paths.items():
        text = source.read_text("utf-8")
        text = text.replace('name = "example"', f'name = "{pipeline}"').replace("# example", f"# {pipeline}")
        path.write_text(text, "utf-8")
    return list(paths)


def pipeline_name(text: str) -> str:
    """A name that topics may begin with.

    >>> pipeline_name("Käthe's payments")
    'k-the-s-payments'
    """
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:200] or "pipeline"


def doctor(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Check everything that a worker needs, one line each with the fix. Exit code 1 when a check fails.

    Checks: configuration, brokers, topics, Redis, keys, models, control record, device, installed extras.

    Example: [bold]penstock doctor --json[/bold]
    """
    from penstock.streams.doctor import examine

    findings = run_async(examine(lambda: load_settings(config)))
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        out = console()
        marks = {"passed": "[green]✓[/green]", "failed": "[red]✗[/red]", "skipped": "[dim]–[/dim]"}
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            out.print(f"{marks[finding.state]} {finding.check:{width}}  ", end="")
            fix = f". Fix: {finding.fix}" if finding.fix else ""
            out.print(finding.detail.rstrip(".") + fix, markup=False)
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(1)
