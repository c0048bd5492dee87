"""Whether a control record can be followed: who writes one asks, and who reads one."""

from __future__ import annotations

import math
import re

from penstock.schemas.control import CHAMPION, FALLBACK, Control, Experiment, Rule
from penstock.schemas.errors import PenstockError

SALTS_OF_OTHERS = frozenset({"shadow"})
"""Names that no experiment may have: it would draw the very keys that something else draws."""

_NAME = re.compile(r"[^\s/]+")
"""Of an experiment: with a `/` it could be the salt of another one's arms."""


class InvalidControl(PenstockError):
    """A control record that cannot be followed.

    >>> print(InvalidControl("experiment price", "share", found="1.5", expected="0 to 1"))
    In the control record, the share of experiment price is 1.5; expected 0 to 1.
    """

    exit_code = 2

    def __init__(self, place: str, field: str, *, found: str, expected: str) -> None:
        self.place, self.field, self.found, self.expected = place, field, found, expected
        super().__init__(f"In the control record, the {field} of {place} is {found}; expected {expected}.")


def check(control: Control) -> None:
    """Raises InvalidControl for what no worker could follow.

    >>> from penstock.schemas.records import ModelRef
    >>> half = Experiment("price", 0.5, {"champion": 1.0})
    >>> check(Control("p", 1, ModelRef("m", 1), "", "", 0, experiments=(half,)))
    >>> try:
    ...     check(Control("p", 1, ModelRef("m", 1), "", "", 0, experiments=(half, Experiment("x", 0.1, {"b": 1.0}))))
    ... except InvalidControl as error:
    ...     print(error)
    In the control record, the arm of experiment x is 'b'; expected one with a model: champion.
    """
    for variant in control.variants:
        if variant in ("", CHAMPION, FALLBACK):
            raise InvalidControl("the pipeline", "variants", found=repr(variant), expected="other names than that")
    targets = (CHAMPION, *control.variants)
    _check_distinct("rules", [rule.name for rule in control.rules])
    for rule in control.rules:
        _check_rule(rule, targets)
    _check_distinct("experiments", [experiment.name for experiment in control.experiments])
    for experiment in control.experiments:
        _check_experiment(experiment, targets)
    for shadow in control.shadows:
        _check_share(f"shadow {shadow.model}", "sample", shadow.sample)
    if (rollout := control.rollout) is not None:
        place = f"rollout {rollout.id}"
        for share in rollout.stages:
            _check_share(place, "stages", share)
        if list(rollout.stages) != sorted(set(rollout.stages)):
            raise InvalidControl(place, "stages", found=str(list(rollout.stages)), expected="ascending shares")
        if not 0 <= rollout.stage < len(rollout.stages):
            raise InvalidControl(place, "stage", found=str(rollout.stage), expected=f"one of {len(rollout.stages)}")


def _check_rule(rule: Rule, targets: tuple[str, ...]) -> None:
    place = f"rule {rule.name}"
    if rule.variant not in targets:
        expected = f"one with a model: {', '.join(targets)}"
        raise InvalidControl(place, "variant", found=repr(rule.variant), expected=expected)
    if rule.feature is None and rule.values:
        raise InvalidControl(place, "feature", found="none", expected="one, since there are values")
    if rule.feature is not None and not rule.values:
        raise InvalidControl(place, "values", found="none", expected=f"at least one of {rule.feature}")


def _check_experiment(experiment: Experiment, targets: tuple[str, ...]) -> None:
    place = f"experiment {experiment.name}"
    if not _NAME.fullmatch(experiment.name) or experiment.name in SALTS_OF_OTHERS:
        expected = f"a word without / that is not {' or '.join(sorted(SALTS_OF_OTHERS))}"
        raise InvalidControl("an experiment", "name", found=repr(experiment.name), expected=expected)
    _check_share(place, "share", experiment.share)
    if not experiment.arms:
        raise InvalidControl(place, "arms", found="none", expected="at least one")
    for arm, weight in experiment.arms.items():
        if arm not in targets:
            expected = f"one with a model: {', '.join(targets)}"
            raise InvalidControl(place, "arm", found=repr(arm), expected=expected)
        if not (math.isfinite(weight) and weight > 0):
            raise InvalidControl(place, f"weight of arm {arm}", found=f"{weight:g}", expected="a number above 0")
    if not math.isfinite(sum(experiment.arms.values())):
        raise InvalidControl(place, "sum of weights", found="infinite", expected="a number")


def _check_share(place: str, field: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise InvalidControl(place, field, found=f"{share:g}", expected="0 to 1")


def _check_distinct(what: str, names: list[str]) -> None:
    for name in names:
        if not name or names.count(name) > 1:
            raise InvalidControl(
                "the pipeline", f"names of {what}", found=repr(names), expected="each once, and a word"
            )
