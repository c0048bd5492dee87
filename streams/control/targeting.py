"""Rules and experiments of the routing state: who goes to which variant, beside the champion and a rollout's canary."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from penstock.schemas.control import CANARY, CHAMPION, FALLBACK, Control, Experiment, Rule
from penstock.schemas.records import ModelRef
from penstock.streams.control.refusals import Refused, ways_out

ROLLOUT_PREFIX = "rollout-"
"""Of the names of rollouts and so of their experiments: with the revision that began them, each is drawn anew."""


def add_rule(control: Control, rule: Rule, model: ModelRef | None = None) -> Control:
    """One more rule, after the others; with `model`, its variant is made (or must be) that model."""
    what = f"Rule {rule.name} cannot be added"
    for other in control.rules:
        if other.name == rule.name and other != rule:
            raise Refused(
                what, "there is another one of that name", fix=f"Remove it first, or choose another: {rule.name}-2."
            )
    variants = _with_variant(control, what, rule.variant, model)
    rules = control.rules if rule in control.rules else (*control.rules, rule)
    return replace(control, variants=variants, rules=rules)


def remove_rule(control: Control, name: str) -> Control:
    """The rule goes, and its variant where nothing else leads there."""
    if all(rule.name != name for rule in control.rules):
        names = ", ".join(rule.name for rule in control.rules) or "none"
        raise Refused(f"Rule {name} cannot be removed", "there is none of that name", fix=f"There are: {names}.")
    return _without_idle_variants(replace(control, rules=tuple(rule for rule in control.rules if rule.name != name)))


def start_experiment(control: Control, experiment: Experiment, models: Mapping[str, ModelRef] | None = None) -> Control:
    """One more experiment, after the others; `models` of those arms that are no variants yet.

    Once more with another share changes that: what grows moves no key off its arm.
    """
    what, name = f"Experiment {experiment.name} cannot be started", experiment.name
    if name.startswith(ROLLOUT_PREFIX) or CANARY in experiment.arms:
        raise Refused(what, f"{CANARY} and names like {ROLLOUT_PREFIX}1 belong to rollouts", fix="Choose another name.")
    variants = dict(control.variants)
    for arm in experiment.arms:
        variants = _with_variant(replace(control, variants=variants), what, arm, (models or {}).get(arm))
    same = [other for other in control.experiments if other.name == name]
    if not same:
        return _leaving_the_canary_some(
            replace(control, variants=variants, experiments=(*control.experiments, experiment)), what
        )
    if same[0].arms != experiment.arms:
        raise Refused(
            what,
            f"it runs, with the arms {_arms(same[0])}, and other arms would move keys",
            fix=f"Stop it (penstock experiment stop {name}), or choose another name.",
        )
    changed = tuple(experiment if other.name == name else other for other in control.experiments)
    return _leaving_the_canary_some(replace(control, experiments=changed), what)


def set_share(control: Control, name: str, share: float) -> Control:
    """The experiment draws another share of the keys: what grows moves no key off its arm."""
    what = f"The share of experiment {name} cannot be changed"
    running = _running(control, name, what)
    changed = tuple(replace(each, share=share) if each is running else each for each in control.experiments)
    return _leaving_the_canary_some(replace(control, experiments=changed), what)


def stop_experiment(control: Control, name: str) -> Control:
    """The experiment goes, and those of its variants to which nothing else leads."""
    _running(control, name, f"Experiment {name} cannot be stopped")
    left = tuple(experiment for experiment in control.experiments if experiment.name != name)
    return _without_idle_variants(replace(control, experiments=left))


def _running(control: Control, name: str, what: str) -> Experiment:
    """A person's experiment, not a rollout's."""
    if control.rollout is not None and control.rollout.id == name:
        raise Refused(what, "it is that of a rollout", fix=ways_out(control.rollout))
    for experiment in control.experiments:
        if experiment.name == name:
            return experiment
    names = ", ".join(experiment.name for experiment in control.experiments) or "none"
    raise Refused(what, "there is none of that name", fix=f"There are: {names}.")


def _leaving_the_canary_some(control: Control, what: str) -> Control:
    """The record as it is. Raises Refused where an experiment before the rollout's has all the keys."""
    rollout = control.rollout
    if rollout is None or rollout.baking:
        return control
    for experiment in control.experiments:
        if experiment.name == rollout.id:
            break
        if experiment.share >= 1:
            raise Refused(what, f"it would have all the keys, and {rollout.id} none", fix=ways_out(rollout))
    return control


def _with_variant(control: Control, what: str, name: str, model: ModelRef | None) -> dict[str, ModelRef]:
    """The variants with `name` among them. Raises Refused where it has no model, or another one."""
    if name == CHAMPION and model is None:
        return control.variants
    if name in (CHAMPION, FALLBACK) or (name == CANARY and model is not None):
        raise Refused(what, f"{name} is no variant that it can set", fix="Give the variant another name.")
    present = control.variants.get(name)
    if present is None and model is None:
        raise Refused(what, f"there is no variant {name}", fix=f"Say which model it is: {name}=MODEL.")
    if present is not None and model is not None and present != model:
        raise Refused(what, f"the variant {name} is {present}, not {model}", fix="Give the variant another name.")
    return control.variants if model is None else {**control.variants, name: model}


def _without_idle_variants(control: Control) -> Control:
    used = {CANARY} | {rule.variant for rule in control.rules}
    used.update(arm for experiment in control.experiments for arm in experiment.arms)
    return replace(control, variants={name: model for name, model in control.variants.items() if name in used})


def _arms(experiment: Experiment) -> str:
    return ", ".join(f"{arm} {weight:g}" for arm, weight in sorted(experiment.arms.items()))
