"""Figures: what merged comparisons say to a person, per candidate and served model, and per slice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from math import copysign, sqrt
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.config import LabelsConfig, Task
from penstock.monitoring.quality.performance import metrics
from penstock.schemas.comparison import (
    DIFFERENCE_EDGES,
    ComparisonSummary,
    LabelledPair,
    Pair,
    PairGroup,
    PairSums,
    merge_labelled,
    merge_pair_sums,
)
from penstock.schemas.summaries import FIXED_POINT

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Of the differences of the scores."""

LOWER_IS_BETTER = {"log_loss", "brier", "calibration_error", "rmse", "mae"}
HIGHER_IS_BETTER = {"accuracy", "auc"}
"""The metrics by which one model is better than another; the others describe."""

_Sums = TypeVar("_Sums")


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What some rows say. None, or a metric that is left out: the rows do not determine it.

    rows              that the candidate was asked about
    non_finite        share of them for which it gave no finite number, or failed
    agreement         share of the others that both decide alike: at the threshold, or for the same class
    served_yes        share of them that the served model decides yes (binary), and
    candidate_yes     the candidate
    difference        mean of candidate - served, of the scores, and
    absolute          of its absolute value
    quantiles         share → quantile of the differences, to within a third of its value
    rank_correlation  Spearman's, of the scores in 32 bins
    labelled          rows with a known outcome, and on these
    served            `penstock.monitoring.quality.performance.metrics` of the served model,
    candidate         of the candidate, and
    change            the candidate's minus the served model's, of each metric that both have
    """

    rows: int = 0
    non_finite: float | None = None
    agreement: float | None = None
    served_yes: float | None = None
    candidate_yes: float | None = None
    difference: float | None = None
    absolute: float | None = None
    quantiles: dict[str, float] = {}
    rank_correlation: float | None = None
    labelled: int = 0
    served: dict[str, float] = {}
    candidate: dict[str, float] = {}
    change: dict[str, float] = {}


class PairFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate beside one served model.

    task          what the metrics are of
    buckets       start of the first and of the last time bucket that has rows, Unix ms of event time
    served_us     microseconds per row of the served model's calls, and
    candidate_us  of the candidate's; the one figure that a replay need not repeat
    every         of all rows
    slices        by slice: where the candidate is surest to be worse first (see `worst_first`)
    """

    served_model: str
    candidate_model: str
    task: Task
    buckets: tuple[int, int]
    served_us: float | None
    candidate_us: float | None
    every: Figures
    slices: dict[str, Figures]


def figures(
    merged: ComparisonSummary, config: LabelsConfig, *, sensitive: AbstractSet[str] = frozenset()
) -> list[PairFigures]:
    """Of each candidate and served model in `merged`, those with the most rows first.

    Args:
        merged: comparisons of any number of segments, those at once and those at maturity merged.
        config: the task.
        sensitive: features whose slices are left out.
    """
    pairs = _over_buckets(merge_pair_sums, merged.pairs)
    labelled = _over_buckets(merge_labelled, merged.labelled)
    by_pair: defaultdict[Pair, dict[str, Figures]] = defaultdict(dict)
    for candidate, served, name in sorted(pairs.keys() | labelled.keys()):
        group = candidate, served, name
        if name.partition("=")[0] in sensitive:
            continue
        by_pair[candidate, served][name] = _figures(pairs.get(group), labelled.get(group), config.task)
    found = [
        PairFigures(
            candidate_model=candidate,
            served_model=served,
            task=config.task,
            buckets=_buckets(merged, (candidate, served)),
            candidate_us=_per_row(merged.latencies.get(candidate)),
            served_us=_per_row(merged.latencies.get(served)),
            every=of.pop("", Figures()),
            slices=worst_first(of, config.task),
        )
        for (candidate, served), of in by_pair.items()
    ]
    return sorted(found, key=lambda one: -max(one.every.rows, one.every.labelled))


def over_time(merged: ComparisonSummary, config: LabelsConfig, pair: Pair) -> list[tuple[int, Figures]]:
    """The figures of a candidate and a served model by time bucket, the oldest first."""
    groups = [group for group in merged.pairs.keys() | merged.labelled.keys() if group[1:] == (*pair, "")]
    return [
        (group[0], _figures(merged.pairs.get(group), merged.labelled.get(group), config.task))
        for group in sorted(groups)
    ]


def main_loss(task: Task) -> str:
    """The metric by which slices are ordered and a candidate is said to be better: of a mean loss, or its root."""
    return "rmse" if task == "regression" else "log_loss"


def worst_first(slices: Mapping[str, Figures], task: Task) -> dict[str, Figures]:
    """Slices where the candidate's loss is surest to be higher first, then those whose outcomes are not known.

    In the order of change × √rows, which is how many standard errors it is from 0 where rows vary alike: so five
    rows that went badly do not stand above a thousand. Without outcomes: those that agree least first, or differ most.

    >>> few = Figures(labelled=9, change={"log_loss": 0.2})
    >>> many = Figures(labelled=900, change={"log_loss": 0.1})
    >>> list(worst_first({"few": few, "many": many}, "binary"))
    ['many', 'few']
    """

    def order(item: tuple[str, Figures]) -> tuple[bool, float, str]:
        name, of = item
        change = of.change.get(main_loss(task))
        if change is not None:
            return False, -change * sqrt(of.labelled), name
        return True, of.agreement if of.agreement is not None else -(of.absolute or 0.0), name

    return dict(sorted(slices.items(), key=order))


def rank_correlation(ranks: NDArray[np.int64]) -> float | None:
    """Spearman's, of the joint histogram of two numbers: rows in one bin share their mean rank. None where either of
    the two has one bin alone.

    >>> rank_correlation(np.diag([3, 4, 5]))
    1.0
    >>> rank_correlation(np.array([[0, 3], [0, 4]])) is None
    True
    """
    counts = ranks.astype(np.float64)
    across, along = (_midranks(counts.sum(axis)) for axis in (1, 0))
    variances = (counts.sum(1) @ across**2) * (counts.sum(0) @ along**2)
    if not variances > 0:
        return None
    correlation = float(across @ counts @ along / sqrt(variances))
    return copysign(min(abs(correlation), 1.0), correlation)


def _midranks(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean rank of each bin's rows, less the mean of all ranks."""
    ends = np.cumsum(counts)
    middles: NDArray[np.float64] = ends - counts / 2 - ends[-1] / 2
    return middles


def quantiles_of(differences: NDArray[np.int64], shares: Iterable[float] = QUANTILES) -> dict[str, float]:
    """Quantiles of a histogram over `DIFFERENCE_EDGES`, evenly spread within a bin; what lies beyond counts as the last
    edge, what lies around 0 as 0. Empty without rows.

    >>> rows = np.zeros(len(DIFFERENCE_EDGES) + 1, np.int64)
    >>> rows[len(DIFFERENCE_EDGES) // 2] = 9
    >>> quantiles_of(rows, (0.5, 0.99))
    {'0.5': 0.0, '0.99': 0.0}
    """
    total = int(differences.sum())
    if not total:
        return {}
    ends = np.cumsum(differences)
    lows = np.concatenate((DIFFERENCE_EDGES[:1], DIFFERENCE_EDGES))
    highs = np.concatenate((DIFFERENCE_EDGES, DIFFERENCE_EDGES[-1:]))
    found = {}
    for share in shares:
        at = int(np.searchsorted(ends, share * total))
        within = (share * total - (ends[at] - differences[at])) / differences[at]
        around_zero = at == len(DIFFERENCE_EDGES) // 2
        found[f"{share:g}"] = 0.0 if around_zero else float(lows[at] + within * (highs[at] - lows[at]))
    return found


def _figures(pair: PairSums | None, labelled: LabelledPair | None, task: Task) -> Figures:
    of_pair = {} if pair is None else _of_pair(pair, task)
    if labelled is None:
        return Figures(**of_pair)
    served, candidate = metrics(labelled.served, task), metrics(labelled.candidate, task)
    for of in (served, candidate):
        del of["rows"]
    change = {name: candidate[name] - served[name] for name in served if name in candidate}
    return Figures(**of_pair, labelled=labelled.served.rows, served=served, candidate=candidate, change=change)


def _of_pair(sums: PairSums, task: Task) -> dict[str, Any]:
    finite = sums.rows - sums.non_finite
    found: dict[str, Any] = {"rows": sums.rows, "non_finite": sums.non_finite / sums.rows if sums.rows else None}
    if not finite:
        return found
    found |= {
        "difference": sums.difference / FIXED_POINT / finite,
        "absolute": sums.absolute / FIXED_POINT / finite,
        "quantiles": quantiles_of(sums.differences),
        "rank_correlation": rank_correlation(sums.ranks),
    }
    if task != "regression":
        found["agreement"] = sums.agreed / finite
    if task == "binary":
        disagreed = finite - sums.agreed
        candidate_only = sums.candidate_yes - sums.yes
        found["candidate_yes"] = sums.candidate_yes / finite
        found["served_yes"] = (sums.yes + disagreed - candidate_only) / finite
    return found


def _over_buckets(
    merge: Callable[[_Sums, _Sums], _Sums], groups: Mapping[PairGroup, _Sums]
) -> dict[tuple[str, str, str], _Sums]:
    total: dict[tuple[str, str, str], _Sums] = {}
    for (_, *rest), sums in groups.items():
        candidate, served, name = rest
        key = candidate, served, name
        total[key] = merge(total[key], sums) if key in total else sums
    return total


def _buckets(merged: ComparisonSummary, pair: Pair) -> tuple[int, int]:
    starts = [group[0] for group in merged.pairs.keys() | merged.labelled.keys() if group[1:] == (*pair, "")]
    return min(starts), max(starts)


def _per_row(latency: tuple[int, int] | None) -> float | None:
    return latency[1] / latency[0] if latency and latency[0] else None
