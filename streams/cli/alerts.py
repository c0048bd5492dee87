"""`penstock alerts`: what the judge found wrong."""

from __future__ import annotations

import sys
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

if TYPE_CHECKING:
    from penstock.streams.console.alerts import AlertLog

alerts_app = typer.Typer(
    help="What is wrong with the data, the model or the service: look at it, and say that you have it.",
    no_args_is_help=True,
)


class StateName(StrEnum):
    raised = "raised"
    ongoing = "ongoing"
    acknowledged = "acknowledged"
    cleared = "cleared"


IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it; its beginning is enough.")]


def register(app: typer.Typer) -> None:
    app.add_typer(alerts_app, name="alerts", rich_help_panel="Monitoring")


@alerts_app.command("list")
def list_alerts(
    config: ConfigOption = DEFAULT_CONFIG,
    all_of_them: Annotated[bool, typer.Option("--all", "-a", help="Those that have been cleared, too.")] = False,
    state: Annotated[StateName | None, typer.Option("--state", help="Only those in this state.")] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 if there is any, with 0 if there is none.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List what is wrong now, the worst first: how bad, since when, how often, and what.

    Example: [bold]penstock alerts list --all[/bold]
    """
    settings = load_settings(config)
    from penstock.streams.console import alert_rendering
    from penstock.streams.console.alerts import read_alerts

    log = run_async(read_alerts(settings.kafka, settings.topics))
    _complain(log)
    wanted = {state.value} if state else {each.value for each in StateName} - (set() if all_of_them else {"cleared"})
    found = [alert for alert in log.latest if alert.state in wanted]
    if as_json:
        print_json([alert_rendering.document(alert) for alert in found])
    elif found:
        print_table(alert_rendering.COLUMNS, map(alert_rendering.alert_row, found))
    else:
        cleared = sum(alert.state == "cleared" for alert in log.latest)
        beside = f" {cleared} cleared: penstock alerts list --all" if cleared and not (all_of_them or state) else ""
        typer.echo(f"No alert is {state.value}." if state else f"No alert.{beside}")
    if exit_code and found:
        raise typer.Exit(1)


@alerts_app.command()
def show(id: IdArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show one alert: its causes with figures before and after, where to look, and its states so far.

    Example: [bold]penstock alerts show drift-5f0c[/bold]
    """
    settings = load_settings(config)
    from penstock.streams.console import alert_rendering
    from penstock.streams.console.alerts import read_alerts

    life = run_async(read_alerts(settings.kafka, settings.topics)).find(id)
    if as_json:
        states = [{"timestamp": told.timestamp, **alert_rendering.document(told.alert)} for told in life]
        print_json({**alert_rendering.document(life[-1].alert), "states": states})
        return
    for line in alert_rendering.alert_lines(life):
        typer.echo(line)


@alerts_app.command()
def ack(
    id: IdArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    note: Annotated[str | None, typer.Option("--note", "-m", help="For whoever looks next.")] = None,
    author: Annotated[str | None, typer.Option("--author", help="Who has it. \\[default: USER@HOST]")] = None,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, metavar="SECONDS", help="For the judge to confirm it.")
    ] = 15.0,
    as_json: JsonOption = False,
) -> None:
    """Say that you have an alert: it stays open, and is silent until it gets worse or is cleared.

    The judge applies it. If none runs now, it is kept and applied by the next one.

    Example: [bold]penstock alerts ack drift-5f0c --note "new planes, as announced"[/bold]
    """
    settings = load_settings(config)
    from penstock.streams.console import alert_rendering
    from penstock.streams.console.alerts import acknowledge
    from penstock.streams.control import default_author

    by = author or default_author()
    alert, applied = run_async(acknowledge(settings.kafka, settings.topics, id, by=by, note=note, wait_s=wait_s))
    if as_json:
        print_json({"applied": applied, "alert": alert_rendering.document(alert)})
    elif not applied:
        typer.echo(
            f"{alert.id} will be acknowledged when a judge runs; none has answered within {wait_s:g} s. "
            "Is one running? penstock worker judge"
        )
    elif alert.state == "cleared":
        typer.echo(f"{alert.id} has been cleared meanwhile.")
    else:
        typer.echo(f"{alert.id} is acknowledged by {by}: {alert_rendering.printable(alert.title)}")


@alerts_app.command()
def follow(
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document per line, for a program.")] = False,
) -> None:
    """Show every change of an alert as it comes. Ctrl-C ends it.

    Example: [bold]penstock alerts follow[/bold]
    """
    settings = load_settings(config)
    from penstock.schemas.alerts import UnreadableAlert
    from penstock.streams.console import alert_rendering, rendering, tailing
    from penstock.streams.console.alerts import alert_of

    async def work() -> None:
        with interruptible() as stop:
            async for record in tailing.tail(settings.kafka, settings.topics.alerts.name, last=0, stop=stop):
                try:
                    alert = alert_of(record)
                except UnreadableAlert as error:
                    typer.echo(str(error), err=True)
                    continue
                if as_json:
                    typer.echo(rendering.to_json(alert))
                else:
                    typer.echo(f"{rendering.time_text(record.timestamp)}  {alert_rendering.alert_line(alert)}")
                if stop.is_set():
                    return

    try:
        run_async(work())
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()


def _complain(log: AlertLog) -> None:
    for error in log.unreadable[:3]:
        typer.echo(str(error), err=True)
    if len(log.unreadable) > 3:
        typer.echo(f"{len(log.unreadable) - 3} more records of {log.topic} cannot be read.", err=True)
