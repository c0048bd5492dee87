"""`penstock deploy`, `penstock fallback`: another champion at once, and a smaller model for bad times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from penstock.streams.cli.changing import (
    AuthorOption,
    Changing,
    CheckOption,
    ExpectOption,
    ForceOption,
    ModelArgument,
    ReasonOption,
)
from penstock.streams.cli.shared import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from penstock.schemas.control import Control

fallback_app = typer.Typer(
    help="A smaller model that answers under load, or where the champion fails.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Change")(deploy)
    app.add_typer(fallback_app, name="fallback", rich_help_panel="Change")


def deploy(
    model: ModelArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    check: CheckOption = True,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let another model answer everybody at once (blue-green). Workers load it first; no event is lost for it.

    The former champion stays loaded: [bold]penstock rollback[/bold] goes back at once. A model that no staging passed
    is refused. The first model of a pipeline is set with [bold]penstock models use[/bold].

    Example: [bold]penstock deploy fraud@2 --reason "staged this morning"[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    candidate = changing.model(model)
    changing.check_staged(candidate, force=force)
    if check:
        changing.model(str(candidate), load=True)
    from penstock.streams.control.changes import deploy as answer

    control = changing.write(lambda control: answer(control, candidate), f"deploy {candidate}")
    changing.say(control, f"{control.champion} answers {control.pipeline}", next_step=_way_back(control))


@fallback_app.command()
def use(
    model: ModelArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    check: CheckOption = True,
    as_json: JsonOption = False,
) -> None:
    """Let a model step in for the champion where that fails, or while events queue for longer than fallback.queue_ms.

    Predictions then have the variant `fallback` and the reason: overload, failed or not_finite.

    Example: [bold]penstock fallback use fraud-small@1[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    small = changing.model(model, load=check)
    from penstock.streams.control.changes import set_fallback

    control = changing.write(lambda control: set_fallback(control, small), f"fallback use {small}")
    queue_ms = changing.settings.fallback.queue_ms
    changing.say(
        control,
        f"{small} answers where {control.champion} fails, and while events queue for over {queue_ms:g} ms",
        next_step="penstock tail predictions shows who answered. penstock fallback off ends it.",
    )


@fallback_app.command()
def off(
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let no model step in: what the champion fails on becomes a dead letter.

    Example: [bold]penstock fallback off --reason "the small one is outdated"[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    from penstock.streams.control.changes import set_fallback

    control = changing.write(lambda control: set_fallback(control, None), "fallback off")
    changing.say(
        control,
        f"No model answers where {control.champion} fails",
        next_step="penstock fallback use MODEL names another one.",
    )


def _way_back(control: Control) -> str:
    if control.previous is None:
        return "penstock deploy MODEL lets another one answer."
    return f"penstock tail predictions shows it at work. penstock rollback goes back to {control.previous} at once."
