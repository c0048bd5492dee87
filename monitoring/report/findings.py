"""What a stretch's features have become, feature by feature, beside the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.counting.binning import Binning
from penstock.monitoring.report.data import Cell, ReportData
from penstock.monitoring.report.divergence import distance, usual_distance
from penstock.monitoring.report.text import number, percent
from penstock.schemas.columns import Layout
from penstock.schemas.profile import INVALID, MISSING, OVER, UNDER, CategoryProfile, NumericProfile, ReferenceProfile
from penstock.schemas.summaries import FIXED_POINT, Signal, SignalCounts

NOTABLE = 0.05
"""Smaller distances are never called a difference: a mean that moved by .12 standard deviations has it."""

RESOLUTION = 1e-7
"""Of moments, in units of the reference's deviation: sums are in fixed point."""

OUTSIDE = 0.1
"""With more than this share beyond the training values, that is what is told of a number; with less, where it moved."""


@dataclass(frozen=True)
class Reference:
    """A model's reference profile, and how its summaries were laid out (`Binning.signal`)."""

    name: str
    profile: ReferenceProfile
    signal: Callable[[str], Signal]

    @classmethod
    def of(cls, name: str, profile: ReferenceProfile, ranges: Mapping[str, tuple[float, float]]) -> Reference:
        """With the signals of every feature that the profile knows."""
        layout = Layout(
            floats=tuple(name for name, column in profile.features.items() if isinstance(column, NumericProfile)),
            categories=tuple(name for name, column in profile.features.items() if isinstance(column, CategoryProfile)),
        )
        return cls(name, profile, Binning.of(layout, (), profile, reference=name, ranges=ranges).signal)


@dataclass(frozen=True)
class Rates:
    """Shares of rows; NaN where it cannot be known, such as range and defaults of training data."""

    missing: float
    invalid: float = 0.0
    below: float = 0.0
    above: float = 0.0
    unseen: float = 0.0
    out_of_range: float = float("nan")
    defaulted: float = float("nan")


@dataclass(frozen=True)
class Moments:
    mean: float
    deviation: float


@dataclass(frozen=True)
class FeatureFinding:
    """One feature of the stretch beside the reference.

    before, now        [slots] rows per slot
    difference, usual  Jensen-Shannon distances: of the stretch, and the largest within the reference itself
    strip              start of a cell of the timeline → distance there
    """

    name: str
    sensitive: bool
    edges: NDArray[np.float64] | None
    """None: categories."""
    values: tuple[str, ...]
    before: NDArray[np.int64]
    now: NDArray[np.int64]
    difference: float
    usual: float
    strip: dict[int, float]
    rates_before: Rates
    rates: Rates
    moments_before: Moments | None
    moments: Moments | None
    extremes: tuple[float, float] | None
    """Lowest and highest finite value of the stretch."""

    @property
    def differs(self) -> bool:
        """More than any stretch of the reference as long as this one, and more than what can matter."""
        return self.difference > max(NOTABLE, 0.0 if np.isnan(self.usual) else self.usual)

    @property
    def what(self) -> str:
        """The largest change in a few words; of a sensitive feature none that tells values."""
        before, now = self.rates_before, self.rates
        if abs(now.missing - before.missing) > max(0.01, _tilt(self) / 2):
            return f"missing {percent(before.missing)} → {percent(now.missing)}"
        if self.sensitive:
            return ""
        if now.invalid - before.invalid > 0.001:
            return f"infinite in {percent(now.invalid)}"
        if self.edges is None:
            return self._largest_category()
        if now.above > max(OUTSIDE, now.below):
            return f"{percent(now.above)} above every training value"
        if now.below > OUTSIDE:
            return f"{percent(now.below)} below every training value"
        return self._moved()

    def _largest_category(self) -> str:
        before, now = _shares(self.before), _shares(self.now)
        if not len(before):
            return ""
        most = int(np.argmax(np.abs(now - before)))
        labels = (*self.values, "other values", "missing")
        return f"{labels[most]} {percent(before[most])} → {percent(now[most])}"

    def _moved(self) -> str:
        if self.moments is None or self.moments_before is None or not self.moments_before.deviation > 0:
            return ""
        shift = (self.moments.mean - self.moments_before.mean) / self.moments_before.deviation
        ratio = self.moments.deviation / self.moments_before.deviation
        if abs(shift) >= 0.1:
            return f"mean {number(self.moments_before.mean)} → {number(self.moments.mean)} ({shift:+.1f} deviations)"
        if ratio > 1.15 or ratio < 0.87:
            return f"spread × {number(ratio)}"
        return "shape" if self.differs else "about the same"


def find_features(
    data: ReportData, references: Mapping[str, Reference], main: Reference, total: Cell, sensitive: AbstractSet[str]
) -> list[FeatureFinding]:
    """Every feature of the main reference that the stretch has rows of, the most different first."""
    found = []
    for name, profile in main.profile.features.items():
        counts = total.signals.get((main.name, f"feature:{name}"))
        if counts is None or len(counts.slots) != profile.counts.shape[1]:
            continue
        strip = _strip(data, references, name)
        found.append(_finding(name, profile, main.signal(f"feature:{name}"), counts, strip, name in sensitive))
    return sorted(found, key=lambda finding: (not finding.differs, -finding.difference, finding.name))


def _finding(
    name: str,
    profile: NumericProfile | CategoryProfile,
    signal: Signal,
    counts: SignalCounts,
    strip: dict[int, float],
    sensitive: bool,
) -> FeatureFinding:
    before = profile.counts.sum(axis=0, dtype=np.int64)
    now = counts.slots
    rows = int(now.sum())
    numbers = profile if isinstance(profile, NumericProfile) else None
    return FeatureFinding(
        name=name,
        sensitive=sensitive,
        edges=None if numbers is None else numbers.edges,
        values=profile.values if isinstance(profile, CategoryProfile) else (),
        before=before,
        now=now,
        difference=distance(before, now),
        usual=usual_distance(profile.counts, rows),
        strip=strip,
        rates_before=_rates(before, numbers is not None),
        rates=_rates(now, numbers is not None, counts, signal),
        moments_before=None if numbers is None else Moments(numbers.moments.mean, numbers.moments.deviation),
        moments=None if numbers is None else moments_of(counts, signal),
        extremes=(counts.lowest, counts.highest) if counts.finite else None,
    )


def _strip(data: ReportData, references: Mapping[str, Reference], feature: str) -> dict[int, float]:
    """The distance of each cell from its own reference: of several references the one with the most rows there."""
    strip = {}
    for start, cell in data.timeline.ordered():
        best, rows = float("nan"), 0
        for reference, signal in cell.signals:
            if signal != f"feature:{feature}" or reference not in references:
                continue
            profile = references[reference].profile.features.get(feature)
            slots = cell.signals[reference, signal].slots
            if profile is not None and len(slots) == profile.counts.shape[1] and slots.sum() > rows:
                best, rows = distance(profile.counts.sum(axis=0, dtype=np.int64), slots), int(slots.sum())
        if rows:
            strip[start] = best
    return strip


def _rates(
    slots: NDArray[np.int64], numeric: bool, counts: SignalCounts | None = None, signal: Signal | None = None
) -> Rates:
    shares = _shares(slots)
    rows = max(int(slots.sum()), 1)
    out_of_range = counts.out_of_range / rows if counts and signal and signal.range else float("nan")
    defaulted = counts.defaulted / rows if counts else float("nan")
    if not numeric:
        return Rates(float(shares[-1]), unseen=float(shares[-2]), out_of_range=out_of_range, defaulted=defaulted)
    return Rates(
        float(shares[MISSING]), float(shares[INVALID]), float(shares[UNDER]), float(shares[OVER]),
        out_of_range=out_of_range, defaulted=defaulted,
    )  # fmt: skip


def moments_of(counts: SignalCounts, signal: Signal) -> Moments | None:
    """Mean and standard deviation of the finite values, from their sums; None where there are none."""
    if not counts.finite:
        return None
    mean = counts.sum_z / FIXED_POINT / counts.finite
    variance = max(counts.sum_z2 / FIXED_POINT / counts.finite - mean * mean, 0.0)
    exact = signal.centre + signal.spread * mean
    return Moments(0.0 if abs(exact) < RESOLUTION * signal.spread else exact, signal.spread * variance**0.5)


def quantiles_of(counts: SignalCounts, edges: NDArray[np.float64], shares: tuple[float, ...]) -> tuple[float, ...]:
    """Quantiles of the finite values, to within their bins; beyond the edges the bins reach to the extremes.

    >>> counts = SignalCounts(np.array([0, 50, 40, *[0] * 30, 10, 0, 0]), finite=100, lowest=0.5, highest=13.0)
    >>> quantiles_of(counts, np.array([0.0, 1.0, 3.0]), (0.25, 0.5, 0.95))
    (0.5, 1.0, 8.0)
    """
    slots = counts.slots
    if not len(edges) or not counts.finite:
        return tuple(float("nan") for _ in shares)
    masses = [float(slots[UNDER]), *map(float, slots[: len(edges)]), float(slots[OVER])]
    borders = [min(counts.lowest, edges[0]), edges[0], *edges, max(counts.highest, edges[-1])]
    cumulated = np.concatenate([[0.0], np.cumsum(masses)])
    return tuple(float(np.interp(share * cumulated[-1], cumulated, borders)) for share in shares)


def _shares(slots: NDArray[np.int64]) -> NDArray[np.float64]:
    return slots / max(int(slots.sum()), 1)


def _tilt(finding: FeatureFinding) -> float:
    """How much of the mass that is not missing moved, by total variation."""
    missing = -1 if finding.edges is None else MISSING
    before, now = _shares(finding.before), _shares(finding.now)
    before[missing] = now[missing] = 0
    before, now = before / max(before.sum(), 1e-12), now / max(now.sum(), 1e-12)
    return float(np.abs(before - now).sum() / 2)
