"""From the rows where a detector fired to found, delay and false; limits of counts; F1 of injected changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2


class Score(NamedTuple):
    """found: changes with an alarm in time; delay: mean rows from change to first alarm; false: all other alarms."""

    found: int
    changes: int
    delay: float
    false: int


def score(alarms: Sequence[int], changes: Sequence[int], window: int) -> Score:
    """The first alarm within `window` rows of a change finds it; every further alarm is false.

    >>> score([5, 103, 110, 290], changes=[100, 200], window=50)
    Score(found=1, changes=2, delay=3.0, false=3)
    """
    delays: list[int] = []
    used = 0
    for change in changes:
        inside = [alarm for alarm in alarms if change <= alarm < change + window]
        if inside:
            delays.append(inside[0] - change)
            used += 1
    return Score(used, len(changes), float(np.mean(delays)) if delays else float("inf"), len(alarms) - used)


def f1(episodes: Sequence[tuple[Sequence[int], tuple[int, int]]]) -> float:
    """F1 of detections over episodes of one change each: alarms, and the window in which one is right.

    An episode is found once, however often the detector fires in its window; an alarm outside of it is false.
    (Cerqueira et al. count every alarm in the window as found, which flatters detectors that fire on.)

    >>> f1([([120], (100, 200)), ([50, 150], (100, 200)), ([], (100, 200))])
    0.6666666666666666
    """
    found = false = 0
    for alarms, (first, last) in episodes:
        inside = sum(first <= alarm <= last for alarm in alarms)
        found += inside > 0
        false += len(alarms) - inside
    missed = len(episodes) - found
    return 2 * found / (2 * found + false + missed)


def upper_limit(count: int, level: float = 0.95) -> float:
    """Of the expectation of a Poisson variable that came out as `count` (Garwood, one-sided).

    >>> round(upper_limit(0), 3), round(upper_limit(10), 2)
    (2.996, 16.96)
    """
    return float(chi2.ppf(level, 2 * count + 2) / 2)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and its standard error; infinite when any value is."""
    array = np.asarray(values, np.float64)
    if not np.isfinite(array).all():
        return float("inf"), float("nan")
    return float(array.mean()), float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else float("nan")
