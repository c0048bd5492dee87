"""`penstock drift`: the monitors over a file, before anything touches Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.streams.cli.shared import JsonOption, print_json, print_table, task_progress

if TYPE_CHECKING:
    from penstock.streams.offline.drift import DriftReport
    from penstock.streams.offline.findings import Finding

_CAUSES_SHOWN = 5


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Monitoring")(drift)


def drift(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, TSV, NDJSON (also .gz) or Parquet.")],
    reference: Annotated[
        str, typer.Option("--reference", metavar="ROWS|FILE", help="So many first rows, or another file.")
    ],
    label: Annotated[str | None, typer.Option("--label", metavar="COLUMN", help="The true outcome.")] = None,
    prediction: Annotated[
        str | None, typer.Option("--prediction", metavar="COLUMN", help="A class, a probability, or a value.")
    ] = None,
    segment: Annotated[
        int | None,
        typer.Option(
            "--segment", metavar="ROWS", help="Rows counted together. \\[default: a 200th of the reference, 50 to 512]"
        ),
    ] = None,
    false_alarms_per: Annotated[
        int, typer.Option("--false-alarms-per", metavar="ROWS", min=1000, help="One false alarm in so many rows.")
    ] = 1_000_000,
    time: Annotated[
        str | None, typer.Option("--time", metavar="COLUMN", help="Event times: seasons are expected then.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="COLUMN", help="Not to watch; can be repeated.")
    ] = None,
    fail_on_alert: Annotated[bool, typer.Option("--fail-on-alert", help="Exit code 1 when there is an alert.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find drift in a table, in the order of its rows: which column, at which row, from what to what.

    The first rows, or another file, are the reference. Every column of numbers, booleans or categories is watched; with
    a label and a prediction the errors are, too. Nothing else is needed: no Kafka, no model.

    Example: [bold]penstock drift history.csv --reference 20000 --label paid --prediction score[/bold]
    """
    from penstock.streams.offline.drift import drift as find
    from penstock.streams.offline.table_files import read_table

    with task_progress() as progress:
        progress(f"Reading {file}", 0, 0)
        table = read_table(file)
        rows = reference.replace(",", "").replace("_", "")  # 20,000 is a number, too
        report = find(
            table,
            reference=int(rows) if rows.isdigit() else read_table(Path(reference)),
            label=label,
            prediction=prediction,
            segment_rows=segment,
            false_alarms_per=false_alarms_per,
            time=time,
            ignore=ignore or (),
            place=str(file),
            on_progress=progress,
        )
    if as_json:
        print_json(_document(file, report))
    else:
        _print(file, "its first" if rows.isdigit() else f"{reference}, all", report)
    if fail_on_alert and report.findings:
        raise typer.Exit(1)


def _print(file: Path, whose: str, report: DriftReport) -> None:
    joint = "joint drift by row" if report.joint_by_row else "rows depend on each other: joint drift by segment"
    typer.echo(
        f"{file}: {report.rows:,} rows against {whose} {report.reference_rows:,}, "
        f"in segments of {report.segment_rows}.\nWatched: {', '.join(report.watched)}; {joint}."
    )
    for column, reason in report.left_out.items():
        typer.echo(f"Left out: {column} ({reason}).")
    typer.echo("")
    if report.findings:
        rows = [row for found in report.findings for row in _rows(found)]
        print_table(["row", "began near", "what changed", "detector"], rows)
        typer.echo("")
    alerts = (
        f"{len(report.findings)} alert{'' if len(report.findings) == 1 else 's'}" if report.findings else "No alert"
    )
    typer.echo(f"{alerts} in {report.rows:,} rows; budget: 1 false alarm in {report.false_alarms_per:,} rows.")


def _rows(found: Finding) -> list[list[str]]:
    from penstock.monitoring.alerts.titles import cause_text

    shown = found.alert.causes[:_CAUSES_SHOWN]
    rows = [["", "", cause_text(cause) + _parts(cause.after), cause.detector] for cause in shown]
    rows[0][:2] = f"{found.row:,}", f"{found.began:,}"
    if more := len(found.alert.causes) + found.alert.more_causes - len(shown):
        rows.append(["", "", f"… and {more} more", ""])
    return rows


def _parts(figures: Mapping[str, float]) -> str:
    """Of joint drift, the columns that stand out."""
    parts = {name.removeprefix("part of "): part for name, part in figures.items() if name.startswith("part of ")}
    return f", most in {', '.join(parts)}" if parts else ""


def _document(file: Path, report: DriftReport) -> dict[str, Any]:
    import msgspec

    return {
        "file": str(file),
        "rows": report.rows,
        "reference_rows": report.reference_rows,
        "segment_rows": report.segment_rows,
        "false_alarms_per": report.false_alarms_per,
        "watched": list(report.watched),
        "left_out": report.left_out,
        "alerts": [
            {
                "row": found.row,
                "began": found.began,
                "family": found.alert.family,
                "severity": found.alert.severity,
                "title": found.alert.title,
                "causes": msgspec.to_builtins(found.alert.causes),
            }
            for found in report.findings
        ],
    }
