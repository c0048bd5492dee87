"""How far two histograms are from each other, freed of what their finite sizes add.

Jensen-Shannon distance: the square root of the Jensen-Shannon divergence to base 2, a metric between 0 (the same) and
1 (nothing in common); it stays finite where a bin is empty. Lin, "Divergence measures based on the Shannon entropy",
IEEE Transactions on Information Theory 37, 1991; Endres and Schindelin, "A new metric for probability distributions",
ibid. 49, 2003.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_RUNS = 8
"""In at least so many runs a reference is compared with itself."""


def distance(first: NDArray[np.integer], second: NDArray[np.integer]) -> float:
    """Jensen-Shannon distance of two histograms, [slots] counts each; NaN where one of them is empty.

    Two samples of one distribution with S slots in use have a divergence of (S - 1)(1/n + 1/m) / (8 ln 2) on average
    (the chi-square of its second-order term); that is subtracted, so that short stretches do not look different.

    >>> same = distance(np.array([500, 300, 200]), np.array([51, 30, 19]))
    >>> shifted = distance(np.array([500, 300, 200]), np.array([300, 300, 400]))
    >>> round(same, 3), round(shifted, 3), distance(np.array([9000, 0]), np.array([0, 9000])) > 0.999
    (0.0, 0.205, True)
    """
    n, m = int(first.sum()), int(second.sum())
    if n == 0 or m == 0:
        return float("nan")
    p, q = first / n, second / m
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    used = int(np.count_nonzero(middle))
    bias = (used - 1) * (1 / n + 1 / m) / (8 * np.log(2))
    return float(np.sqrt(min(max(divergence - bias, 0.0), 1.0)))


def usual_distance(segments: NDArray[np.integer], rows: int) -> float:
    """The largest distance between a run of the reference and the rest of it: what is usual without any drift.

    Args:
        segments: [m, slots] counts of the reference, segment by segment in the order of time.
        rows: of a run; at most an eighth of the reference is taken, at least one segment.

    NaN with fewer than eight segments. Seasons and autocorrelation are in it, as they are in what it is compared with.
    """
    count = len(segments)
    if count < MIN_RUNS:
        return float("nan")
    per_segment = max(float(segments.sum()) / count, 1.0)
    length = min(max(round(rows / per_segment), 1), count // MIN_RUNS)
    runs = np.add.reduceat(segments.astype(np.int64), np.arange(0, count - length + 1, length), axis=0)
    whole = runs.sum(axis=0)
    found = [distance(run, whole - run) for run in runs]
    return float(np.nanmax(found)) if np.isfinite(found).any() else float("nan")


def _relative_entropy(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """To base 2; q > 0 wherever p is."""
    some = p > 0
    return float(np.sum(p[some] * np.log2(p[some] / q[some])))
