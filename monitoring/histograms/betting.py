"""The bets of all signals side by side, in padded arrays that one compiled pass goes over per segment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.histograms.reference import (
    DAY_HARMONICS,
    DEGREES,
    WEEK_HARMONICS,
    HistogramReference,
    normal_scores,
)
from penstock.monitoring.histograms.tilts import tilts_of
from penstock.schemas import seasons
from penstock.schemas.summaries import Signal

HARMONICS = 1 + 2 * DAY_HARMONICS + 2 * WEEK_HARMONICS

_jit: Callable[..., Any] = numba.njit(cache=True, nogil=True)


class Bets:
    """Evidence of every bet, and what is needed to add to it. [S] signals, padded to the widest in slots and bets.

    evidence   [S, J] float32: W, nats; never below zero
    age        [S, J] uint32: rows since W left zero
    count      [S] int64: bets of each signal; 0 while it has no reference
    """

    def __init__(self) -> None:
        self.count = np.zeros(0, np.int64)
        self.evidence = np.zeros((0, 0), np.float32)
        self.age = np.zeros((0, 0), np.uint32)
        self.slots = np.zeros((0, 0), np.int64)
        self._degrees = np.zeros(0, np.int64)
        self._terms = np.zeros(0, np.int64)
        self._channel = np.zeros((0, 0), np.int32)
        self._slope = np.zeros((0, 0))
        self._cost = np.zeros((0, 0))
        self._log_weight = np.zeros((0, 0))
        self._scores = np.zeros((0, DEGREES, 0))
        self._limits = np.zeros((0, DEGREES))
        self._means = np.zeros((0, HARMONICS, 0))

    def add(self, slots: int) -> None:
        """Make room for one more signal."""
        signals = len(self.count) + 1
        self._grow(signals, max(slots, self.slots.shape[1]), self.evidence.shape[1])

    def place(self, signal: int, about: Signal, reference: HistogramReference) -> None:
        """Bet against this reference from now on, with no evidence yet."""
        tilts = tilts_of(reference, about)
        scores = normal_scores(reference.totals, about)
        bets, (degrees, slots) = len(tilts.channel), scores.shape
        self._grow(len(self.count), self.slots.shape[1], max(bets, self.evidence.shape[1]))
        self.clear(signal)
        self.count[signal], self._degrees[signal], self._terms[signal] = bets, degrees, len(reference.means)
        for table, values in zip(self._tables, tilts, strict=True):
            table[signal, :bets] = values
        self._scores[signal, :degrees, :slots] = scores
        self._limits[signal, :degrees] = reference.limits
        self._means[signal, : len(reference.means), : degrees + slots] = reference.means

    def clear(self, signal: int) -> None:
        """Bet no more on this signal."""
        self.count[signal] = 0
        self.evidence[signal] = 0
        self.age[signal] = 0

    def advance(self, rows: NDArray[np.int64], time_ms: int, level: float) -> NDArray[np.float64]:
        """Add the segment whose rows per slot are in `slots`.

        Args:
            rows: [S] of each signal.
            time_ms: of the segment's middle.
            level: the threshold of a bet with weight 1, nats.

        Returns [S] how far the best bet is above its threshold, nats; -inf where none has evidence.
        """
        if self._terms.max(initial=1) > 1:
            phase = seasons.basis(np.array([time_ms]), DAY_HARMONICS, WEEK_HARMONICS)[0]
        else:
            phase = np.ones(1)
        excess = np.full(len(rows), -np.inf)
        _advance(
            rows, self.slots, phase, self._terms, self._means, self._degrees, self._scores, self._limits, self.count,
            self._channel, self._slope, self._cost, self._log_weight, level, self.evidence, self.age, excess,
        )  # fmt: skip
        return excess

    def above(self, signal: int, level: float) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Of each of a signal's bets the channel, and how far it is above its threshold, nats."""
        bets = slice(self.count[signal])
        return self._channel[signal, bets], self.evidence[signal, bets] + self._log_weight[signal, bets] - level

    def bet(self, signal: int, place: int, time_ms: int) -> tuple[int, float, float, float, float]:
        """Of one bet: its channel, evidence, log weight, and the channel's mean per row in the reference and lately.

        The latter is over the rows since W left zero: W is the sum of what they won, which tells their mean.
        """
        channel, slope = int(self._channel[signal, place]), float(self._slope[signal, place])
        evidence, rows = float(self.evidence[signal, place]), int(self.age[signal, place])
        phase = seasons.basis(np.array([time_ms]), DAY_HARMONICS, WEEK_HARMONICS)[0][: self._terms[signal]]
        before = float(phase @ self._means[signal, : self._terms[signal], channel])
        change = (evidence / rows + float(self._cost[signal, place])) / slope
        return channel, evidence, float(self._log_weight[signal, place]), before, before + change

    @property
    def _tables(self) -> tuple[NDArray[Any], ...]:
        return self._channel, self._slope, self._cost, self._log_weight

    def _grow(self, signals: int, slots: int, bets: int) -> None:
        if (signals, slots) != self.slots.shape:
            self.count, self._degrees, self._terms = (
                _padded(table, signals) for table in (self.count, self._degrees, self._terms)
            )
            self.slots = _padded(self.slots, signals, slots)
            self._scores = _padded(self._scores, signals, DEGREES, slots)
            self._limits = _padded(self._limits, signals, DEGREES)
            self._means = _padded(self._means, signals, HARMONICS, DEGREES + slots)
        if (signals, bets) != self.evidence.shape:
            self.evidence, self.age = _padded(self.evidence, signals, bets), _padded(self.age, signals, bets)
            self._channel, self._slope, self._cost, self._log_weight = (
                _padded(table, signals, bets) for table in self._tables
            )


def _padded(table: NDArray[Any], *shape: int) -> NDArray[Any]:
    if table.shape == shape:
        return table
    grown = np.zeros(shape, table.dtype)
    grown[tuple(slice(size) for size in table.shape)] = table
    return grown


@_jit
def _advance(
    rows: Any, slots: Any, phase: Any, terms: Any, means: Any, degrees: Any, scores: Any, limits: Any, count: Any,
    channel: Any, slope: Any, cost: Any, log_weight: Any, level: float, evidence: Any, age: Any, excess: Any,
) -> None:  # fmt: skip
    sums = np.empty(scores.shape[1])
    for s in range(len(rows)):
        n = rows[s]
        if n == 0 or count[s] == 0:
            continue
        for d in range(degrees[s]):
            total = 0.0
            for k in range(slots.shape[1]):
                total += slots[s, k] * scores[s, d, k]
            mean = 0.0
            for q in range(terms[s]):
                mean += phase[q] * means[s, q, d]
            limit = limits[s, d] * np.sqrt(n)
            sums[d] = min(max(total - n * mean, -limit), limit)
        for j in range(count[s]):
            c = channel[s, j]
            if c < degrees[s]:
                change = sums[c]
            else:
                mean = 0.0
                for q in range(terms[s]):
                    mean += phase[q] * means[s, q, c]
                change = slots[s, c - degrees[s]] - n * mean
            w = evidence[s, j] + slope[s, j] * change - n * cost[s, j]
            if w <= 0:
                evidence[s, j] = 0.0
                age[s, j] = 0
                continue
            evidence[s, j] = w
            age[s, j] += n
            above = w + log_weight[s, j] - level
            excess[s] = max(above, excess[s])
