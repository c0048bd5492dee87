"""The gate: an always-valid verdict on a candidate, from cells of mature time buckets.

Error I: one that is no worse than the champion is rolled back. Error II: one that is worse by the margin or more is
promoted. Each happens with probability alpha at most, over all looks together.
"""

from __future__ import annotations

import math

from penstock.monitoring.gates.cells import Cells
from penstock.monitoring.gates.estimate import (
    FEWEST_GROUPS,
    OF_ONE,
    Bounds,
    Estimate,
    Outcomes,
    Question,
    Source,
    estimate,
    first_tune,
)
from penstock.schemas.gates import Evidence

__all__ = ["Outcomes", "judge"]

LARGEST_LAG = 0.3
"""Buckets that follow each other more closely than this are no independent clusters: they are too short."""


def judge(
    cells: Cells,
    *,
    test: str,
    source: Source,
    metric: str,
    margin: float,
    alpha: float,
    matured_before: int,
    min_rows: int,
    min_clusters: int,
    tune: float | None = None,
    harm: float = 0.0,
    outcomes: Outcomes | None = None,
    max_label_gap: float = 1.0,
) -> tuple[Evidence, float | None]:
    """One look: promote where the upper bound is below the margin, roll back where the lower is above `harm`, else
    hold.

    Where both are so, it promotes: worse, but within the margin. `cells` are paired if `source` is. `matured_before`
    is the event time (Unix ms) up to which everything has matured. `tune` is what the look before handed back, None at
    the first: the caller keeps it, with the cells. `outcomes` are those of both arms since the cells began.

    It holds, and the note says why, with fewer than `min_rows` rows of the candidate or `min_clusters` buckets, with
    keys in too few groups to compare arms, where successive buckets are alike (autocorrelation), and where the shares
    of rows with an outcome differ by more than `max_label_gap`.
    """
    question = Question(test, source, metric, margin, alpha)
    strata = cells.strata(matured_before)
    if not strata:
        return question.answer("hold", None, note="no mature rows of both"), tune
    seen = estimate(strata, source)
    if note := _too_little(seen, source, min_rows, min_clusters):
        return question.answer("hold", seen, note=note), tune
    tune = first_tune(seen) if tune is None else tune
    limits = question.bounds(seen, tune, outcomes)
    if note := _not_to_be_trusted(seen, source, outcomes, max_label_gap):
        return question.answer("hold", seen, limits, note=note), tune
    return _verdict(question, seen, limits, harm), tune


def _too_little(seen: Estimate, source: Source, min_rows: int, min_clusters: int) -> str:
    if seen.rows < min_rows:
        return f"{seen.rows:,} rows of {min_rows:,}"
    if seen.clusters < min_clusters:
        return f"{seen.clusters} time buckets of {min_clusters}"
    if source == "canary" and seen.groups < FEWEST_GROUPS:
        return f"the candidate's keys lie in {seen.groups} groups of {FEWEST_GROUPS}"
    return ""


def _not_to_be_trusted(seen: Estimate, source: Source, outcomes: Outcomes | None, max_label_gap: float) -> str:
    if seen.lag > LARGEST_LAG:
        return f"successive buckets are alike (autocorrelation {seen.lag:.2f}): the buckets are too short"
    if source == "canary" and outcomes is not None and abs(outcomes.gap) > max_label_gap:
        return f"the shares of rows with an outcome differ by {abs(outcomes.gap):.1%}: labels come later in one arm"
    return ""


def _verdict(question: Question, seen: Estimate, limits: Bounds, harm: float) -> Evidence:
    worse = limits.low > harm
    if limits.high < question.margin and _could_have_shown(seen, question):
        note = "worse, within the margin" if worse else ""
        return question.answer("promote", seen, limits, note=note)
    return question.answer("rollback" if worse else "hold", seen, limits)


def _could_have_shown(seen: Estimate, question: Question) -> bool:
    """Whether so many rows would have shown a single failure more, were there enough of them to exceed the margin.

    Where hardly a row differs, the variance of those that did not says nothing (the rule of three: Hanley and
    Lippman-Hand 1983). It can be said of losses whose unit is known.
    """
    hidden = question.margin - seen.difference
    return question.metric not in OF_ONE or seen.rows * hidden >= -math.log(question.alpha)
