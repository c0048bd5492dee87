"""`penstock features`: what is looked up in Redis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.schemas.errors import ConfigurationError
from penstock.streams.cli.shared import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    load_settings,
    print_json,
    run_async,
    task_progress,
)

if TYPE_CHECKING:
    from penstock.streams.features.loading import LoadPlan, LoadReport
    from penstock.streams.settings import Settings

features_app = typer.Typer(help="Features that are looked up in Redis.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(features_app, name="features", rich_help_panel="Events")


@features_app.callback()
def features() -> None:
    pass


@features_app.command()
def load(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, TSV, NDJSON (also .gz) or Parquet.")],
    entity: Annotated[str, typer.Option("--entity", help="One of \\[entities.NAME]: gives the prefix and the types.")],
    key: Annotated[
        str, typer.Option("--key", metavar="COLUMN", help="Or a template over columns: '{origin}:{time:hour}'.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    time: Annotated[
        str | None, typer.Option("--time", metavar="COLUMN", help="When a row's values were known. \\[default: now]")
    ] = None,
    time_unit: Annotated[str, typer.Option("--time-unit", help="Of numbers in that column: ms or s.")] = "ms",
    expire_s: Annotated[
        int | None, typer.Option("--expire-s", min=1, help="Redis forgets the hashes after so many seconds.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first bad row; otherwise it is left out.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fill Redis from a file: a hash per row, a field per column. Loading again is safe: the last row of a key wins.

    Exit code 1 when rows were left out.

    Example: [bold]penstock features load customers.csv --entity customer --key id[/bold]
    """
    settings = load_settings(config)
    plan = _plan(settings, config, entity, key=key, time=time, time_unit=time_unit, expire_s=expire_s)
    with task_progress() as progress:
        report = run_async(
            _load(settings, file, plan, strict, lambda done, total: progress(f"Loading {file}", done, total))
        )
    if as_json:
        bad = [{"line": row.line, "reason": row.reason} for row in report.first_bad]
        print_json({"rows": report.rows, "written": report.written, "bad": report.bad, "first_bad": bad})
    else:
        typer.echo(f"{report.written} of {report.rows} rows are in Redis as {plan.prefix}:<key>.")
        for row in report.first_bad:
            typer.echo(f"{file}: {row}; left out", err=True)
    if report.bad:
        raise typer.Exit(1)


def _plan(
    settings: Settings, config: Path, entity: str, *, key: str, time: str | None, time_unit: str, expire_s: int | None
) -> LoadPlan:
    from penstock.streams.features.loading import LoadPlan
    from penstock.streams.settings.errors import nearest

    if entity not in settings.entities:
        expected = nearest(entity, settings.entities)
        raise ConfigurationError(str(config), f"entities.{entity}", found="not there", expected=expected)
    looked_up = (feature for feature in settings.catalogue.features if feature.entity == entity)
    return LoadPlan(
        settings.entities[entity].prefix or entity,
        key,
        types={feature.field or feature.name: feature.type for feature in looked_up},
        time_column=time,
        time_unit=time_unit,
        expire_s=expire_s,
    )


async def _load(
    settings: Settings, file: Path, plan: LoadPlan, strict: bool, progress: Callable[[int, int], None]
) -> LoadReport:
    from penstock.streams.features.loading import load_features
    from penstock.streams.features.writer import FeatureWriter

    redis = settings.redis
    password = redis.password.get_secret_value() if redis.password else None
    writer = FeatureWriter(redis.url, username=redis.username, password=password)
    try:
        return await load_features(file, writer, plan, strict=strict, on_progress=progress)
    finally:
        await writer.close()
