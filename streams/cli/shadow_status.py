"""`penstock shadow status`: the comparison that the live shadow has come to so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from penstock.streams.cli.shadow import shadow_app
from penstock.streams.cli.shared import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    console,
    load_settings,
    print_json,
    run_async,
    task_progress,
)
from penstock.streams.cli.times import stretch

if TYPE_CHECKING:
    from penstock.monitoring.comparison.figures import PairFigures
    from penstock.schemas.control import Control
    from penstock.streams.console.comparing import Comparisons


def register(_: typer.Typer) -> None:
    shadow_app.command()(status)


def status(
    config: ConfigOption = DEFAULT_CONFIG,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Event time, ISO 8601. \\[default: the first]")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Event time, not inside. \\[default: the last]")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Also candidates that are in shadow no more.")] = False,
    slices: Annotated[int, typer.Option("--slices", min=0, help="So many of those where it does worst.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Show each candidate beside the champion on the same events: scores at once, quality once outcomes are known.

    It is read from summaries, by time bucket (labels.bucket_s): --from and --to choose those that begin within.

    Example: [bold]penstock shadow status[/bold]
    """
    start_ms, end_ms, _ = stretch(since, until, None)
    settings = load_settings(config)
    from penstock.monitoring.comparison.figures import figures
    from penstock.streams.console.comparing import read_comparisons
    from penstock.streams.console.comparison import documents
    from penstock.streams.control.plane import ControlPlane

    async def read() -> tuple[Control, Comparisons]:
        with task_progress() as progress:
            control = await ControlPlane.of(settings).serving()
            return control, await read_comparisons(settings, start_ms=start_ms, end_ms=end_ms, progress=progress)

    control, comparisons = run_async(read())
    shown = [] if comparisons.merged is None else figures(comparisons.merged, settings.labels.config())
    if not every:
        named = {str(shadow.model) for shadow in control.shadows}
        shown = [one for one in shown if one.candidate_model in named and one.served_model == str(control.champion)]
    if as_json:
        print_json({
            "champion": str(control.champion),
            "shadows": {str(shadow.model): shadow.sample for shadow in control.shadows},
            "behind_ms": {worker: reading.behind_ms for worker, reading in comparisons.readings.items()},
            "comparisons": documents(shown),
        })  # fmt: skip
        return
    _show(control, shown, comparisons, slices)


def _show(control: Control, shown: list[PairFigures], comparisons: Comparisons, slices: int) -> None:
    from penstock.streams.console.comparison import show_comparison
    from penstock.streams.control.refusals import percent, standing

    out = console()
    if control.rollout is not None:
        out.print(f"Rollout {standing(control.rollout)}. penstock decisions shows what the gate sees.")
    running = ", ".join(f"{shadow.model} ({percent(shadow.sample)} of the keys)" for shadow in control.shadows)
    out.print(f"In shadow: {running or 'nobody'}. {control.champion} answers.")
    behind_ms = max((reading.behind_ms for reading in comparisons.readings.values()), default=0)
    if behind_ms:
        out.print(f"The shadow worker is {behind_ms / 1000:,.0f} s behind; nothing waits for it.")
    for one in shown:
        out.print()
        show_comparison(one, out, slices=slices)
    if comparisons.unreadable:
        out.print(f"{comparisons.unreadable:,} records of the summaries could not be read.")
    if shown:
        return
    if not control.shadows:
        out.print("Next: penstock shadow start MODEL. With --all, comparisons of before.")
    else:
        out.print(
            "No comparison yet: the first comes with watch.segment_rows rows of a partition, or after "
            "watch.segment_max_s. penstock worker shadow and penstock worker watch make it."
        )
