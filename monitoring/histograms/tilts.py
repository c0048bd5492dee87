"""The bets that a detector makes against a reference: each is an exponential tilt of one channel."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.alarms import Aspect
from penstock.monitoring.histograms.reference import DEPENDENT, RARE, HistogramReference, cautious
from penstock.schemas.profile import INVALID, MISSING, OVER, UNDER
from penstock.schemas.summaries import Signal

DEGREE_WEIGHTS = (0.5, 0.13, 0.04, 0.03)
TILT_WEIGHTS = (0.1, 0.15, 0.3, 0.3, 0.15)
SYSTEM_WEIGHT = 0.2
SLOT_WEIGHT = 0.1
"""Shares of a signal's false alarms: scores by degree, and within them by tilt; slots that say something is broken; the
other slots."""

SLOT_ODDS = (2.0, 5.0)
SYSTEM_ODDS = (2.0, 10.0)
FALLING_ODDS = 2.5

_ASPECTS: tuple[Aspect, ...] = ("location", "spread", "shape", "shape")
_SYSTEM: dict[int, Aspect] = {UNDER: "below", OVER: "above", MISSING: "missing", INVALID: "invalid"}


class Tilts(NamedTuple):
    """J bets; over a segment of n rows bet j wins slope[j] · D - n · cost[j] nats.

    D is the channel's sum over the rows less its expectation. All arrays [J].

    channel     scores first, then slots
    slope, cost nats
    log_weight  logarithm of the bet's share of the signal's false alarms
    """

    channel: NDArray[np.int32]
    slope: NDArray[np.float64]
    cost: NDArray[np.float64]
    log_weight: NDArray[np.float64]


def system_slots(signal: Signal) -> dict[int, Aspect]:
    """The slots whose rise says that something is broken rather than different."""
    if signal.scale == "categories":
        return {len(signal.values): "unseen", len(signal.values) + 1: "missing"}
    return _SYSTEM


def aspect_of(channel: int, degrees: int, signal: Signal) -> Aspect:
    """What a channel's change is called."""
    if channel < degrees:
        return _ASPECTS[channel]
    other: Aspect = "categories" if signal.scale == "categories" else "shape"
    return system_slots(signal).get(channel - degrees, other)


def plainest(channels: NDArray[np.int32], excess: NDArray[np.float64], degrees: int, whole: Collection[int]) -> int:
    """The bet that explains an alarm best, of those above their threshold: the plain before the strong.

    A shift far out looks to the fourth power like the grossest change of shape. So a slot that holds most rows
    (`whole`) explains more than scores do, and the lowest degree that wins a quarter of what the winner wins more than
    the others.

    Args:
        channels: [J] of the bets.
        excess: [J] nats above their threshold.
        degrees: how many channels are scores.
        whole: system slots that hold half of the last segment.

    >>> excess = np.array([1900.0, 5600.0, 1100.0, -3.0])
    >>> channels = np.array([0, 3, 4 + 33, 1], np.int32)
    >>> plainest(channels, excess, 4, {33}), plainest(channels, excess, 4, ())
    (2, 0)
    """
    told = np.isin(channels, [degrees + slot for slot in whole])
    if (told & (excess > 0)).any():
        return int(np.where(told, excess, -np.inf).argmax())
    for degree in range(degrees):
        of_degree = np.where(channels == degree, excess, -np.inf)
        if of_degree.max(initial=-np.inf) > max(excess.max() * 0.25, 0.0):
            return int(of_degree.argmax())
    return int(excess.argmax())


def tilts_of(reference: HistogramReference, signal: Signal) -> Tilts:
    """All bets on a signal: scores up and down by `TILTS` deviations, slots' odds times 2 and 5, system slots' times 2
    and 10, and odds of slots that hold enough rows divided by 2.5.

    A slot's share is taken `OFF` standard errors larger (falling: smaller) than in the reference; one that held fewer
    than `RARE` rows another three rows larger, so that it may have been just missed; one that held all rows but so few,
    three rows smaller.
    """
    bets: list[tuple[int, float, float, float]] = []
    degrees = len(reference.tilts)
    dispersion = reference.dispersion.astype(np.float64)
    for degree in range(degrees):
        known = np.flatnonzero(~np.isnan(reference.tilts[degree]))
        for side, sign in enumerate((1.0, -1.0)):
            for place in known:
                tilt, cost = float(reference.tilts[degree, place]), float(reference.costs[degree, side, place])
                weight = DEGREE_WEIGHTS[degree] * TILT_WEIGHTS[place] / (2 * sum(TILT_WEIGHTS[: len(known)]))
                bets.append((degree, sign * tilt / dispersion[degree], cost / dispersion[degree], np.log(weight)))
    system = system_slots(signal)
    families: tuple[list[tuple[int, float, float]], list[tuple[int, float, float]]] = ([], [])
    for slot in range(len(reference.totals)):
        is_system = slot in system
        if is_system or reference.totals[slot]:
            families[is_system].extend(_slot_bets(reference, degrees, slot, is_system))
    for family, share in zip(families, (SLOT_WEIGHT, SYSTEM_WEIGHT), strict=True):
        bets += [(*bet, np.log(share / len(family))) for bet in family]
    channel, slope, cost_, log_weight = zip(*bets, strict=True) if bets else ((), (), (), ())
    return Tilts(np.array(channel, np.int32), np.array(slope), np.array(cost_), np.array(log_weight))


def _slot_bets(
    reference: HistogramReference, degrees: int, slot: int, is_system: bool
) -> list[tuple[int, float, float]]:
    channel = degrees + slot
    held, rows = int(reference.totals[slot]), reference.rows
    share, dispersion = float(reference.shares[slot]), float(reference.dispersion[channel])
    parameters = max(int(np.count_nonzero(reference.means[:, channel])), 1)
    error = cautious(reference.segments) * np.sqrt(share * (1 - share) * dispersion * parameters / rows)
    mean = float(reference.means[0, channel])
    swing = float(np.abs(reference.means[1:, channel]).sum())
    high = max(min(share + error + (3 * dispersion / rows if held < RARE else 0.0), 0.95), mean)
    rising = SYSTEM_ODDS if is_system else SLOT_ODDS if dispersion <= DEPENDENT else SLOT_ODDS[:1]
    bets = [(channel, *_bet(np.log(odds), mean, high, swing, dispersion)) for odds in rising if share < 0.9]
    if share * rows / reference.segments > 0.2 and held > RARE:
        unseen = 3 * dispersion / rows if rows - held <= RARE * dispersion else 0.0
        low = min(max(share - error - unseen, 1e-12), mean)
        bets.append((channel, *_bet(-np.log(FALLING_ODDS), mean, low, swing, dispersion)))
    return bets


def _bet(slope: float, mean: float, share: float, swing: float, dispersion: float) -> tuple[float, float]:
    """Slope and cost of a bet on a slot whose share is `share`, give or take a season's `swing`."""
    worst = max(
        float(np.log1p((share + change) * np.expm1(slope)) - slope * (mean + change))
        for change in (-min(swing, share), 0.0, min(swing, 1 - share))
    )
    return slope / dispersion, worst / dispersion
