"""Which variant answers an event: rules first, then experiments, else the champion. Pure, and by whole columns.

A key's variant depends on the key and the control record alone, so it is the same in every window, on every worker and
in every replay. An experiment draws its keys by its name (`penstock.schemas.keys.within`), and their arms by a second,
independent draw: raising its share moves no key off its arm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.models.control_checks import InvalidControl as InvalidControl
from penstock.models.control_checks import check as check
from penstock.schemas.columns import MISSING_INTEGER, Columns, Layout
from penstock.schemas.control import CHAMPION, Control, Experiment, Rule
from penstock.schemas.keys import hash_keys, points, within
from penstock.schemas.records import ModelRef

_SPAN = 2**64
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}")


class Routing:
    """The routing of one control record.

    >>> control = Control("p", 1, ModelRef("m", 1), "", "", 0, variants={"b": ModelRef("m", 2)},
    ...                   rules=(Rule("staff", "b", keys=("k1",)),), experiments=(Experiment("x", 0.5, {"b": 1.0}),))
    >>> routing = Routing(control)
    >>> keys = [b"k0", b"k1", b"k2", b"k3", b"k4"]
    >>> codes = routing.route(hash_keys(keys, 5), Columns.missing(Layout(), 5))
    >>> [routing.variants[code] for code in codes]
    ['champion', 'b', 'b', 'b', 'champion']

    Raises InvalidControl.
    """

    def __init__(self, control: Control) -> None:
        check(control)
        experiments = [experiment for experiment in control.experiments if experiment.share > 0]
        named = [rule.variant for rule in control.rules]
        named += [arm for experiment in experiments for arm in sorted(experiment.arms)]
        self.variants: tuple[str, ...] = tuple(dict.fromkeys([CHAMPION, *named]))
        """Those that an event may go to, the champion first; `route` gives their places."""
        self.sole: bool = len(self.variants) == 1
        """Every event goes to the champion: nobody need ask."""
        codes = {variant: np.int32(code) for code, variant in enumerate(self.variants)}
        # Backwards: who comes first has the last word.
        self._rules = [(_Condition.of(rule), codes[rule.variant]) for rule in reversed(control.rules)]
        self._draws = [
            (draw, np.array([codes[arm] for arm in draw.arms], np.int32))
            for draw in map(_Draw.of, reversed(experiments))
        ]

    def route(self, hashes: NDArray[np.uint64], columns: Columns) -> NDArray[np.int32]:
        """[rows] places in `variants`.

        Args:
            hashes: [rows], of `penstock.schemas.keys.routing_keys`.
            columns: the features of these rows; what rules ask for and is not in there never fits.
        """
        codes = np.zeros(len(hashes), np.int32)
        for draw, arms in self._draws:
            # For all rows, also those that do not take part: choosing them costs more.
            codes = np.where(draw.taken(hashes), arms[draw.places(hashes)], codes)
        for condition, code in self._rules:
            codes = np.where(condition.fits(hashes, columns), code, codes)
        return codes


class _Condition(NamedTuple):
    """When a rule fits.

    keys     sorted hashes of the listed keys; None: any key
    feature  whose value must be one of `texts` (a category) or `numbers` (int, bool); None: any value
    """

    keys: NDArray[np.uint64] | None
    feature: str | None
    texts: frozenset[str]
    numbers: NDArray[np.int64]

    @classmethod
    def of(cls, rule: Rule) -> _Condition:
        listed = np.unique(hash_keys([key.encode() for key in rule.keys], len(rule.keys))) if rule.keys else None
        numbers = [number for number in map(_number, rule.values) if number is not None]
        return cls(listed, rule.feature, frozenset(rule.values), np.array(numbers, np.int64))

    def fits(self, hashes: NDArray[np.uint64], columns: Columns) -> NDArray[np.bool_]:
        """[rows]."""
        found = np.ones(len(hashes), np.bool_) if self.keys is None else _among(hashes, self.keys)
        if self.feature is not None and found.any():
            found &= self._valued(self.feature, columns)
        return found

    def _valued(self, feature: str, columns: Columns) -> NDArray[np.bool_]:
        layout = columns.layout
        if feature in layout.categories:
            column = columns.categories[layout.categories.index(feature)]
            # The last place answers for -1, which is a missing value.
            wanted: NDArray[np.bool_] = np.array([*(value in self.texts for value in column.values), False], np.bool_)
            found: NDArray[np.bool_] = wanted[column.codes]
            return found
        if feature in layout.integers:
            return np.isin(columns.integers[:, layout.integers.index(feature)], self.numbers)
        return np.zeros(columns.rows, np.bool_)


def _among(hashes: NDArray[np.uint64], listed: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """[rows] whether a hash is one of `listed` [n], ascending, n > 0."""
    places = np.minimum(np.searchsorted(listed, hashes), len(listed) - 1)
    same: NDArray[np.bool_] = listed[places] == hashes
    return same


def _number(text: str) -> int | None:
    """A rule's value as int and bool features hold it; None where it is neither."""
    if text in ("true", "false"):
        return int(text == "true")
    if not _WHOLE_NUMBER.fullmatch(text):
        return None
    number = int(text)
    return number if MISSING_INTEGER < number <= -(MISSING_INTEGER + 1) else None


class _Draw(NamedTuple):
    """An experiment.

    arms    in sorted order
    bounds  [arms - 1] of the second draw's points, where the next arm begins
    """

    name: str
    share: float
    arms: tuple[str, ...]
    bounds: NDArray[np.uint64]

    @classmethod
    def of(cls, experiment: Experiment) -> _Draw:
        arms = tuple(sorted(experiment.arms))
        # Not sum(): what it gives depends on Python's version, and with it would some keys' arms.
        *cumulated, total = accumulate(experiment.arms[arm] for arm in arms)
        bounds = [min(int(weight / total * _SPAN), _SPAN - 1) for weight in cumulated]
        return cls(experiment.name, experiment.share, arms, np.array(bounds, np.uint64))

    def taken(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """[rows] who takes part."""
        return within(hashes, self.name, self.share)

    def places(self, hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
        """[rows] in `arms`, for keys that take part; [1], for all of them, where there is one arm."""
        if len(self.arms) == 1:
            return np.zeros(1, np.intp)
        drawn = points(hashes, f"{self.name}/arms")
        places = np.zeros(len(hashes), np.intp)
        for bound in self.bounds:  # they are few: quicker than a search
            places += drawn >= bound
        return places


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an event goes where it goes.

    steps             in words: each rule and experiment that was asked, in order, and what it said
    rule, experiment  the name of what took it; neither: nobody did, and the champion answers
    point             the key's in that experiment, 0 to 1: it takes part where this is below the share
    share             of that experiment
    """

    variant: str
    model: ModelRef
    steps: tuple[str, ...]
    rule: str | None = None
    experiment: str | None = None
    point: float | None = None
    share: float | None = None

    def __str__(self) -> str:
        return "\n".join([*self.steps, f"So it goes to {self.variant}, {self.model}."])


def explain(control: Control, key: bytes, columns: Columns | None) -> Explanation:
    """Where an event goes, and why.

    Args:
        control: the routing in force.
        key: the event's, or its id where it has none.
        columns: one row of features; None: unknown, and no rule that asks for one fits.

    Raises InvalidControl.

    >>> control = Control("p", 1, ModelRef("m", 1), "", "", 0, variants={"b": ModelRef("m", 2)},
    ...                   rules=(Rule("staff", "b", keys=("k1",)),), experiments=(Experiment("x", 0.25, {"b": 1.0}),))
    >>> print(explain(control, b"k3", None))
    Rule staff does not fit: it is for the key k1.
    Experiment x leaves it out: its point 0.345917 is not below the share 0.25.
    No rule and no experiment takes it.
    So it goes to champion, m@1.
    """
    check(control)
    hashes = hash_keys([key], 1)
    known = Columns.missing(Layout(), 1) if columns is None else columns

    steps: list[str] = []
    for rule in control.rules:
        fits = bool(_Condition.of(rule).fits(hashes, known)[0])
        unknown = f", and {rule.feature} is unknown here" if rule.feature and not _has(known, rule.feature) else ""
        said = "takes it" if fits else "does not fit"
        steps.append(f"Rule {rule.name} {said}: it is for {_condition_text(rule)}{unknown}.")
        if fits:
            return Explanation(rule.variant, control.model_of(rule.variant), tuple(steps), rule=rule.name)
    for experiment in control.experiments:
        draw, name, share = _Draw.of(experiment), experiment.name, experiment.share
        point = float(points(hashes, name)[0]) / _SPAN
        if not draw.taken(hashes)[0]:
            steps.append(f"Experiment {name} leaves it out: its point {point:.6f} is not below the share {share:g}.")
            continue
        arm = draw.arms[draw.places(hashes)[0]]
        steps.append(f"Experiment {name} takes it: its point {point:.6f} is below the share {share:g}.")
        if len(draw.arms) > 1:
            weight = f"{experiment.arms[arm]:g} of {sum(experiment.arms.values()):g}"
            steps.append(f"A second draw gives it the arm {arm}, which has a weight of {weight}.")
        return Explanation(arm, control.model_of(arm), tuple(steps), experiment=name, point=point, share=share)
    return Explanation(CHAMPION, control.champion, (*steps, "No rule and no experiment takes it."))


def _has(columns: Columns, feature: str) -> bool:
    """Whether the one row has a value that a rule may ask for."""
    layout = columns.layout
    if feature in layout.categories:
        return bool(columns.categories[layout.categories.index(feature)].codes[0] >= 0)
    if feature in layout.integers:
        return bool(columns.integers[0, layout.integers.index(feature)] != MISSING_INTEGER)
    return False


def _condition_text(rule: Rule) -> str:
    parts = []
    if rule.keys:
        listed = ", ".join(rule.keys[:5]) + (f" and {len(rule.keys) - 5} more" if len(rule.keys) > 5 else "")
        parts.append(f"the key{'s' if len(rule.keys) > 1 else ''} {listed}")
    if rule.feature is not None:
        parts.append(f"{rule.feature} {' or '.join(rule.values)}")
    return " with ".join(parts) or "all"
