"""One false-alarm budget for everything, split over families of signals and inside a family over its signals.

The rule is a weighted union bound: whoever gets the share s of a budget of one false alarm in A segments keeps one in
A/s of his own, and since the shares sum to at most 1, all together keep the budget, however their signals depend on
each other. That promise is what a person asks for: so many false alarms a week. Online control of the false discovery
rate promises another: so many false ones among a hundred alarms. Where nothing drifts every alarm is false, so its
levels sink with every test until it is blind; benchmarks/budgets.py measures both side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from penstock.monitoring.alarms import Family

WEIGHTS: dict[Family, float] = {
    "data_drift": 0.4,
    "joint_drift": 0.1,
    "score_drift": 0.1,
    "concept_drift": 0.1,
    "quality": 0.08,
    "fairness": 0.05,
    "labels": 0.04,
    "volume": 0.05,
    "freshness": 0.05,
    "numerics": 0.03,
    "operations": 0.0,
    "rollout": 0.0,
}
"""How much each family is worth: most of it to where most signals are. Operations go by fixed rules, not by tests, and
rollouts have an alpha of their own."""


def shares(signals: Mapping[Family, int], weights: Mapping[Family, float] = WEIGHTS) -> dict[Family, float]:
    """Each family's share of the budget: what families without signals would have had goes to the others.

    `signals` counts them, of each family; the shares sum to 1, or there are none.

    >>> {family: round(share, 2) for family, share in shares({"data_drift": 30, "score_drift": 2, "labels": 0}).items()}
    {'data_drift': 0.8, 'score_drift': 0.2}
    """
    watched = {family: weights[family] for family, count in signals.items() if count and weights[family] > 0}
    total = math.fsum(watched.values())
    return {family: weight / total for family, weight in watched.items()}


def signal_shares(
    signals: Mapping[Family, Mapping[str, float]], weights: Mapping[Family, float] = WEIGHTS
) -> dict[str, float]:
    """Each signal's share of the budget, under FAMILY/SIGNAL: a family's share in proportion to its signals' weights.

    >>> signals = {"data_drift": {"feature:a": 1, "feature:b": 3}, "volume": {"rows": 1}}
    >>> signal_shares(signals, {"data_drift": 2, "volume": 2})
    {'data_drift/feature:a': 0.125, 'data_drift/feature:b': 0.375, 'volume/rows': 0.5}
    """
    found: dict[str, float] = {}
    for family, share in shares({family: len(each) for family, each in signals.items()}, weights).items():
        total = math.fsum(signals[family].values())
        found |= {f"{family}/{name}": share * weight / total for name, weight in signals[family].items()}
    return found


def segments_per_alarm(share: float, *, false_alarms_per_week: float, segments_per_week: float) -> float:
    """A for whoever has this share of the budget.

    >>> segments_per_alarm(0.05, false_alarms_per_week=2, segments_per_week=10_000)
    100000.0
    """
    return segments_per_week / (false_alarms_per_week * share)
