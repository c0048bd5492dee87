"""`penstock demo`: the whole of it on real data, with nothing to set up."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Mode(StrEnum):
    at_least_once = "at_least_once"
    exactly_once = "exactly_once"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Start")(demo)


def demo(
    events: Annotated[
        int | None, typer.Option("--events", min=1, metavar="N", help="Flights to replay. \\[default: all, 285,000]")
    ] = None,
    speed_up: Annotated[
        float | None,
        typer.Option(
            "--speed-up", metavar="X", help="Replay X times faster than time. \\[default: as fast as it goes]"
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write the result as JSON.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running to look at, until Ctrl-C.")] = False,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Keep everything here. \\[default: a temporary folder]")
    ] = None,
    brokers: Annotated[int, typer.Option("--brokers", help="Kafka brokers: 1 or 3.")] = 1,
    mode: Annotated[Mode, typer.Option("--mode", help="How outputs and offsets are committed.")] = Mode.at_least_once,
) -> None:
    """Predict the delays of the flights of 2013: a real Kafka and Redis, models trained here, a year of events.

    Trains on January and February and replays the rest of the year through score, shadow, watch and judge, with two
    faults on the way, and two candidates on which the judge decides. Ends with tables: events in, predictions, dead
    letters, speed, latency; quality and alerts by month; what was decided about the candidates; what the faults cost
    and when they were told. Exit code 1 if an event was lost.

    Example: [bold]penstock demo --events 20000 --keep[/bold]
    """
    from penstock.streams.demo.run import run_demo

    code = run_demo(
        events=events, speed_up=speed_up, report=report, keep=keep, data=data, brokers=brokers, mode=mode.value
    )
    raise typer.Exit(code)
