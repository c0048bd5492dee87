"""`penstock shadow`: candidates that score what the champion scored, and answer nobody."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.streams.cli.changing import (
    AuthorOption,
    Changing,
    CheckOption,
    ExpectOption,
    ModelArgument,
    ReasonOption,
)
from penstock.streams.cli.shared import DEFAULT_CONFIG, ConfigOption, JsonOption

shadow_app = typer.Typer(
    help="Candidates that score what the champion scored, and answer nobody.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    app.add_typer(shadow_app, name="shadow", rich_help_panel="Change")


@shadow_app.command()
def start(
    model: ModelArgument,
    sample: Annotated[
        float, typer.Option("--sample", metavar="SHARE", help="Of the keys that it scores: above 0, 1 at most.")
    ] = 1.0,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    check: CheckOption = True,
    as_json: JsonOption = False,
) -> None:
    """Let a candidate score what the champion scores, on the very features that the scored log holds.

    A candidate whose features are not in the log yet is refused, with the offsets from which they can be there. Started
    once more with another --sample, it goes on with that.

    Example: [bold]penstock shadow start fraud@2 --sample 0.1[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    candidate = changing.model(model, load=check)
    changing.check_logged(candidate)
    from penstock.streams.control.changes import start_shadow
    from penstock.streams.control.refusals import percent

    control = changing.write(lambda control: start_shadow(control, candidate, sample), f"shadow start {candidate}")
    changing.say(
        control,
        f"{candidate} scores {percent(sample)} of the keys in shadow; {control.champion} answers",
        next_step="penstock shadow status compares them. The shadow role does the work: penstock worker shadow",
    )


@shadow_app.command()
def stop(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="Without one, every candidate.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a candidate score no more, or all of them. The one that a rollout compares stays as long as the rollout.

    Example: [bold]penstock shadow stop fraud@2[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    candidate = None if model is None else changing.model(model)
    from penstock.streams.control.changes import stop_shadow

    command = "shadow stop" if candidate is None else f"shadow stop {candidate}"
    control = changing.write(lambda control: stop_shadow(control, candidate), command)
    left = ", ".join(str(shadow.model) for shadow in control.shadows)
    changing.say(
        control,
        f"In shadow: {left or 'nobody'}",
        next_step="penstock shadow start MODEL tries another, penstock canary start MODEL lets one answer.",
    )
