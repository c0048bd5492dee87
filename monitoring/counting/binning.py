"""Which signals a scored block has, and how the values of each fall into slots."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from penstock.monitoring.counting.joint_distance import JointDistance
from penstock.schemas.columns import Layout
from penstock.schemas.profile import BINS, CategoryProfile, NumericProfile, ReferenceProfile
from penstock.schemas.seasons import WEEK_MS, at_the_average_hour, shift
from penstock.schemas.summaries import LOG_EDGES, Signal

PHASE_MS = 300_000
PHASES = WEEK_MS // PHASE_MS
"""A season is looked up per row in a table of the week: what a row adds then depends on the row alone."""

_LOG_SPREADS = {"feature": 1e3, "age": 1e5, "length": 1e2, "size": 1e4, "lag": 1e4, "score": 1.0}
"""Of signals without a reference: sixteen times as much is where their moments clip."""


def log_signal(name: str, *, sensitive: bool = False) -> Signal:
    """How a number without a reference is counted.

    >>> signal = log_signal("age:wind")
    >>> signal.scale, len(signal.edges), signal.spread
    ('log', 32, 100000.0)
    """
    return Signal(name, "log", LOG_EDGES, spread=_LOG_SPREADS.get(name.partition(":")[0], 1.0), sensitive=sensitive)


class Slots(dict[str, int]):
    """Value → slot of a category; the slot behind them is any other's.

    >>> Slots(JFK=0, LGA=1)["XXX"]
    2
    """

    def __missing__(self, value: str) -> int:
        return len(self)


class NumberTable(NamedTuple):
    """What `penstock.monitoring.counting.kernels.count_numbers` is told of its signals; shapes stand there."""

    edges: NDArray[np.float64]
    used: NDArray[np.int64]
    scaling: NDArray[np.float64]
    season: NDArray[np.int64]
    shifts: NDArray[np.float64]

    @classmethod
    def of(cls, signals: Sequence[Signal]) -> NumberTable:
        edges = np.full((len(signals), BINS), np.inf)
        for row, signal in zip(edges, signals, strict=True):
            row[: len(signal.edges)] = signal.edges
        anywhere = (-np.inf, np.inf)
        scaling = [(signal.centre, 1.0 / signal.spread, *(signal.range or anywhere)) for signal in signals]
        season = np.full(len(signals), -1, np.int64)
        tables: list[NDArray[np.float64]] = []
        for place, signal in enumerate(signals):
            if signal.season is not None and signal.season.size:
                season[place] = len(tables)
                tables.append(np.stack(shift(signal.season, np.arange(PHASES) * PHASE_MS + PHASE_MS // 2), axis=1))
        return cls(
            edges,
            np.array([len(signal.edges) for signal in signals], np.int64),
            np.array(scaling, np.float64).reshape(len(signals), 4),
            season,
            np.array(tables, np.float64).reshape(len(tables), PHASES, 2),
        )


@dataclass(frozen=True, eq=False)
class Binning:
    """The signals of scored blocks with one layout, against one reference profile. Made by `Binning.of`.

    layout, aged  of the blocks that it counts
    reference     NAME@VERSION of the model whose profile gave the bins
    signals       name → signal, but for those per variant: ask `signal`
    outputs       of the model, where it has several
    joint         how a row's distance from the reference is taken, where the profile allows it
    digest        equal where two count alike

    >>> binning = Binning.of(Layout(floats=("wind",)), (), None, reference="delay@3")
    >>> list(binning.signals), binning.signal("score:canary").scale
    (['feature:wind', 'size', 'lag'], 'log')
    """

    layout: Layout
    aged: tuple[str, ...]
    reference: str
    signals: Mapping[str, Signal]
    outputs: int
    joint: JointDistance | None
    digest: str
    _score: Signal

    @classmethod
    def of(
        cls,
        layout: Layout,
        aged: tuple[str, ...],
        profile: ReferenceProfile | None,
        *,
        reference: str,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        sensitive: Collection[str] = (),
        withheld: Collection[str] = (),
        outputs: int = 0,
    ) -> Binning:
        """The signals of a layout.

        profile    where it has no figures for a signal, numbers fall into logarithmic bins, and a category is either
                   unseen or missing
        ranges     of the catalogue, feature → lowest and highest plausible value
        sensitive  features whose values must not reach a person; they take no part in the joint distance
        withheld   features that the log leaves out: they read back as missing, which says nothing
        """
        made = _Maker(profile, ranges or {}, frozenset(sensitive))
        signals: dict[str, Signal] = {}
        for name in (*layout.floats, *layout.integers, *(name for name, _ in layout.vectors)):
            signals[f"feature:{name}"] = made.number("feature", name)
        for name in layout.categories:
            signals[f"feature:{name}"] = made.category(name)
        for name in aged:
            signals[f"age:{name}"] = made.log("age", name)
        for name in layout.categories:
            signals[f"length:{name}"] = made.log("length", name)
        for kind in ("size", "lag"):
            signals[kind] = made.log(kind)
        for name in withheld:
            signals.pop(f"feature:{name}", None)
            signals.pop(f"length:{name}", None)
        joint = made.joint(layout, frozenset(withheld))
        if joint is not None:
            distance, signals["distance"] = joint
        score = made.score()
        known = (layout.names, layout.vectors, aged, reference, outputs)
        shape = [_facts(signal) for name, signal in (*signals.items(), ("score", score)) if name != "distance"]
        return cls(
            layout,
            aged,
            reference,
            signals,
            outputs,
            None if joint is None else distance,
            hashlib.sha256(msgspec.msgpack.encode((known, shape, joint is not None))).hexdigest()[:16],
            score,
        )

    def signal(self, name: str) -> Signal:
        """The signal of that name; `score:VARIANT` and `class:VARIANT` exist for any variant. Raises KeyError."""
        if name in self.signals:
            return self.signals[name]
        kind, _, variant = name.partition(":")
        if variant and kind == "score":
            return replace(self._score, name=name)
        if variant and kind == "class" and self.outputs:
            return Signal(name, "categories", np.empty(0), tuple(str(output) for output in range(self.outputs)))
        raise KeyError(name)

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """The signals of the numbers matrix, in order: floats, integers, vectors, then the others."""
        return tuple(name for name, signal in self.signals.items() if signal.scale != "categories")

    @cached_property
    def number_features(self) -> NDArray[np.intp]:
        """Which of floats, integers and vectors, in this order, have a signal."""
        layout = self.layout
        names = (*layout.floats, *layout.integers, *(name for name, _ in layout.vectors))
        return np.array([i for i, name in enumerate(names) if f"feature:{name}" in self.signals], np.intp)

    @cached_property
    def shown(self) -> frozenset[str]:
        """The features whose values may stand in evidence."""
        return frozenset(
            name
            for name in self.layout.names
            if (signal := self.signals.get(f"feature:{name}")) is not None and not signal.sensitive
        )

    @cached_property
    def sensitive_numbers(self) -> tuple[str, ...]:
        return tuple(name for name in self.numbers if self.signals[name].sensitive)

    @cached_property
    def number_table(self) -> NumberTable:
        """Without the ranges of vectors: those are of their components, not of their norms."""
        norms = {f"feature:{name}" for name, _ in self.layout.vectors}
        signals = [self.signals[name] for name in self.numbers]
        return NumberTable.of([replace(one, range=None) if one.name in norms else one for one in signals])

    @cached_property
    def score_table(self) -> NumberTable:
        return NumberTable.of([self._score])

    @cached_property
    def category_slots(self) -> dict[str, Slots]:
        return {
            name: Slots((value, slot) for slot, value in enumerate(signal.values))
            for name in self.layout.categories
            if (signal := self.signals.get(f"feature:{name}")) is not None
        }


class _Maker(NamedTuple):
    profile: ReferenceProfile | None
    ranges: Mapping[str, tuple[float, float]]
    sensitive: frozenset[str]

    def number(self, kind: str, name: str) -> Signal:
        found = self.profile.features.get(name) if self.profile else None
        if isinstance(found, NumericProfile):
            return _binned(f"{kind}:{name}", found, range=self.ranges.get(name), sensitive=name in self.sensitive)
        return self.log(kind, name)

    def category(self, name: str) -> Signal:
        found = self.profile.features.get(name) if self.profile else None
        values = found.values if isinstance(found, CategoryProfile) else ()
        return Signal(f"feature:{name}", "categories", np.empty(0), values, sensitive=name in self.sensitive)

    def log(self, kind: str, name: str = "") -> Signal:
        signal = log_signal(f"{kind}:{name}" if name else kind, sensitive=name in self.sensitive)
        allowed = self.ranges.get(name) if kind == "feature" else None
        return signal if allowed is None else replace(signal, range=allowed)

    def score(self) -> Signal:
        return _binned("score", self.profile.scores) if self.profile and self.profile.scores else self.log("score")

    def joint(self, layout: Layout, withheld: frozenset[str]) -> tuple[JointDistance, Signal] | None:
        if self.profile is None:
            return None
        numbers = self.profile.sample.numbers
        hidden = self.sensitive | withheld
        visible = [name for name in (*layout.floats, *layout.integers) if name not in withheld]
        places = [
            place
            for place, name in enumerate(visible)
            if name not in hidden and name in numbers and numbers[name].ndim == 1
        ]
        if len(places) < 2:
            return None
        sample = np.stack([_sampled(self.profile, visible[place]) for place in places], axis=1)
        distance = JointDistance.fit(sample, np.array(places))
        if distance is None:
            return None
        kept = [places.index(place) for place in distance.features.tolist()]
        squared = distance.of(sample[:, kept])
        edges = np.unique(np.quantile(squared, np.linspace(0, 1, BINS), method="nearest"))
        centre, spread = float(squared.mean()), float(squared.std()) or 1.0
        return distance, Signal("distance", "bins", edges, centre=centre, spread=spread)


def _sampled(profile: ReferenceProfile, name: str) -> NDArray[np.float64]:
    """A number's column of the reference sample; a seasonal one as it would be at the average hour."""
    sample, numbers = profile.sample, profile.features.get(name)
    values = sample.numbers[name].astype(np.float64)
    if isinstance(numbers, NumericProfile) and numbers.season is not None and len(sample.times):
        return at_the_average_hour(numbers.season, values, sample.times)
    return values


def _binned(
    name: str, profile: NumericProfile, *, range: tuple[float, float] | None = None, sensitive: bool = False
) -> Signal:
    mean, deviation = profile.moments.mean, profile.moments.deviation
    centre = mean if np.isfinite(mean) else 0.0
    varies = np.isfinite(deviation) and deviation > 1e-12 * max(abs(centre), 1e-250)
    return Signal(
        name,
        "bins",
        profile.edges,
        centre=centre,
        spread=deviation if varies else abs(centre) or 1.0,
        range=range,
        season=profile.season,
        sensitive=sensitive,
    )


def _facts(signal: Signal) -> tuple[object, ...]:
    seasonal = None if signal.season is None else signal.season.tolist()
    return (
        signal.name, signal.scale, signal.edges.tolist(), signal.values, signal.centre, signal.spread, signal.range,
        seasonal, signal.sensitive,
    )  # fmt: skip
