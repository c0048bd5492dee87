"""What can be done to the routing state: pure functions from one control record to the next.

Each returns the record it was given where there is nothing to change, and raises Refused where the change makes no
sense. The writer (`ControlPlane.change`) sets revision, author, reason and time.

A running rollout keeps its candidate as the variant `canary`, an experiment of its own name with the share of its
stage (none at share 0), and a shadow of the candidate: the paired evidence. After the promotion the roles are reversed:
the former champion goes on in shadow until the rollout ends, and is `previous`, so that it can come back at once.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from penstock.monitoring.config import RolloutConfig
from penstock.schemas.control import CANARY, Control, Experiment, Mode, Rollout, Shadow
from penstock.schemas.records import ModelRef
from penstock.streams.control.refusals import NothingServes, Refused, percent, standing, ways_out
from penstock.streams.control.targeting import ROLLOUT_PREFIX
from penstock.streams.control.targeting import add_rule as add_rule
from penstock.streams.control.targeting import remove_rule as remove_rule
from penstock.streams.control.targeting import set_share as set_share
from penstock.streams.control.targeting import start_experiment as start_experiment
from penstock.streams.control.targeting import stop_experiment as stop_experiment

Change = Callable[[Control | None], Control]
"""Makes the new state from the present one (None: nothing serves yet). It may be called more than once. The revision,
author, reason and time of what it returns are set by the writer."""


def to_what_serves(pipeline: str, change: Callable[[Control], Control]) -> Change:
    """The change for a writer: it raises NothingServes where there is no state to change."""

    def changed(control: Control | None) -> Control:
        if control is None:
            raise NothingServes(pipeline)
        return change(control)

    return changed


def champion(pipeline: str, model: ModelRef) -> Change:
    """The change that lets `model` answer, be it the first or not; see `deploy` for what becomes of the former."""

    def change(control: Control | None) -> Control:
        if control is None:
            return Control(pipeline, revision=0, champion=model, author="", reason="", time=0)
        return deploy(control, model)

    return change


def first_champion(pipeline: str, model: ModelRef) -> Change:
    """The change that lets the first model of a pipeline answer. Raises Refused where another one does already."""

    def change(control: Control | None) -> Control:
        if control is not None and control.champion != model:
            raise Refused(
                f"{model} cannot be the first champion",
                f"{control.champion} answers {pipeline} since revision {control.revision}",
                fix=f"Let it answer instead: penstock deploy {model}. By and by: penstock canary start {model}.",
            )
        return champion(pipeline, model)(control)

    return change


def deploy(control: Control, model: ModelRef) -> Control:
    """All traffic at once (blue-green): the former champion stays loaded as `previous`.

    >>> control = Control("flights", 1, ModelRef("delay", 1), "", "", 0)
    >>> after = deploy(control, ModelRef("delay", 2))
    >>> str(after.champion), str(after.previous)
    ('delay@2', 'delay@1')
    """
    if model == control.champion:
        return control
    _no_rollout(control, f"{model} cannot be deployed")
    return _answering(control, model)


def start_shadow(control: Control, model: ModelRef, sample: float = 1.0) -> Control:
    """`model` scores a `sample` of the keys and answers nobody; once more with another sample changes that."""
    what = f"{model} cannot run in shadow"
    if not 0 < sample <= 1:
        raise Refused(what, f"a sample of {sample:g} is no share of the keys", fix="Give one above 0, 1 at most.")
    if model == control.champion:
        raise Refused(what, "it is the champion", fix="Shadow another: penstock models list.")
    rollout = control.rollout
    if rollout is not None and model in (rollout.candidate, rollout.champion):
        raise Refused(
            what, f"{rollout.id} has it in shadow already, on every key", fix="Look at it: penstock shadow status."
        )
    wanted = Shadow(model, sample)
    if any(shadow.model == model for shadow in control.shadows):
        return replace(control, shadows=tuple(wanted if each.model == model else each for each in control.shadows))
    return replace(control, shadows=(*control.shadows, wanted))


def stop_shadow(control: Control, model: ModelRef | None = None) -> Control:
    """`model` scores no more; None: no model that a person put in shadow. What a rollout needs stays, or is refused."""
    rollout = control.rollout
    needed = None if rollout is None else rollout.champion if rollout.baking else rollout.candidate
    if model is None:
        return replace(control, shadows=tuple(each for each in control.shadows if each.model == needed))
    what = f"The shadow of {model} cannot be stopped"
    if rollout is not None and model == needed:
        raise Refused(what, f"{rollout.id} compares it with the champion", fix=ways_out(rollout))
    if all(each.model != model for each in control.shadows):
        running = ", ".join(str(each.model) for each in control.shadows) or "none"
        raise Refused(what, "it does not run", fix=f"In shadow: {running}.")
    return _without_shadow(control, model)


def start_rollout(control: Control, model: ModelRef, *, plan: RolloutConfig, mode: Mode | None = None) -> Control:
    """Begin to let `model` answer, at the first stage of `plan`; `mode` is the plan's where it is not given.

    >>> control = Control("flights", 6, ModelRef("delay", 1), "", "", 0)
    >>> after = start_rollout(control, ModelRef("delay", 2), plan=RolloutConfig())
    >>> after.rollout.id, after.rollout.share, after.experiments[0].arms
    ('rollout-7', 0.01, {'canary': 1.0})
    """
    what = f"The canary cannot be started with {model}"
    if model == control.champion:
        raise Refused(what, "it is the champion", fix="Try another: penstock models list.")
    _no_rollout(control, what)
    for experiment in control.experiments:
        if experiment.share >= 1:
            raise Refused(
                what,
                f"experiment {experiment.name} has all the keys, and the canary would get none",
                fix=f"Stop it first: penstock experiment stop {experiment.name}.",
            )
    rollout = Rollout(
        f"{ROLLOUT_PREFIX}{control.revision + 1}", model, control.champion, tuple(plan.stages), mode=mode or plan.mode
    )
    shadowed = _without_shadow(control, model)
    started = replace(
        shadowed,
        rollout=rollout,
        rolled_back=None,
        variants={**control.variants, CANARY: model},
        shadows=(*shadowed.shadows, Shadow(model)),
    )
    return _with_share(started, rollout)


def step(control: Control) -> Control:
    """The next stage: the candidate answers a greater share of the keys, those that it has among them."""
    what = "The canary cannot be stepped"
    rollout = _trial(control, what)
    if rollout.stage + 1 >= len(rollout.stages):
        raise Refused(
            what,
            f"{rollout.id} is at the last of its stages, {percent(rollout.share)} of the keys",
            fix="Let it answer everybody: penstock promote.",
        )
    return _with_share(control, replace(rollout, stage=rollout.stage + 1))


def stop_rollout(control: Control) -> Control:
    """The candidate answers nobody any more, without a verdict: it goes on in shadow."""
    _trial(control, "The canary cannot be stopped")
    return _without_canary(control)


def promote(control: Control) -> Control:
    """The candidate becomes the champion. The former one goes into its shadow, until `finish` or `rollback`."""
    rollout = _trial(control, "The canary cannot be promoted")
    promoted = _answering(_without_canary(control), rollout.candidate)
    return replace(
        promoted,
        shadows=(*_without_shadow(promoted, control.champion).shadows, Shadow(control.champion)),
        rollout=replace(rollout, champion=control.champion, baking=True),
    )


def finish(control: Control) -> Control:
    """The promotion stands: the rollout ends, the former champion scores no more and stays loaded as `previous`."""
    what, rollout = "The promotion cannot be finished", control.rollout
    if rollout is None:
        raise _no_trial(what)
    if not rollout.baking:
        raise Refused(what, f"{standing(rollout)}, and has not been promoted", fix="First: penstock promote.")
    return replace(_without_shadow(control, rollout.champion), rollout=None)


def rollback(control: Control, *, again: bool = False) -> Control:
    """Back to what answered before, in one step.

    Of a running rollout the candidate goes and the champion stays. Of a promoted one, and where no rollout runs, the
    previous champion answers again, and the one that it replaces is kept loaded as `previous`.

    Right after a rollback another one is refused unless `again`: two people, or a person and the judge, who roll the
    same model back at the same time must not bring it back, nor take away the champion that was left.
    """
    rollout = control.rollout
    if rollout is not None and not rollout.baking:
        gone = rollout.candidate
        return replace(_without_shadow(_without_canary(control), gone), rolled_back=gone)
    former = control.previous if rollout is None else rollout.champion
    if former is None:
        raise Refused(
            "There is nothing to roll back to",
            f"{control.champion} is the first champion of {control.pipeline}",
            fix="Another model can be deployed: penstock deploy MODEL.",
        )
    if control.rolled_back is not None and not again:
        raise Refused(
            "This would be the second rollback in a row",
            f"{control.rolled_back} has been rolled back, {control.champion} answers",
            fix=f"Nothing more is to do. To let {former} answer all the same: penstock rollback --again.",
        )
    return replace(_answering(control, former), rollout=None, rolled_back=control.champion)


def set_fallback(control: Control, model: ModelRef | None) -> Control:
    """The smaller model that answers under load or where a model fails; None: there is none."""
    if model is not None and model == control.champion:
        raise Refused(
            f"{model} cannot be the fallback",
            "it is the champion, and would fail where that fails",
            fix="Name a smaller model: penstock models list.",
        )
    return replace(control, fallback=model)


def _no_rollout(control: Control, what: str) -> None:
    if control.rollout is not None:
        raise Refused(what, standing(control.rollout), fix=ways_out(control.rollout))


def _no_trial(what: str) -> Refused:
    return Refused(what, "no rollout runs", fix="Start one: penstock canary start MODEL.")


def _trial(control: Control, what: str) -> Rollout:
    """The rollout whose candidate has not been promoted yet."""
    if control.rollout is None:
        raise _no_trial(what)
    if control.rollout.baking:
        raise Refused(what, standing(control.rollout), fix=ways_out(control.rollout))
    return control.rollout


def _with_share(control: Control, rollout: Rollout) -> Control:
    """The rollout's experiment stays where it is among the others, so that a greater share moves no key off."""
    if rollout.share == 0:
        return replace(control, rollout=rollout)
    wanted = Experiment(rollout.id, rollout.share, {CANARY: 1.0})
    if all(experiment.name != rollout.id for experiment in control.experiments):
        return replace(control, rollout=rollout, experiments=(*control.experiments, wanted))
    experiments = tuple(wanted if each.name == rollout.id else each for each in control.experiments)
    return replace(control, rollout=rollout, experiments=experiments)


def _without_canary(control: Control) -> Control:
    """No rollout, nor its variant, its experiment and the rules that led there. Its shadow stays."""
    rollout = control.rollout
    assert rollout is not None  # noqa: S101
    return replace(
        control,
        rollout=None,
        variants={name: model for name, model in control.variants.items() if name != CANARY},
        rules=tuple(rule for rule in control.rules if rule.variant != CANARY),
        experiments=tuple(each for each in control.experiments if each.name != rollout.id),
    )


def _without_shadow(control: Control, model: ModelRef) -> Control:
    return replace(control, shadows=tuple(each for each in control.shadows if each.model != model))


def _answering(control: Control, model: ModelRef) -> Control:
    """`model` as the champion, which is nobody's shadow."""
    return replace(_without_shadow(control, model), champion=model, previous=control.champion, rolled_back=None)
