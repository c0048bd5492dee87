"""`penstock canary`, `promote`, `rollback`: a candidate on its way to become the champion, and back."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

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
    from penstock.schemas.control import Control, Mode

canary_app = typer.Typer(help="A candidate that answers a share of the keys, stage by stage.", no_args_is_help=True)


class ModeName(StrEnum):
    manual = "manual"
    propose = "propose"
    automatic = "automatic"


def register(app: typer.Typer) -> None:
    app.add_typer(canary_app, name="canary", rich_help_panel="Change")
    app.command(rich_help_panel="Change")(promote)
    app.command(rich_help_panel="Change")(rollback)


@canary_app.command()
def start(
    model: ModelArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    mode: Annotated[
        ModeName | None,
        typer.Option("--mode", help="Who acts on a verdict. \\[default: rollout.mode]"),
    ] = None,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    check: CheckOption = True,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let a candidate answer a share of the keys: the first stage of the plan, which is rollout in penstock.toml.

    A key stays on its side while the share grows. The candidate runs in shadow of the champion, too, so that both are
    compared on the same rows. One that no staging passed is refused, and so is one whose features are not in the log
    yet, with the offsets from which they can be there. One that reads sensitive features goes without the shadow.

    Example: [bold]penstock canary start fraud@2 --mode propose[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    candidate = changing.model(model)
    changing.check_staged(candidate, force=force)
    changing.check_logged(candidate, in_shadow_alone=False)
    if check:
        changing.model(str(candidate), load=True)
    from penstock.streams.control.changes import start_rollout

    plan = changing.settings.rollout.config()
    chosen: Mode | None = mode.value if mode else None
    control = changing.write(
        lambda control: start_rollout(control, candidate, plan=plan, mode=chosen), f"canary start {candidate}"
    )
    changing.say(control, _canary(control), next_step=_watch(control))


@canary_app.command()
def step(
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the candidate answer the next stage's share: the keys that it has, and more.

    Example: [bold]penstock canary step --reason "a quiet weekend"[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    from penstock.streams.control.changes import step as next_stage

    control = changing.write(next_stage, "canary step")
    changing.say(control, _canary(control), next_step=_watch(control))


@canary_app.command()
def stop(
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the candidate answer nobody any more, without a verdict: it goes on in shadow.

    Example: [bold]penstock canary stop --reason "the holidays come first"[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    from penstock.streams.control.changes import stop_rollout

    control = changing.write(stop_rollout, "canary stop")
    stopped = changing.before.rollout if changing.before else None
    candidate = stopped.candidate if stopped else "the candidate"
    changing.say(
        control,
        f"{control.champion} answers every key; {candidate} goes on in shadow",
        next_step=f"penstock canary start {candidate} begins anew, penstock shadow stop {candidate} ends it.",
    )


def promote(
    config: ConfigOption = DEFAULT_CONFIG,
    finish: Annotated[
        bool, typer.Option("--finish", help="The promotion stands: end the time in which the former champion watches.")
    ] = False,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the candidate of the rollout answer everybody, as the champion.

    The former champion goes on in its shadow and stays loaded, so that it can come back at once. That ends after
    rollout.bake_s, or with --finish.

    Example: [bold]penstock promote --reason "better on every slice"[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    from penstock.streams.control import changes

    if finish:
        control = changing.write(changes.finish, "promote --finish")
        now = f"{control.champion} answers, and the rollout has ended"
        changing.say(
            control, now, next_step=f"nothing. {control.previous} stays loaded: penstock rollback goes back to it."
        )
        return
    control = changing.write(changes.promote, "promote")
    changing.say(
        control,
        f"{control.champion} answers every key as the champion; {control.previous} goes on in its shadow",
        next_step="penstock decisions shows how it does; penstock rollback goes back, penstock promote --finish stays.",
    )


def rollback(
    config: ConfigOption = DEFAULT_CONFIG,
    again: Annotated[
        bool, typer.Option("--again", help="Although the last change of this kind was a rollback, too: further back.")
    ] = False,
    reason: ReasonOption = "",
    author: AuthorOption = None,
    expect_revision: ExpectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go back to what answered before, at once. No worker and no judge need run.

    A candidate on its way answers nobody any more, nor does it run in shadow. After a promotion or a deployment, the
    previous champion answers again: workers have kept it loaded. If somebody was faster, it is not undone: a second
    rollback in a row is refused.

    Example: [bold]penstock rollback --reason "complaints from Newark"[/bold]
    """
    changing = Changing.of(config, author=author, reason=reason, expected_revision=expect_revision, as_json=as_json)
    from penstock.streams.control.changes import rollback as go_back

    control = changing.write(lambda control: go_back(control, again=again), "rollback --again" if again else "rollback")
    changing.say(
        control,
        f"{control.champion} answers every key; {control.rolled_back} answers nobody any more",
        next_step="penstock history shows what was changed, penstock decisions why.",
    )


def _canary(control: Control) -> str:
    from penstock.streams.control.refusals import percent

    rollout = control.rollout
    if rollout is None:
        return f"{control.champion} answers"
    where = f"stage {rollout.stage + 1} of {len(rollout.stages)} of {rollout.id}"
    if rollout.share == 0:
        return f"{rollout.candidate} runs in shadow, {where}; {control.champion} answers"
    others = "the others" if rollout.share < 1 else "nobody, until you go back"
    return f"{rollout.candidate} answers {percent(rollout.share)} of the keys, {where}; {control.champion} {others}"


def _watch(control: Control) -> str:
    last = control.rollout is not None and control.rollout.stage + 1 == len(control.rollout.stages)
    further = "penstock promote" if last else "penstock canary step"
    look = "penstock decisions shows what the gate sees"
    if control.rollout is not None and control.rollout.mode == "automatic":
        return f"{look}; the judge goes on or back by itself. By hand: {further}, penstock rollback."
    return f"{look}; {further} goes on, penstock rollback back."
