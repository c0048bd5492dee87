"""Volume: how fast rows come, by event time, partition by partition."""

from __future__ import annotations

import math

import msgspec

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.judging.watched_numbers import Watch, WatchedNumbers
from penstock.schemas.summaries import Summary

_SIGNAL = "rows"
_FEWEST = 16
"""Rows of a part of a segment below which its pace is mostly chance: it is taken together with the next."""


class _Partition(msgspec.Struct, array_like=True):
    """Rows since the newest event time that was judged, Unix ms."""

    newest: int
    rows: int = 0


class Volume(msgspec.Struct):
    """The logarithm of a partition's rows per second, against the same hour of the week.

    Gaps between segments count, so that a partition that falls silent and comes back has been slow.
    """

    partitions: dict[int, _Partition] = {}

    def judge(self, summary: Summary, numbers: WatchedNumbers) -> list[Alarm]:
        """One segment."""
        newest = summary.event_times[1]
        known = self.partitions.get(summary.partition)
        if known is None:
            self.partitions[summary.partition] = _Partition(newest)
            return []
        known.rows += summary.rows
        if known.rows < _FEWEST or newest <= known.newest:
            return []
        per_second = known.rows * 1000 / (newest - known.newest)
        self.partitions[summary.partition] = _Partition(newest)
        watch = Watch("volume", _SIGNAL, "rate", "rows_per_second", shown=_from_log, rows=known.rows)
        return numbers.number(watch, math.log(per_second), newest)


def _from_log(value: float) -> float:
    return math.exp(min(value, 700.0))
