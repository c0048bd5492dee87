"""`penstock labels`: what became of the events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.streams.cli.shared import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    interruptible,
    load_settings,
    print_json,
    run_async,
    task_progress,
)

if TYPE_CHECKING:
    from penstock.streams.console.label_loading import LabelReport
    from penstock.streams.console.sending import Sent

labels_app = typer.Typer(help="Labels: what became of the events.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(labels_app, name="labels", rich_help_panel="Events")


@labels_app.callback()
def labels() -> None:
    pass


@labels_app.command()
def load(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, TSV, NDJSON (also .gz) or Parquet.")],
    config: ConfigOption = DEFAULT_CONFIG,
    id: Annotated[str, typer.Option("--id", metavar="COLUMN", help="The event's id.")] = "id",
    label: Annotated[
        str, typer.Option("--label", metavar="COLUMN", help="The outcome: a number, true or false.")
    ] = "label",
    time: Annotated[
        str, typer.Option("--time", metavar="COLUMN", help="When the outcome became known; without it, now.")
    ] = "time",
    time_unit: Annotated[str, typer.Option("--time-unit", help="Of numbers in that column: ms or s.")] = "ms",
    key: Annotated[str, typer.Option("--key", metavar="COLUMN", help="The event's key.")] = "key",
    origin: Annotated[str, typer.Option("--origin", metavar="NAME", help="Where the labels come from.")] = "manual",
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first bad row; otherwise it is left out.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Send outcomes from a file to the topic of the labels, each to the partition of its event.

    Columns partition and offset, where there are any, say where the event is; otherwise its key does. Loading a file
    again is safe: of the labels of one event the one with the latest time counts. A label whose time is later than
    labels.maturity_s after its event is counted as late.

    Exit code 1 when rows were left out.

    Example: [bold]penstock labels load outcomes.csv --id flight --key origin[/bold]
    """
    settings = load_settings(config)
    from penstock.streams.console.label_loading import LabelPlan, load_labels

    plan = LabelPlan(
        id, label, time, key, time_unit=time_unit, origin=origin, id_is_place=settings.events.id is None, strict=strict
    )
    topic = settings.topics.labels.name

    async def work() -> LabelReport:
        with task_progress() as move, interruptible() as stop:

            def progress(sent: Sent, total: int) -> None:
                move(f"{sent.confirmed:,} labels, {sent.events_per_s:,.0f}/s", sent.read_bytes, total)

            return await load_labels(settings.kafka, topic, file, plan, stop=stop, progress=progress)

    _report(run_async(work()), file, topic, as_json)


def _report(report: LabelReport, file: Path, topic: str, as_json: bool) -> None:
    sent = report.sent
    if as_json:
        print_json({
            "topic": topic, "rows": report.rows, "confirmed": sent.confirmed, "unconfirmed": sent.unconfirmed,
            "bad": report.bad, "first_bad": [{"line": row.line, "reason": row.reason} for row in report.first_bad],
            "too_large": [line for line, _ in sent.too_large], "interrupted": sent.interrupted,
        })  # fmt: skip
    else:
        typer.echo(f"{sent.confirmed:,} of {report.rows:,} rows are labels in {topic}.")
    for row in report.first_bad:
        typer.echo(f"{file}: {row}; left out", err=True)
    if report.bad > len(report.first_bad):
        typer.echo(f"{report.bad:,} rows were bad and left out.", err=True)
    if sent.unconfirmed:
        typer.echo(f"{sent.unconfirmed:,} more were on their way and may be there, too.", err=True)
    if sent.interrupted:
        raise typer.Exit(130)
    if report.bad or sent.too_large:
        raise typer.Exit(1)
