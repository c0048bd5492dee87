"""How good the predictions were, once the flights have landed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.streams.demo.flights import Flights


def auc(scores: NDArray[np.floating], labels: NDArray[np.floating]) -> float:
    """Area under the ROC curve by the rank sum of Mann and Whitney; ties count half, NaN where a class is absent.

    >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0.0, 0.0, 1.0, 1.0]))
    0.75
    """
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[which]
    positive = labels == 1
    ones = int(positive.sum())
    zeros = len(labels) - ones
    if ones == 0 or zeros == 0:
        return float("nan")
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def log_loss(scores: NDArray[np.floating], labels: NDArray[np.floating]) -> float:
    """Mean of -ln of the probability that was given to what came true; probabilities are clipped to [.001, .999].

    >>> round(log_loss(np.array([0.5, 0.5]), np.array([0.0, 1.0])), 4)
    0.6931
    """
    likely = np.clip(np.where(labels == 1, scores, 1.0 - scores), 0.001, 0.999)
    return float(-np.log(likely).mean())


def wrong(scores: NDArray[np.floating], labels: NDArray[np.floating], threshold: float = 0.5) -> int:
    """How many rows were called late and were not, or the reverse."""
    return int(((scores >= threshold) != (labels == 1)).sum())


def utc_months(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The month, 1 to 12, of Unix ms; 0 for another year than 2013, into whose UTC the last evening of it runs.

    >>> utc_months(np.array([1_367_812_800_000, 1_388_534_400_000])).tolist()
    [5, 0]
    """
    months = times.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64) - 12 * (2013 - 1970)
    return np.where((months >= 0) & (months < 12), months + 1, 0)


def auc_by_month(flights: Flights, scores: NDArray[np.floating]) -> dict[int, float]:
    """Month → AUC over its flights that arrived and have a score (NaN: none); months with one class are left out."""
    late = flights.late
    judged = ~np.isnan(late) & ~np.isnan(scores)
    found = {}
    for month in np.unique(flights.month[judged]).tolist():
        rows = judged & (flights.month == month)
        found[month] = auc(scores[rows], late[rows])
    return {month: value for month, value in found.items() if not np.isnan(value)}


def overall_auc(flights: Flights, scores: NDArray[np.floating]) -> float:
    """AUC over all flights that arrived and have a score."""
    judged = ~np.isnan(flights.late) & ~np.isnan(scores)
    return auc(scores[judged], flights.late[judged])
