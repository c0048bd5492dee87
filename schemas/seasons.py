"""Seasons of the day and of the week, as harmonics of the phase of a time.

A season of a column of numbers moves its values and stretches them:

    x  = (x' - centre) · sigma(t) + mean(t)
    x' = (x - shift(t)) / sigma(t)           with shift(t) = mean(t) - centre · sigma(t)

x' is what the value would be at the average hour, in the value's own unit. Phases are of Unix time, UTC.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DAY_MS = 24 * 3600 * 1000
WEEK_MS = 7 * DAY_MS
DAY_HARMONICS = 4
WEEK_HARMONICS = 6
"""Of the week's harmonics the seventh is the day's first."""
WIDTH = 1 + 2 * DAY_HARMONICS + 2 * WEEK_HARMONICS

Floats = NDArray[np.float64]


def basis(times_ms: NDArray[np.int64], day: int = DAY_HARMONICS, week: int = WEEK_HARMONICS) -> Floats:
    """[rows, 1 + 2·day + 2·week]: a one, then cosine and sine of each harmonic of the day, then of the week.

    >>> basis(np.array([0, DAY_MS // 4]), day=1, week=0).round(9).tolist()
    [[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """
    times = np.asarray(times_ms, np.int64)
    columns = [np.ones(len(times))]
    for period, harmonics in ((DAY_MS, day), (WEEK_MS, week)):
        phase = 2 * np.pi * (times % period) / period
        for harmonic in range(1, harmonics + 1):
            columns += [np.cos(harmonic * phase), np.sin(harmonic * phase)]
    return np.stack(columns, axis=1)


def fit(times_ms: NDArray[np.int64], means: Floats, deviations: Floats) -> Floats | None:
    """The season of a column from its segments' middle times, means and standard deviations (NaN where there is none).

    Returns coefficients [2, WIDTH] float64 over `basis`: the mean, and the logarithm of the relative deviation, which
    is zero on average. None where no season was found: the reference covers less than two days, or harmonics explain
    no more than chance would. A week's season needs two weeks.
    """
    times = np.asarray(times_ms, np.int64)
    known = np.isfinite(means) & np.isfinite(deviations)
    times, means, deviations = times[known], means[known], deviations[known]
    if not len(times):
        return None
    typical = float(np.median(deviations))
    scale = np.log(np.maximum(deviations, 1e-3 * typical) / typical) if typical > 0 else np.zeros(len(times))
    season = harmonics(times, np.stack([means, scale], axis=1), DAY_HARMONICS, WEEK_HARMONICS).T.copy()
    if not season[:, 1:].any():
        return None
    season[1, 0] = 0.0
    return season


def shift(season: Floats, times_ms: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """What to subtract from values at these times, and what to divide by afterwards: two [rows] float64.

    >>> season = np.zeros((2, WIDTH))
    >>> season[0, :2] = 10.0, 3.0  # the mean: 10, and 3 more at midnight than at the average hour
    >>> less, by = shift(season, np.array([0, DAY_MS // 2]))
    >>> ((np.array([13.0, 7.0]) - less) / by).tolist()
    [10.0, 10.0]
    """
    mean, scale = (basis(times_ms) @ season.T).T
    sigma = np.exp(scale)
    return mean - season[0, 0] * sigma, sigma


def at_the_average_hour(season: Floats, values: Floats, times_ms: NDArray[np.int64]) -> Floats:
    """[rows] values with the season taken out, in their own unit."""
    less, by = shift(season, times_ms)
    usual: Floats = (values - less) / by
    return usual


def harmonics(
    times_ms: NDArray[np.int64], values: Floats, day: int, week: int, weights: Floats | None = None
) -> Floats:
    """Least squares, weighted by [m] `weights`, of [m, columns] values on the harmonics that they justify.

    Returns [1 + 2·day + 2·week, columns]; a column without a season keeps its mean and zeros. For each column the
    constant, the day and the day with the week compete by the Bayesian information criterion, for which m counts
    independent values only: m (1 - ρ) / (1 + ρ), ρ the lag-one correlation of the widest model's residuals.
    """
    count, columns = values.shape
    chosen = np.zeros((1 + 2 * day + 2 * week, columns))
    if not count:
        return chosen
    chosen[0] = np.average(values, axis=0, weights=weights)
    span = int(times_ms.max() - times_ms.min()) * (count + 1) / count  # from middle to middle misses one segment
    widths = [1]
    if span >= 2 * DAY_MS and count >= 3 * (1 + 2 * day):
        widths.append(1 + 2 * day)
    if span >= 2 * WEEK_MS and count >= 3 * len(chosen):
        widths.append(len(chosen))
    if len(widths) == 1:
        return chosen
    root = np.ones((count, 1)) if weights is None else np.sqrt(weights / weights.mean())[:, None]
    design, values = basis(times_ms, day, week)[:, : widths[-1]] * root, values * root
    fits = [np.linalg.lstsq(design[:, :width], values, rcond=None)[0] for width in widths]
    rests = [values - design[:, :width] @ found for width, found in zip(widths, fits, strict=True)]
    squares = np.stack([np.sum(rest**2, axis=0) for rest in rests])
    last = rests[-1]
    rho = np.sum(last[1:] * last[:-1], axis=0) / np.maximum(squares[-1], 1e-300)
    rho = np.clip(rho + (1 + 3 * rho) / count + 0.5 / np.sqrt(count), 0.0, 0.98)
    independent = count * (1 - rho) / (1 + rho)
    floor = 1e-18 * np.sum(values**2, axis=0) + 1e-300
    criterion = independent * np.log(np.maximum(squares, floor)) + np.outer(
        widths, np.log(np.maximum(independent, 2.0))
    )
    best = criterion.argmin(axis=0)
    for place, (width, found) in enumerate(zip(widths, fits, strict=True)):
        if place:
            chosen[:width, best == place] = found[:, best == place]
    return chosen
