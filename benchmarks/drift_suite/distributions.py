"""Calm streams: rows that keep their distribution, of every kind on which false alarms are counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.signal import lfilter

Rows = NDArray[np.float64]
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
START_MS = 1_767_571_200_000
"""A Monday, 2026-01-05, midnight UTC."""


class Rowwise:
    """Draws [rows, features]; what follows goes on from what came before (autocorrelation, time)."""

    def __init__(self, seed: int, features: int) -> None:
        self.random = np.random.default_rng(seed)
        self.features = features

    def draw(self, times: NDArray[np.int64]) -> Rows:
        """times [rows] Unix ms."""
        raise NotImplementedError

    def normal(self, rows: int) -> Rows:
        return self.random.standard_normal((rows, self.features))


class Scaled(Rowwise):
    """Normal around 5 with a small or a large standard deviation: nothing may depend on the unit."""

    def __init__(self, seed: int, features: int, deviation: float) -> None:
        super().__init__(seed, features)
        self.deviation = deviation

    def draw(self, times: NDArray[np.int64]) -> Rows:
        return 5 + self.deviation * self.normal(len(times))


class Autoregressive(Rowwise):
    """AR(1) from row to row, unit variance."""

    def __init__(self, seed: int, features: int, coefficient: float) -> None:
        super().__init__(seed, features)
        self.coefficient = coefficient
        self._last = self.normal(1)

    def draw(self, times: NDArray[np.int64]) -> Rows:
        scale = np.sqrt(1 - self.coefficient**2)
        state = self.coefficient * self._last
        values: Rows = lfilter([scale], [1, -self.coefficient], self.normal(len(times)), axis=0, zi=state)[0]
        self._last = values[-1:]
        return values


class Daily(Rowwise):
    """A day's wave and its first overtone, one standard deviation high, each feature at another hour; noise."""

    def draw(self, times: NDArray[np.int64]) -> Rows:
        phase = (times / DAY_MS)[:, None] + np.arange(self.features) / self.features
        season: Rows = np.sin(2 * np.pi * phase) + 0.5 * np.cos(4 * np.pi * phase)
        return np.add(season, self.normal(len(times)))


class Weekly(Rowwise):
    """A day's wave that is half as high from Saturday to Sunday, when the level is one standard deviation lower."""

    def draw(self, times: NDArray[np.int64]) -> Rows:
        weekend = ((times - START_MS) % WEEK_MS) >= 5 * DAY_MS
        phase = (times / DAY_MS)[:, None] + np.arange(self.features) / self.features
        season: Rows = np.sin(2 * np.pi * phase) * np.where(weekend, 0.5, 1.0)[:, None] - weekend[:, None]
        return np.add(season, self.normal(len(times)))


class Correlated(Rowwise):
    """Normal, every pair of features with correlation .8."""

    def draw(self, times: NDArray[np.int64]) -> Rows:
        common = self.random.standard_normal((len(times), 1))
        values: Rows = np.sqrt(0.8) * common + np.sqrt(0.2) * self.normal(len(times))
        return values


class Resampled(Rowwise):
    """Rows of a table in random order, with replacement: real marginals and correlations, no order."""

    def __init__(self, seed: int, table: Rows) -> None:
        super().__init__(seed, table.shape[1])
        self.table = table

    def draw(self, times: NDArray[np.int64]) -> Rows:
        return self.table[self.random.integers(0, len(self.table), len(times))]


@dataclass(frozen=True)
class Independent:
    """Independent rows of a known distribution, so that segments can be drawn as counts.

    sample  (random, rows) → [rows]
    below   P(X < x)
    up_to   P(X ≤ x)
    """

    sample: Callable[[np.random.Generator, int], NDArray[np.float64]]
    below: Callable[[Rows], Rows]
    up_to: Callable[[Rows], Rows]

    def slot_probabilities(self, edges: Rows, slots: int = 36) -> Rows:
        """Of the slots of `penstock.schemas.profile`: bins, under, over, missing, invalid.

        >>> NORMAL.slot_probabilities(np.array([-1.0, 1.0]))[[0, 1, 32, 33]].round(3).tolist()
        [0.0, 0.683, 0.159, 0.159]
        """
        probabilities = np.zeros(slots)
        up_to, below = self.up_to(edges), self.below(edges)
        probabilities[0] = up_to[0] - below[0]
        probabilities[1 : len(edges)] = np.diff(up_to)
        probabilities[slots - 4] = below[0]
        probabilities[slots - 3] = 1 - up_to[-1]
        probabilities = probabilities.clip(0, 1)
        shares: Rows = probabilities / probabilities.sum()
        return shares


def _continuous(distribution: object, sample: Callable[[np.random.Generator, int], Rows]) -> Independent:
    cumulative = distribution.cdf  # type: ignore[attr-defined]  # scipy carries no types
    return Independent(sample, cumulative, cumulative)


NORMAL = _continuous(stats.norm(), lambda random, rows: random.standard_normal(rows))
LOGNORMAL = _continuous(stats.lognorm(1.0), lambda random, rows: np.exp(random.standard_normal(rows)))
STUDENT_3 = _continuous(stats.t(3), lambda random, rows: random.standard_t(3, rows))
POISSON = Independent(
    lambda random, rows: random.poisson(0.05, rows).astype(np.float64),
    lambda x: stats.poisson(0.05).cdf(np.ceil(x) - 1),
    lambda x: stats.poisson(0.05).cdf(np.floor(x)),
)
CONSTANT = Independent(
    lambda _, rows: np.full(rows, 3.25),
    lambda x: (x > 3.25).astype(np.float64),
    lambda x: (x >= 3.25).astype(np.float64),
)
LAPLACE = _continuous(stats.laplace(0, np.sqrt(0.5)), lambda random, rows: random.laplace(0, np.sqrt(0.5), rows))


def shifted(mean: float = 0.0, deviation: float = 1.0) -> Independent:
    """Normal with another mean or deviation: what NORMAL changes to."""
    return _continuous(
        stats.norm(mean, deviation), lambda random, rows: mean + deviation * random.standard_normal(rows)
    )


RARE_CATEGORY = {"common": 0.6, "other": 0.299, "third": 0.1, "rare": 0.001}
"""Category → probability."""
