"""What a signal's counts per segment looked like in the reference, as a detector on histograms needs it.

A signal's slots are projected on channels: for numbers the orthonormalised powers of the slots' normal scores (the
first answers to location, the second to spread, the third and fourth to shape) and an indicator per slot; for
categories the indicators alone. Each channel's sums per segment are standardised by their long-run variance in the
reference, so that autocorrelated rows do not multiply alarms.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from penstock.schemas import seasons
from penstock.schemas.profile import BINS, OVER, UNDER
from penstock.schemas.summaries import Signal

Floats = NDArray[np.float64]

DEGREES = 4
TILTS = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Shifts, in standard deviations of a score, that a detector is tuned to."""

DAY_HARMONICS = 2
WEEK_HARMONICS = 3
"""Of the channels' means: what is left after a season moved the edges, and all there is of a category's season."""

RARE = 20
"""Rows below which a slot says nothing about its own autocorrelation."""

DEPENDENT = 1.6
"""Dispersion from which a score's sums are clipped at `CLIP` deviations and its tilts capped.

They may win no more than about one nat per deviation of what the rows remember: an excursion is as long as that.
"""

CLIP = 4.0
CAUTION = 2.0
"""Standard errors by which a dispersion is taken to be larger than estimated."""

OFF = 3.0
"""Standard errors by which a mean may be off: it is so for good, and a stream is longer than its reference."""

ENOUGH = 50
"""Segments from which a dispersion may be estimated below that of independent rows."""


class HistogramReference(msgspec.Struct, frozen=True):
    """A signal's reference: what the detector's tilts are made of. C channels, of them P scores, T tilts.

    segments    that had rows, in equals: fewer than there were where their sizes differ
    rows        in all of them
    totals      [slots] int64 rows per slot
    dispersion  [C] float32 ≥ 1: long-run variance of a channel's sums over that of independent rows
    means       [q, C] float32: coefficients of the channels' means per row over `penstock.schemas.seasons.basis`; q is
                1 where there is no season
    limits      [P] float32: bound of a score's sum over a segment per square root of its rows; +inf: none
    tilts       [P, T] float32 > 0; NaN where there is none
    costs       [P, 2, T] float32: what a row costs at +tilt and at -tilt, in nats
    mean, deviation   of the finite values, for people; NaN where unknown
    """

    segments: float
    rows: int
    totals: NDArray[np.int64]
    dispersion: NDArray[np.float32]
    means: NDArray[np.float32]
    limits: NDArray[np.float32]
    tilts: NDArray[np.float32]
    costs: NDArray[np.float32]
    mean: float = float("nan")
    deviation: float = float("nan")

    @property
    def shares(self) -> Floats:
        """[slots] probabilities, smoothed by half a row."""
        slots = len(self.totals)
        shares: Floats = (self.totals.astype(np.float64) + 0.5 / slots) / (self.rows + 0.5)
        return shares


def fit_reference(
    counts: NDArray[np.integer],
    signal: Signal,
    times_ms: NDArray[np.int64] | None = None,
    *,
    mean: float = float("nan"),
    deviation: float = float("nan"),
) -> HistogramReference:
    """The reference of a signal from [m, slots] rows per segment and slot; segments without rows are ignored.

    Args:
        counts: in the order of time.
        signal: whose slots they are.
        times_ms: [m] the segments' middle times; where given and long enough, the channels' means follow day and week.
        mean: and
        deviation: of the finite values; shown to people, not judged by.

    A reference without rows has `segments` 0: it says nothing, and whoever watches must learn another.
    """
    counts = np.asarray(counts, np.int64)
    filled = counts.sum(axis=1) > 0
    counts = counts[filled]
    rows = counts.sum(axis=1).astype(np.float64)
    total = float(rows.sum())
    totals = counts.sum(axis=0)
    scores = normal_scores(totals, signal)
    degrees, slots = scores.shape
    channels = np.concatenate([scores, np.eye(slots)])
    if not len(counts):
        return _empty(degrees, slots)
    segments = total**2 / float(np.sum(rows**2))
    sums = counts @ channels.T
    means = (sums.sum(axis=0) / total)[None, :]
    if times_ms is not None:
        found = seasons.harmonics(times_ms[filled], sums / rows[:, None], DAY_HARMONICS, WEEK_HARMONICS, rows)
        if found[1:].any():
            means = found
            expected = seasons.basis(times_ms[filled], DAY_HARMONICS, WEEK_HARMONICS) @ means
    if len(means) == 1:
        expected = np.broadcast_to(means, sums.shape)
    parameters = np.count_nonzero(means, axis=0).clip(1)
    rests = sums - rows[:, None] * expected

    shares = (totals + 0.5 / slots) / (total + 0.5)
    variance = np.maximum(shares @ channels.T**2 - (shares @ channels.T) ** 2, 1e-300)
    measured = np.sum(rests**2, axis=0) / (total * np.maximum(1 - parameters / segments, 0.5 / segments))
    dispersion, excess, memory = _dispersion(measured / variance, rests, totals, segments)
    errors = cautious(segments) * np.sqrt(dispersion * variance * parameters / total)
    size = total / segments
    tilts, costs = np.full((degrees, len(TILTS)), np.nan), np.zeros((degrees, 2, len(TILTS)))
    for degree in np.flatnonzero(scores.any(axis=1)):
        deviation_of_sums = np.sqrt(size * variance[degree] * memory[degree] / dispersion[degree])
        # third and fourth powers have tails that a variance does not tell of
        most = (1.0 if degree < 2 else 0.5) / deviation_of_sums if dispersion[degree] > DEPENDENT else np.inf
        distinct = np.unique(np.minimum(TILTS, most).round(6))
        tilts[degree, : len(distinct)] = distinct
        centred = scores[degree] - means[0, degree]
        busiest = _busiest(rests[:, degree], rows, expected[:, degree]) if parameters[degree] > 1 else 1.0
        for side, tilted in enumerate((distinct, -distinct)):
            exact = busiest * (_log_mean_exp(np.outer(tilted, centred), shares))
            scaled = np.outer(tilted, rests[:, degree]) / dispersion[degree]
            empirical = _log_mean_exp(scaled, np.ones(len(rows))) * excess[degree] * dispersion[degree] / size
            cost = np.maximum(exact, np.minimum(empirical, 3 * exact))
            costs[degree, side, : len(distinct)] = cost + distinct * errors[degree]
    limits = np.where(dispersion[:degrees] > DEPENDENT, CLIP * np.sqrt(np.maximum(measured[:degrees], 1e-12)), np.inf)
    return HistogramReference(
        segments, int(total), totals, dispersion.astype(np.float32), means.astype(np.float32),
        limits.astype(np.float32), tilts.astype(np.float32), costs.astype(np.float32), mean, deviation,
    )  # fmt: skip


def cautious(segments: float) -> float:
    """Standard errors by which a mean of the reference may be off: more where a short one hardly tells the error."""
    return OFF * max(1.0, math.sqrt(ENOUGH / segments))


def normal_scores(totals: NDArray[np.int64], signal: Signal) -> Floats:
    """[DEGREES, slots] polynomials of the slots' normal scores, orthonormal under the valid rows; 0 where undefined.

    The normal score of a slot is the standard normal quantile at the middle of its share of the cumulated distribution.
    A slot that held nothing takes the score between its neighbours', under and over that of the nearest one.
    [0, slots] for categories, which have no order.
    """
    if signal.scale == "categories":
        return np.zeros((0, len(totals)))
    scores = np.zeros((DEGREES, len(totals)))
    order = np.array([UNDER, *range(BINS), OVER])
    share = totals[order].astype(np.float64)
    held = share > 0
    if np.count_nonzero(held) < 2:
        return scores
    share /= share.sum()
    score = ndtri(np.cumsum(share)[held] - share[held] / 2)
    score = np.interp(np.arange(len(order)), np.flatnonzero(held), score)
    basis = [np.ones(len(order))]
    for degree in range(1, min(DEGREES, int(np.count_nonzero(held)) - 1) + 1):
        power = score**degree
        for lower in basis:
            power = power - (share @ (power * lower)) * lower
        norm = float(share @ power**2)
        if norm < 1e-9:
            break
        basis.append(power / np.sqrt(norm))
        scores[degree - 1, order] = basis[-1]
    return scores


def _dispersion(
    ratio: Floats, rests: Floats, totals: NDArray[np.int64], segments: float
) -> tuple[Floats, Floats, Floats]:
    """[C] long-run variance of segments' sums over that of independent rows; over their own variance; their memory.

    The memory takes the sums as AR(1), their lag-one correlation corrected for its bias (Kendall 1954). All is taken
    some standard errors larger than estimated: fewer, and half-way to one, where no channel looks dependent.
    """
    if segments < ENOUGH:
        ratio = np.maximum(ratio, 1.0)
    rho = np.sum(rests[1:] * rests[:-1], axis=0) / np.maximum(np.sum(rests**2, axis=0), 1e-300)
    caution = CAUTION
    if not _depends(ratio, rho, totals, segments):
        ratio, rho, caution = (1 + ratio) / 2, rho / 2, CAUTION / 4
    rho = np.clip(rho + (1 + 3 * rho) / segments + caution / (4 * np.sqrt(segments)), 0.0, 0.98)
    memory = (1 + rho) / (1 - rho)
    independent = segments / memory
    clumps = totals / np.maximum(ratio * memory, 1.0)[-len(totals) :]  # a slot tells no more than how often it came up
    independent[-len(totals) :] = np.clip(clumps, 1.0, independent[-len(totals) :])
    squares = np.maximum(np.mean(rests**2, axis=0), 1e-300)
    tails = np.maximum(np.mean((rests**2 / squares) ** 2, axis=0) - 1, 2.0)  # of a variance's own variance; normal: 2
    dispersion = np.maximum(ratio * memory * (1 + caution * np.sqrt(tails / independent)), 1.0)
    _borrow(dispersion, totals, len(ratio) - len(totals))
    return dispersion, np.maximum(dispersion / np.maximum(ratio, 1e-12), 1.0), memory


def _log_mean_exp(powers: Floats, weights: Floats) -> Floats:
    """[n] logarithm of the weighted mean over the columns of exp([n, columns])."""
    largest = powers.max(axis=1, keepdims=True)  # else a value far out overflows
    mean: Floats = largest[:, 0] + np.log(np.exp(powers - largest) @ weights / weights.sum())
    return mean


def _busiest(rests: Floats, rows: Floats, expected: Floats) -> float:
    """How much more a third of a season's phases varies than all: where the mean is high, so often is the spread."""
    thirds = np.array_split(np.argsort(expected, kind="stable"), 3)
    variances = [float(np.sum(rests[third] ** 2) / max(np.sum(rows[third]), 1.0)) for third in thirds]
    overall = float(np.sum(rests**2) / np.sum(rows))
    return max(*variances, overall) / overall if overall > 0 else 1.0


def _depends(ratio: Floats, rho: Floats, totals: NDArray[np.int64], segments: float) -> bool:
    """Whether rows look dependent: all channels together tell it far more precisely than each one does."""
    if segments < ENOUGH:
        return True
    common = np.flatnonzero(totals >= RARE) + len(ratio) - len(totals)
    scores = np.arange(len(ratio) - len(totals))
    channels = np.concatenate([scores, common])[ratio[np.concatenate([scores, common])] > 1e-9]
    if not len(channels):
        return False
    independent = np.sqrt(segments * len(channels))
    return bool(
        (ratio[channels].mean() - 1) * independent / np.sqrt(2) > CAUTION
        or (rho[channels].mean() + 1 / segments) * independent > CAUTION
        or ratio[channels].max() > 1 + 4 * np.sqrt(2 / segments)
        or rho[channels].max() > 4 / np.sqrt(segments)
    )


def _borrow(dispersion: Floats, totals: NDArray[np.int64], degrees: int) -> None:
    """Slots that were too rare to show their dispersion are taken as independent; under and over as the tails."""
    known = totals >= RARE
    if degrees:
        tails = degrees + np.flatnonzero(known[:BINS])
        tail = np.concatenate([dispersion[:degrees], dispersion[tails[:1]], dispersion[tails[-1:]]]).max()
    dispersion[degrees:][~known] = 1.0
    if degrees:
        for slot in (UNDER, OVER):
            if not known[slot]:
                dispersion[degrees + slot] = tail


def _empty(degrees: int, slots: int) -> HistogramReference:
    return HistogramReference(
        0.0, 0, np.zeros(slots, np.int64), np.ones(degrees + slots, np.float32),
        np.zeros((1, degrees + slots), np.float32), np.full(degrees, np.inf, np.float32),
        np.full((degrees, len(TILTS)), np.nan, np.float32), np.zeros((degrees, 2, len(TILTS)), np.float32),
    )  # fmt: skip
