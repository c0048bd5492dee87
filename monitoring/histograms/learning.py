"""Learns a signal's reference from the stream itself: where none was given, and anew after an alarm."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.histograms.betting import Bets
from penstock.monitoring.histograms.reference import HistogramReference, fit_reference
from penstock.schemas.summaries import FIXED_POINT, Signal, SignalCounts

REBUILDS = (50, 100, 200, 400, 800)
"""Segments from which a reference is built, and at which it is built again."""


class Learner(msgspec.Struct):
    """Keeps the counts of up to `REBUILDS[-1]` segments of one signal, in the smallest integers that hold them.

    So a number's state grows to some 20 kB while it learns (segments of 500 rows); it is 1 kB once it has learnt.

    first   segments before the first reference
    before  the reference that an alarm left behind
    doubt   rows that it took to tell that it no longer holds; on twice as many it may be shown to hold again
    """

    first: int
    counts: list[NDArray[np.unsignedinteger]] = []
    times_ms: list[int] = []
    finite: int = 0
    sum_z: int = 0
    sum_z2: int = 0
    due: bool = False
    before: HistogramReference | None = None
    doubt: int = 0

    def add(self, counts: SignalCounts, time_ms: int) -> None:
        """Take one segment of the signal; `due` tells when to build."""
        size = len(self.counts) + 1
        self.due = self.due or size == self.first or (size > self.first and size in REBUILDS)
        if self.done:
            return
        self.counts.append(counts.slots.astype(np.min_scalar_type(int(counts.slots.max(initial=0)))))
        self.times_ms.append(time_ms)
        self.finite += counts.finite
        self.sum_z += counts.sum_z
        self.sum_z2 += counts.sum_z2

    @property
    def done(self) -> bool:
        """Whether nothing is left to learn."""
        return len(self.counts) >= max(self.first, REBUILDS[-1])

    def is_back(self, signal: Signal, level: float) -> bool:
        """Whether the change was an episode: lately, and for at least half the time, the signal is what it was before.

        Half the `level` (nats, `HistogramMonitor.level`) of evidence against it is enough to say no.
        """
        if self.before is None or len(self.counts) != self.first:
            return False
        bets = Bets()
        bets.add(len(self.counts[0]))
        bets.place(0, signal, self.before)
        quiet = quiet_rows = 0
        for counts, time_ms in zip(self.counts, self.times_ms, strict=True):
            bets.slots[0] = counts
            rows = counts.sum(dtype=np.int64)
            quiet, quiet_rows = quiet + 1, quiet_rows + int(rows)
            if bets.advance(np.array([rows]), time_ms, level / 2)[0] > 0:
                bets.evidence[0] = 0
                quiet = quiet_rows = 0
        return 2 * quiet >= self.first and quiet_rows >= 2 * self.doubt

    def build(self, signal: Signal) -> HistogramReference:
        """The reference of what was learnt so far."""
        self.due = False
        mean, deviation = moments(signal, self.finite, self.sum_z / FIXED_POINT, self.sum_z2 / FIXED_POINT)
        return fit_reference(
            np.stack(self.counts), signal, np.array(self.times_ms, np.int64), mean=mean, deviation=deviation
        )


def moments(signal: Signal, finite: float, sum_z: float, sum_z2: float) -> tuple[float, float]:
    """Mean and standard deviation in the signal's unit from the sums of its standardised values; NaN without any.

    >>> moments(Signal("feature:x", "bins", np.empty(0), centre=10.0, spread=2.0), 4, 4.0, 20.0)
    (12.0, 4.0)
    """
    if not finite:
        return float("nan"), float("nan")
    z = sum_z / finite
    return signal.centre + signal.spread * z, signal.spread * max(sum_z2 / finite - z * z, 0.0) ** 0.5
