"""`penstock history`, `penstock decisions`: what was changed, by whom and why, and what the gates saw."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.streams.cli.shared import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    interruptible,
    load_settings,
    print_json,
    print_table,
    run_async,
)
from penstock.streams.cli.times import instant, length

if TYPE_CHECKING:
    from penstock.schemas.control import Decision
    from penstock.streams.control.trail import Kind, Trail
    from penstock.streams.settings import Settings

FromOption = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="ISO 8601, UTC unless it says otherwise.")
]
LastOption = Annotated[
    str | None, typer.Option("--last", metavar="LENGTH", help="So long before now: 90m, 36h, 7d, 2w.")
]
NumberOption = Annotated[int, typer.Option("--number", "-n", min=1, help="So many at most, the newest.")]


class KindName(StrEnum):
    change = "change"
    look = "look"
    staging = "staging"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Change")(history)
    app.command(rich_help_panel="Change")(decisions)


def history(
    config: ConfigOption = DEFAULT_CONFIG,
    since: FromOption = None,
    last: LastOption = None,
    number: NumberOption = 50,
    as_json: JsonOption = False,
) -> None:
    """Show how what serves came to be: every change, when, by whom, what and why; the newest comes last.

    Example: [bold]penstock history --last 7d[/bold]
    """
    settings = load_settings(config)
    from penstock.streams.console import decisions as rendering

    found = _read(settings, _first_ms(since, last)).select(kind="change")[-number:]
    if as_json:
        print_json([rendering.decision_document(decision) for decision in found])
    elif found:
        print_table(rendering.HISTORY_COLUMNS, map(rendering.history_row, found))
    else:
        typer.echo("Nothing was changed in that time. The first change: penstock models use MODEL")


def decisions(
    config: ConfigOption = DEFAULT_CONFIG,
    kind: Annotated[KindName | None, typer.Option("--kind", help="Only changes, looks of gates, or stagings.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME@VERSION", help="Only what is about this model.")
    ] = None,
    rollout: Annotated[str | None, typer.Option("--rollout", metavar="ID", help="Only what is about this one.")] = None,
    since: FromOption = None,
    last: LastOption = None,
    number: NumberOption = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="What comes, after what --from or --last name. Ctrl-C ends it.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON, for a program to read; with --follow one document per line.")
    ] = False,
) -> None:
    """Show the audit trail: changes, each look of a gate with its numbers, and stagings; the newest comes last.

    A difference is the candidate's mean loss minus the champion's, with bounds that hold however often one looks, and
    the margin by which it may be worse. Rows are the candidate's that have an outcome.

    Example: [bold]penstock decisions --kind look --rollout rollout-7[/bold]
    """
    settings = load_settings(config)
    from penstock.schemas.records import ModelRef
    from penstock.streams.console import decisions as rendering
    from penstock.streams.control.trail import concerns

    try:
        ref = None if model is None else ModelRef.parse(model)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--model") from error
    wanted: Kind | None = kind.value if kind else None
    first_ms = _first_ms(since, last)

    def is_meant(decision: Decision) -> bool:
        return concerns(decision, kind=wanted, model=ref, rollout=rollout)

    if follow:
        _follow(settings, is_meant, first_ms, as_json=as_json)
        return
    found = [decision for decision in _read(settings, first_ms).decisions if is_meant(decision)][-number:]
    if as_json:
        print_json([rendering.decision_document(decision) for decision in found])
    elif found:
        print_table(rendering.TRAIL_COLUMNS, map(rendering.trail_row, found))
    else:
        typer.echo("No such decision in that time.")


def _follow(settings: Settings, is_meant: Callable[[Decision], bool], first_ms: int | None, *, as_json: bool) -> None:
    """Print decisions as they come, after those since `first_ms`, until Ctrl-C."""
    from penstock.streams.console import decisions as rendering
    from penstock.streams.console import tailing
    from penstock.streams.console.rendering import to_json
    from penstock.streams.control.trail import UnreadableDecision, decision_of

    async def work() -> None:
        topic, past = settings.topics.decisions.name, 0 if first_ms is None else None
        with interruptible() as stop:
            async for record in tailing.tail(settings.kafka, topic, last=past, stop=stop):
                try:
                    decision = decision_of(record, settings.pipeline.name)
                except UnreadableDecision as error:
                    typer.echo(str(error), err=True)
                    continue
                if decision is not None and record.timestamp >= (first_ms or 0) and is_meant(decision):
                    if as_json:
                        typer.echo(to_json(rendering.decision_document(decision)))
                    else:
                        typer.echo("  ".join(cell for cell in rendering.trail_row(decision) if cell))
                if stop.is_set():
                    return

    try:
        run_async(work())
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()


def _first_ms(since: str | None, last: str | None) -> int | None:
    """Unix ms from which on decisions are wanted; None: all."""
    if since is not None and last is not None:
        raise typer.BadParameter("give either --last or --from", param_hint="--last")
    before_ms = length(last)
    return instant(since, "--from") if before_ms is None else round(time.time() * 1000) - before_ms


def _read(settings: Settings, first_ms: int | None) -> Trail:
    from penstock.streams.control.trail import read_trail

    trail = run_async(read_trail(settings, first_ms=first_ms))
    for error in trail.unreadable[:3]:
        typer.echo(str(error), err=True)
    if len(trail.unreadable) > 3:
        typer.echo(f"{len(trail.unreadable) - 3} more decisions cannot be read.", err=True)
    return trail
