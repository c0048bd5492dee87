"""`penstock report`: a stretch of the log beside the training data, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.streams.cli.shared import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    load_settings,
    print_json,
    run_async,
    task_progress,
)
from penstock.streams.cli.times import stretch

if TYPE_CHECKING:
    from penstock.monitoring.report.data import ReportData
    from penstock.streams.settings import Settings


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Monitoring")(report)


def report(
    config: ConfigOption = DEFAULT_CONFIG,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Event time, ISO 8601. \\[default: the first]")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Event time, not inside. \\[default: the last]")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--last", metavar="LENGTH", help="So long before the newest event: 90m, 36h, 7d, 2w.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="\\[default: PIPELINE-report.html]")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare a stretch of the log with the training data, in one HTML file that needs no network.

    Which features differ and how, drift, scores and quality over time, quality by slice, labels, alerts, volume, and
    what served. It is made from summaries, not from rows: a million events take about a second. Times are UTC unless
    they say otherwise.

    Example: [bold]penstock report --last 7d --open[/bold]
    """
    start_ms, end_ms, last_ms = stretch(since, until, last)
    settings = load_settings(config)
    from penstock.streams.console.reporting import read_stretch

    async def read() -> ReportData:
        with task_progress() as move:
            return await read_stretch(settings, start_ms=start_ms, end_ms=end_ms, last_ms=last_ms, progress=move)

    _write(settings, run_async(read()), out or Path(f"{settings.pipeline.name}-report.html"), show, as_json)


def _write(settings: Settings, data: ReportData, file: Path, show: bool, as_json: bool) -> None:
    import time
    from importlib.metadata import version

    from penstock.monitoring.report.page import make_page, render
    from penstock.schemas.errors import ConfigurationError
    from penstock.streams.console.reporting import references_of

    references, missing = references_of(settings, data)
    for sentence in missing:
        typer.echo(sentence, err=True)
    sensitive = frozenset(feature.name for feature in settings.catalogue.features if feature.sensitive)
    page = make_page(
        data,
        references,
        pipeline=settings.pipeline.name,
        labels=settings.labels.config(),
        sensitive=sensitive,
        made_ms=time.time_ns() // 1_000_000,
        version=version("penstock"),
    )
    html = render(page).encode()
    try:
        file.write_bytes(html)
    except OSError as error:
        found = f"{str(file)!r} ({error.strerror})"
        raise ConfigurationError(
            "penstock report", "--out", found=found, expected="a file that can be written"
        ) from error
    if as_json:
        print_json({
            "file": str(file), "headline": page.headline, "stretch": page.stretch, "reference": page.reference or None,
            "features": [
                {"name": card.name, "differs": card.differs, "distance": card.difference, "usual": card.usual,
                 "what": card.what}
                for card in page.cards
            ],
            "alerts": [alert.id for alert in page.alerts],
        })  # fmt: skip
    else:
        typer.echo(page.headline)
        typer.echo(f"wrote {file} ({len(html) / 1000:,.0f} kB): {page.stretch}")
    if show:
        typer.launch(file.absolute().as_uri())
