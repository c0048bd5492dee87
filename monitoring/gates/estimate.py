"""The difference of two models' mean losses, its standard errors, and its always-valid bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.gates.bounds import clustered_variance, effective, student, tuned_bound
from penstock.monitoring.gates.cells import Stratum
from penstock.schemas.gates import Evidence, Verdict

Source = Literal["paired", "canary"]

FEWEST_GROUPS = 8
"""With rows in fewer groups of keys the canary says nothing: its keys, which chance dealt out, are too few. Paired rows
do not mind: nothing was dealt out, and the keys that come are the ones there are (Abadie, Athey, Imbens, Wooldridge
2023)."""
OF_ONE = ("error", "brier")
"""Losses between 0 and 1."""
_FAR = 3.0
"""Of other losses: standard deviations."""
_TUNE = 4.0
"""The bound is tightest at so many times the information of the first look."""


class Estimate(NamedTuple):
    """What strata come to.

    difference   weighted mean of the strata's differences
    rows         of the candidate
    information  Σ weights
    clusters     strata, and
    groups       groups of keys with rows, of the arm that has fewer
    time_error   standard error, the strata being independent, with
    time_degrees of freedom
    key_error    standard error, the groups of keys being independent, with
    key_degrees  of freedom
    lag          autocorrelation of the strata at lag 1
    deviation    standard deviation of one row's loss
    """

    difference: float
    rows: int
    information: float
    clusters: int
    groups: int
    time_error: float
    time_degrees: float
    key_error: float
    key_degrees: float
    lag: float
    deviation: float


class Outcomes(NamedTuple):
    """How many of the rows that each arm answered have an outcome. Silence that counts as an outcome is one."""

    champion_rows: int
    champion_known: int
    candidate_rows: int
    candidate_known: int

    @property
    def gap(self) -> float:
        """The candidate's share less the champion's; 0 where one of them has no rows.

        >>> round(Outcomes(1000, 900, 100, 80).gap, 3)
        -0.1
        """
        if not (self.champion_rows and self.candidate_rows):
            return 0.0
        return self.candidate_known / self.candidate_rows - self.champion_known / self.champion_rows

    @property
    def certain_gap(self) -> float:
        """By how much the shares differ at least: the gap less twice its standard error, or 0.

        >>> round(Outcomes(100_000, 90_000, 10_000, 8_000).certain_gap, 3), Outcomes(1000, 900, 10, 8).certain_gap
        (0.093, 0.0)
        """
        rows, known = self.champion_rows + self.candidate_rows, self.champion_known + self.candidate_known
        if not (self.champion_rows and self.candidate_rows):
            return 0.0
        share = known / rows
        error = math.sqrt(share * (1 - share) * (1 / self.champion_rows + 1 / self.candidate_rows))
        return max(abs(self.gap) - 2 * error, 0.0)


def estimate(strata: Sequence[Stratum], source: Source) -> Estimate:
    """Of at least one stratum.

    The difference is stratified by time (Cochran 1954): Σ w d / Σ w. Its variance is computed twice: from the spread
    of the strata, for days that differ, and from the groups of keys, for keys that come again and again (cluster-robust
    variances, Liang and Zeger 1986; the larger of the two one-way bounds instead of two-way clustering, which can be
    negative: Cameron, Gelbach, Miller 2011).
    """
    weights = np.array([one.weight for one in strata])
    information = float(weights.sum())
    differences = np.array([one.difference for one in strata])
    difference = float(np.dot(weights, differences)) / information
    residuals = weights * (differences - difference)
    group_rows = np.sum([one.group_rows for one in strata], axis=0)
    group_weights = np.sum([one.group_weights for one in strata], axis=0)
    group_sums = np.sum([one.group_sums for one in strata], axis=0)
    return Estimate(
        difference,
        int(sum(one.rows for one in strata)),
        information,
        len(strata),
        seen_groups(group_rows),
        math.sqrt(clustered_variance(residuals, weights)) / information,
        effective(weights) - 1,
        *key_error(group_weights, group_sums, difference, source),
        _lag(residuals),
        math.sqrt(sum(one.scatter for one in strata) / sum(one.scattered for one in strata)),
    )


def seen_groups(group_rows: NDArray[np.float64]) -> int:
    """From rows [arms, 64]: groups that have some, of the arm that has fewer."""
    return int(np.count_nonzero(group_rows, axis=1).min())


def key_error(
    weights: NDArray[np.float64], sums: NDArray[np.float64], difference: float, source: Source
) -> tuple[float, float]:
    """Standard error of the difference with groups of keys as clusters, and its degrees of freedom."""
    residuals = sums - weights * difference if source == "paired" else sums
    return math.sqrt(clustered_variance(residuals, weights)) / float(weights.sum()), effective(weights) - 1


def _lag(residuals: NDArray[np.float64]) -> float:
    """Autocorrelation at lag 1, of residuals that have no mean; 0 where there are too few, or all are 0."""
    squares = float(np.dot(residuals, residuals))
    return float(np.dot(residuals[:-1], residuals[1:])) / squares if len(residuals) > 4 and squares else 0.0


class Bounds(NamedTuple):
    low: float
    high: float


class Question(NamedTuple):
    """What does not change from look to look: see `penstock.schemas.gates.Evidence`."""

    test: str
    source: Source
    metric: str
    margin: float
    alpha: float

    def bounds(self, seen: Estimate, tune: float, outcomes: Outcomes | None = None) -> Bounds:
        """Each holds at every look with probability 1 - alpha; `tune` is as `first_tune` gave it.

        Where the shares of rows with an outcome differ by arm, the missing ones may hide a difference: both bounds move
        out by as much as it could be (bounds under missing data: Manski 1990; Horowitz and Manski 2000).
        """
        z = tuned_bound(seen.information, tune, self.alpha)
        half = student(z, seen.time_degrees) * seen.time_error
        if self.source == "canary" or seen.groups >= FEWEST_GROUPS:
            half = max(half, student(z, seen.key_degrees) * seen.key_error)
        if outcomes is not None and self.source == "canary":
            half += self._apart(seen) * outcomes.certain_gap
        return Bounds(seen.difference - half, seen.difference + half)

    def _apart(self, seen: Estimate) -> float:
        """How far the mean loss of rows without an outcome may be from that of the others."""
        return 1.0 if self.metric in OF_ONE else _FAR * seen.deviation

    def answer(
        self, verdict: Verdict, seen: Estimate | None, limits: Bounds | None = None, *, note: str = ""
    ) -> Evidence:
        """Evidence with these figures; bounds that are infinite are not known."""
        finite = limits if limits is not None and math.isfinite(limits.high - limits.low) else None
        return Evidence(
            self.test,
            self.source,
            self.metric,
            verdict,
            seen.rows if seen else 0,
            seen.clusters if seen else 0,
            seen.groups if seen else 0,
            self.margin,
            self.alpha,
            seen.difference if seen else None,
            finite.low if finite else None,
            finite.high if finite else None,
            seen.lag if seen else None,
            note,
        )


def first_tune(seen: Estimate) -> float:
    """Where the bound is to be tightest, once and for all: it must not follow the data."""
    return _TUNE * seen.information
