"""Sums over the latest segments of many signals, at resolutions that coarsen with age."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

LEVELS = 9
PER_LEVEL = 2

ROWS, FINITE, MISSING, SUM_Z, SUM_Z2 = range(5)
WIDTH = 5


class _Bucket(msgspec.Struct, array_like=True):
    level: int
    sums: NDArray[np.float32]


class RecentSums(msgspec.Struct):
    """An exponential histogram (Datar et al. 2002): buckets of 1, 1, 2, 2, 4, 4, … segments up to 2 ** (LEVELS - 1).

    `sums` of a segment is [signals, WIDTH]: rows, finite values, missing, sum of z, sum of z².
    """

    buckets: list[_Bucket] = []

    def add(self, sums: NDArray[np.float32]) -> None:
        """Append one segment; of each size the oldest two beyond `PER_LEVEL` are merged, the very old are forgotten."""
        self.buckets.append(_Bucket(0, sums))
        place = len(self.buckets) - 1
        for level in range(LEVELS):
            first = place
            while first >= 0 and self.buckets[first].level == level:
                first -= 1
            if place - first <= PER_LEVEL:
                return
            oldest = first + 1
            if level == LEVELS - 1:
                del self.buckets[oldest]
                return
            merged = _Bucket(level + 1, self.buckets[oldest].sums + self.buckets[oldest + 1].sums)
            self.buckets[oldest : oldest + 2] = [merged]
            place = oldest

    def over(self, signal: int, rows: int) -> NDArray[np.float64]:
        """[WIDTH] over the signal's latest `rows` rows, as many as whole buckets cover; at least the last that has any.

        >>> recent = RecentSums()
        >>> for _ in range(10):
        ...     recent.add(np.array([[100, 90, 10, 45, 90]], np.float32))
        >>> recent.over(0, 250).tolist()
        [200.0, 180.0, 20.0, 90.0, 180.0]
        """
        total = np.zeros(WIDTH)
        for bucket in reversed(self.buckets):
            sums = bucket.sums[signal]
            if total[ROWS] and total[ROWS] + sums[ROWS] > rows:
                break
            total += sums
        return total

    def widen(self, signals: int) -> None:
        """Make room for signals that were not watched before."""
        for bucket in self.buckets:
            grown = np.zeros((signals, WIDTH), np.float32)
            grown[: len(bucket.sums)] = bucket.sums
            bucket.sums = grown
