"""`penstock replay` and `penstock stage`: a model on the log as it stands, before it meets the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from penstock.streams.cli.changing import AuthorOption, ModelArgument, ReasonOption
from penstock.streams.cli.loading import usable
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
from penstock.streams.cli.times import length, stretch

if TYPE_CHECKING:
    from penstock.schemas.records import ModelRef
    from penstock.streams.replaying.replay import Replayed
    from penstock.streams.replaying.staging import Staged
    from penstock.streams.settings import Settings

NOT_PASSED = 1


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Change")(replay)
    app.command(rich_help_panel="Change")(stage)


def replay(
    model: Annotated[list[str], typer.Option("--model", metavar="MODEL", help="NAME@VERSION; repeat it for several.")],
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
    sample: Annotated[float, typer.Option("--sample", min=0, max=1, help="Share of the keys to score.")] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Score a stretch of the scored log with candidates and compare them with what was served. Nothing is written.

    The candidates see exactly the features that were seen then; outcomes are those known by now. It says what a live
    shadow over the same rows would have said.

    Example: [bold]penstock replay --model fraud@2 --last 7d[/bold]
    """
    start_ms, end_ms, last_ms = stretch(since, until, last)
    settings = load_settings(config)
    refs = usable(settings, model, load=False)
    from penstock.streams.registry import load_model
    from penstock.streams.replaying.log import Stretch
    from penstock.streams.replaying.replay import replay as score_again

    async def work() -> Replayed:
        with task_progress() as progress:
            progress(f"Loading {', '.join(map(str, refs))}", 0, 0)
            candidates = [(load_model(settings, ref), sample) for ref in refs]
            asked = Stretch(start_ms, end_ms)
            return await score_again(settings, candidates, asked, last_ms=last_ms, progress=progress)

    found = run_async(work())
    if as_json:
        print_json(_document(settings, found))
        return
    _show(settings, found)


def stage(
    model: ModelArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    last: Annotated[
        str, typer.Option("--last", metavar="LENGTH", help="Replay so long before the newest event.")
    ] = "24h",
    reason: ReasonOption = "",
    author: AuthorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try a model before anybody depends on it: package checks, a replay beside the champion, the gate. One verdict.

    The verdict goes to the decisions, where [bold]deploy[/bold] and [bold]canary start[/bold] look for it. The exit
    code is 1 where the model does not pass.

    Example: [bold]penstock stage fraud@2 --last 7d[/bold]
    """
    last_ms = length(last) or 0
    settings = load_settings(config)
    [ref] = usable(settings, [model], load=False)
    from penstock.streams.replaying.staging import stage as try_out

    async def work() -> Staged:
        from penstock.schemas.control import Decision
        from penstock.streams.control.plane import ControlPlane, default_author, unix_ms

        plane = ControlPlane.of(settings)
        control = await plane.serving()
        with task_progress() as progress:
            staged = await try_out(settings, control, ref, last_ms=last_ms, progress=progress)
        await plane.record(
            Decision(
                settings.pipeline.name,
                control.revision,
                f"stage {ref}",
                author or default_author(),
                reason,
                unix_ms(),
                staging=staged.staging,
            )
        )
        return staged

    staged = run_async(work())
    if as_json:
        _print_staged(settings, staged)
    else:
        _show_staged(settings, ref, staged)
    if not staged.staging.passed:
        raise typer.Exit(NOT_PASSED)


def _print_staged(settings: Settings, staged: Staged) -> None:
    import msgspec

    document = msgspec.to_builtins(staged.staging)
    document["replay"] = None if staged.replayed is None else _document(settings, staged.replayed)
    print_json(document)


def _show_staged(settings: Settings, ref: ModelRef, staged: Staged) -> None:
    out, staging = console(), staged.staging
    if staged.replayed is not None:
        _show(settings, staged.replayed)
        out.print()
    for check, held in staging.checks:
        out.print("[green]✓[/green]" if held else "[red]✗[/red]", check, markup=True)
    if staging.look is not None:
        verdict = {"promote": "good", "hold": "nothing against it", "rollback": "worse"}[staging.look.verdict]
        out.print(f"The gate: {verdict}. {staging.look.reason}")
    elif staging.passed:
        out.print("The scored log holds nothing to replay: the model was compared with nobody.")
    if staging.passed:
        out.print(
            f"{ref} passed.\nNext: penstock shadow start {ref}, penstock canary start {ref} or penstock deploy {ref}"
        )
    else:
        out.print(f"{ref} did not pass: canary start and deploy refuse it.")


def _show(settings: Settings, found: Replayed) -> None:
    from penstock.monitoring.comparison.figures import figures
    from penstock.streams.console.comparison import show_comparison

    out, merged = console(), found.merged
    if merged is None:
        out.print(f"{found.rows:,} events were read; no row was in a candidate's sample, or has its features.")
        return
    shown = figures(merged, settings.labels.config())
    for one in shown:
        show_comparison(one, out)
        out.print()
    if not shown:
        out.print(f"{found.rows:,} events were read, none of them answered by a champion.")
    if found.immature:
        out.print(
            f"{found.immature:,} of {found.paired:,} rows are too young to be judged: their labels may still come."
        )


def _document(settings: Settings, found: Replayed) -> dict[str, object]:
    from penstock.monitoring.comparison.figures import figures
    from penstock.streams.console.comparison import documents

    merged = found.merged
    return {
        "from": found.stretch[0],
        "to": found.stretch[1],
        "rows": found.rows,
        "paired": found.paired,
        "immature": found.immature,
        "comparisons": [] if merged is None else documents(figures(merged, settings.labels.config())),
    }
