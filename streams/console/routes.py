"""The routing state for a person and for a program, and what a person types to change it or to ask why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from penstock.models.features import Catalogue
from penstock.schemas.columns import Category, Columns
from penstock.schemas.control import CHAMPION, Control, Experiment, Rollout, Rule
from penstock.schemas.errors import ConfigurationError
from penstock.streams.control.refusals import percent

COLUMNS = ("", "name", "of the keys", "answered by")

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


class Arm(NamedTuple):
    """`reference` is None where the variant has its model already."""

    variant: str
    reference: str | None
    weight: float

    @classmethod
    def parse(cls, text: str) -> Arm:
        """`VARIANT`, `VARIANT=MODEL`, either with `:WEIGHT`. Raises ConfigurationError.

        >>> Arm.parse("blue=delay@2:1.5"), Arm.parse("champion")
        (Arm(variant='blue', reference='delay@2', weight=1.5), Arm(variant='champion', reference=None, weight=1.0))
        """
        name, colon, weight = text.partition(":")
        target = Target.parse(name)
        try:
            return cls(target.variant, target.reference, float(weight) if colon else 1.0)
        except ValueError as error:
            expected = "VARIANT or VARIANT=MODEL, with :WEIGHT where arms are not alike"
            raise ConfigurationError("penstock experiment", "--arm", found=repr(text), expected=expected) from error


class Target(NamedTuple):
    """Where a rule sends events; `reference` is None where the variant has its model already."""

    variant: str
    reference: str | None

    @classmethod
    def parse(cls, text: str) -> Target:
        """`VARIANT` or `VARIANT=MODEL`.

        >>> Target.parse("candidate=delay@latest")
        Target(variant='candidate', reference='delay@latest')
        """
        variant, _, reference = text.partition("=")
        return cls(variant, reference or None)


def rule_values(catalogue: Catalogue, command: str, name: str, values: Iterable[str]) -> tuple[str, ...]:
    """The values of a feature that a rule asks for, checked against its type.

    Raises ConfigurationError, also where no rule can ask for the feature.
    """
    feature = catalogue.by_name.get(name)
    option = "--feature"
    if feature is None:
        known = ", ".join(catalogue.by_name) or "none"
        raise ConfigurationError(command, option, found=repr(name), expected=f"a feature of the catalogue: {known}")
    if feature.type.kind not in ("category", "int", "bool"):
        expected = "a category, an int or a bool: they have values that a rule can name"
        raise ConfigurationError(command, option, found=f"{name!r}, a {feature.type}", expected=expected)
    if feature.sensitive:
        expected = "one that is not: each prediction would tell whose value it is"
        raise ConfigurationError(command, option, found=f"{name!r}, which is sensitive", expected=expected)
    wanted = tuple(values)
    for value in wanted:
        if feature.type.kind == "int" and not _WHOLE_NUMBER.fullmatch(value):
            raise ConfigurationError(command, f"value of {name}", found=repr(value), expected="a whole number")
        if feature.type.kind == "bool" and value not in ("true", "false"):
            raise ConfigurationError(command, f"value of {name}", found=repr(value), expected="true or false")
    return wanted


def row_of(catalogue: Catalogue, command: str, values: Mapping[str, str]) -> Columns:
    """One row with these features, everything else missing. Raises ConfigurationError."""
    columns = Columns.missing(catalogue.layout, 1)
    layout, categories = columns.layout, list(columns.categories)
    for name, value in values.items():
        rule_values(catalogue, command, name, [value])
        if name in layout.categories:
            categories[layout.categories.index(name)] = Category(np.zeros(1, np.int32), (value,))
        else:
            number = int(value == "true") if catalogue.by_name[name].type.kind == "bool" else int(value)
            columns.integers[0, layout.integers.index(name)] = number
    columns.categories = tuple(categories)
    return columns


def rows(control: Control) -> list[tuple[str, str, str, str]]:
    """A table in the order in which an event is asked: rules, experiments, the champion; below, who answers nobody."""
    found = [("rule", rule.name, condition(rule), _answering(control, rule.variant)) for rule in control.rules]
    for place, experiment in enumerate(control.experiments):
        share = percent(experiment.share) + (" of the rest" if place else "")
        found.append(("experiment", experiment.name, share, _arms(control, experiment)))
    others = "the rest" if found else "all"
    found.append((CHAMPION, "", others, str(control.champion)))
    if control.fallback is not None:
        found.append(("fallback", "", "under load, or where a model fails", str(control.fallback)))
    if control.previous is not None:
        found.append(("previous", "", "none: loaded, for a rollback", str(control.previous)))
    found += [
        ("shadow", "", f"{percent(shadow.sample)}, answering nobody", str(shadow.model)) for shadow in control.shadows
    ]
    if (rollout := control.rollout) is not None:
        contest = f"{rollout.candidate} against {rollout.champion}"
        found.append(("rollout", rollout.id, _standing(rollout), contest))
    return found


def condition(rule: Rule) -> str:
    """For whom a rule is.

    >>> condition(Rule("dawn", "blue", ("AA1", "UA2"), "hour", ("5", "6")))
    'AA1, UA2 with hour 5 or 6'
    """
    listed = ", ".join(rule.keys[:3]) + (f" and {len(rule.keys) - 3} more" if len(rule.keys) > 3 else "")
    valued = f"{rule.feature} {' or '.join(rule.values)}" if rule.feature is not None else ""
    return " with ".join(part for part in (listed, valued) if part) or "all"


def _answering(control: Control, variant: str) -> str:
    return f"{variant}: {control.model_of(variant)}"


def _arms(control: Control, experiment: Experiment) -> str:
    total = sum(experiment.arms.values())
    arms = sorted(experiment.arms.items())
    if len(arms) == 1:
        return _answering(control, arms[0][0])
    return ", ".join(f"{percent(round(weight / total, 4))} {_answering(control, arm)}" for arm, weight in arms)


def _standing(rollout: Rollout) -> str:
    if rollout.baking:
        return f"promoted, baking, {rollout.mode}"
    return f"{percent(rollout.share)}, stage {rollout.stage + 1} of {len(rollout.stages)}, {rollout.mode}"
