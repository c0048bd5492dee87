"""How strict a detector must be so that it keeps a false-alarm budget, found on the reference itself.

The reference is replayed in a random order of blocks (block bootstrap[^1]: circular blocks, longer than the
autocorrelation lasts, so that what comes in a row stays in a row). The rate of alarms is measured at growing strictness
for as long as there are enough of them, and continued log-linearly to the rate asked for, by four fifths of the slope
seen last: for rare alarms that is an extrapolation, and the reason why Penstock's own detectors have thresholds that
need none. Work is bounded by a number of updates, not by a clock: on every machine the same reference gives the
same threshold.

[^1]: Künsch: The jackknife and the bootstrap for general stationary observations. Annals of Statistics 17, 1989.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST = 100
"""Values of the reference below which nothing is calibrated."""
_ENOUGH = 10
"""Alarms below which a rate is not known well enough to build upon."""
_STEP = 1.3


def block_length(values: NDArray[np.float64]) -> int:
    """Five integrated autocorrelation times 1 + 2·Σρ_k (up to the first ρ_k within noise), at least ∛n, at most n/4.

    >>> block_length(np.random.default_rng(0).normal(size=1_000))
    10
    """
    n = len(values)
    centred = values - values.mean()
    variance = float(centred @ centred)
    time = 1.0
    if variance > 0:
        for lag in range(1, n // 4):
            correlation = float(centred[lag:] @ centred[:-lag]) / variance
            if correlation < 2.0 / math.sqrt(n):
                break
            time += 2.0 * correlation
    return int(max(1, min(n // 4, max(math.ceil(5.0 * time), round(n ** (1 / 3))))))


def replay(values: NDArray[np.float64], length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """[length] values in random circular blocks of the reference's order."""
    block = block_length(values)
    starts = rng.integers(0, len(values), -(-length // block))
    order = (starts[:, None] + np.arange(block)) % len(values)
    return np.take(values, order.ravel()[:length])


def calibrate(
    make: Callable[[float], Any],
    values: NDArray[np.float64],
    false_alarm_every: float,
    *,
    updates: int,
    slope: float | None = None,
    loosest: float = 1.0,
    strictest: float = 700.0,
    seed: int = 0,
) -> float | None:
    """The strictness at which `make(strictness)` alarms at most once per `false_alarm_every` updates.

    `values` are the finite values of the reference, in order. `slope` is how much the logarithm of the rate falls with
    strictness by the detector's own theory: half of it stands in where alarms are too rare to measure it. The
    aim is half the rate asked for, since the reference is a sample too. None where it cannot be known: too few values,
    alarms that do not get rarer, or a constant reference.
    """
    if len(values) < FEWEST or np.ptp(values) == 0.0:
        return None
    rng = np.random.default_rng(seed)
    stream = replay(values, updates, rng)
    target = -math.log(2.0 * false_alarm_every)
    known: list[tuple[float, float]] = []
    strictness = loosest
    while strictness <= strictest:
        alarms, used = _alarms(make, strictness, stream)
        rate = math.log((alarms + math.sqrt(alarms) + (alarms < _ENOUGH) * 2.0) / used)
        if alarms < _ENOUGH:
            break
        known.append((strictness, rate))
        if rate <= target:
            break
        strictness *= _STEP
    if rate > target:
        if len(known) >= 3:
            levels, rates = np.array(known[-5:]).T
            slope = -0.8 * float(np.polyfit(levels, rates, 1)[0])
            strictness, rate = known[-1]
        elif slope is not None:
            slope /= 2.0
        if slope is None or slope <= 0.0:
            return None
        strictness += (rate - target) / slope
    for _ in range(4):
        if strictness > strictest:
            break
        if _alarms(make, strictness, replay(values, updates, rng))[0] <= updates / false_alarm_every:
            return strictness
        strictness *= 1.15
    return None


def _alarms(make: Callable[[float], Any], strictness: float, stream: NDArray[np.float64]) -> tuple[int, int]:
    """Alarms and updates, up to three times as many alarms as are enough; in eight parts that start anew each."""
    alarms = used = 0
    for part in np.array_split(stream, 8):
        detector = make(strictness)
        for value in part.tolist():
            detector.update(value)
            used += 1
            alarms += detector.drift_detected
        if alarms >= 3 * _ENOUGH:
            break
    return alarms, used
