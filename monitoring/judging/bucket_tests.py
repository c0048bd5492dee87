"""Slices that do worse and gaps that widen: one test per closed time bucket, against the buckets before.

A difference between rows of one slice and the rest, taken bucket by bucket, does not mind what all rows share: a bad
day is a bad day for both. Its spread over the buckets before, or its sampling error where that is larger, is what a
new bucket is measured by, in a one-sided t-test for one more value. Buckets follow each other slowly (one a day), so
that thresholds need no sequential correction: the budget is divided by the buckets and the differences that are tested.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec
from scipy.special import stdtr

from penstock.monitoring.alarms import Alarm, Aspect, Family
from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.quality.performance import fairness
from penstock.monitoring.quality.slices import MISSING, OTHER
from penstock.schemas.quality import QualitySummary
from penstock.schemas.quality_sums import Group, QualitySums, decode_groups, encode_groups, merge_groups
from penstock.schemas.summaries import FIXED_POINT

DETECTOR = "bucket_test"
AlarmsPerTest = Callable[[Family], float]
_FEWEST_BUCKETS = 8
_FEWEST_ROWS = 30
_MEMORY = 60
"""Buckets that a baseline remembers; what is older fades."""
_OPEN_BUCKETS = 400
_LAGGARD = 3
"""A partition so many buckets behind the newest is silent: nobody waits for it."""


class Series(msgspec.Struct, array_like=True):
    """The mean and the spread of a difference over buckets, and the mean of the figure that people are shown."""

    buckets: float = 0.0
    mean: float = 0.0
    squares: float = 0.0
    figure: float = 0.0

    def add(self, difference: float, figure: float) -> None:
        """One more bucket (Welford 1962; with exponential forgetting beyond `_MEMORY`)."""
        if self.buckets >= _MEMORY:
            self.squares *= (_MEMORY - 1) / self.buckets
            self.buckets = _MEMORY - 1.0
        self.buckets += 1
        off = difference - self.mean
        self.mean += off / self.buckets
        self.squares += off * (difference - self.mean)
        self.figure += (figure - self.figure) / self.buckets

    def evidence(self, difference: float, variance: float) -> float:
        """-ln p of a bucket whose difference is this much larger; 0 while too little is known.

        >>> series = Series()
        >>> for value in (0.1, -0.1) * 10:
        ...     series.add(value, value)
        >>> series.evidence(0.0, 0.001) < 1 < 10 < series.evidence(1.0, 0.001)
        True
        """
        if self.buckets < _FEWEST_BUCKETS:
            return 0.0
        spread = max(self.squares / (self.buckets - 1), variance, 1e-12) * (1 + 1 / self.buckets)
        p = float(stdtr(self.buckets - 1, (self.mean - difference) / math.sqrt(spread)))
        return -math.log(max(p, 1e-300))


class _Difference(NamedTuple):
    """What is tested in one bucket. `key` names its series."""

    key: str
    value: float
    variance: float
    family: Family
    signal: str
    aspect: Aspect
    slice: str
    figure: str
    shown: float
    beside: dict[str, float]


class BucketState(msgspec.Struct):
    """In a snapshot."""

    watermarks: dict[int, int]
    groups: bytes
    closed: int
    series: dict[str, Series]


class BucketTests:
    """The slices of every variant, and the gaps between groups, at the end of each bucket."""

    def __init__(self, config: LabelsConfig) -> None:
        self._config = config
        self._width = max(1, round(config.bucket_s * 1000))
        self._watermarks: dict[int, int] = {}
        self._groups: dict[Group, QualitySums] = {}
        self._closed = -(2**62)
        self._series: dict[str, Series] = {}

    def judge(self, summary: QualitySummary, alarms_per_test: AlarmsPerTest) -> list[Alarm]:
        """One more summary; alarms come with the first one that shows a bucket to be complete.

        `alarms_per_test` is what one test of a family may have of false ones.
        """
        if not self._config.slices:
            return []
        new = {group: sums for group, sums in summary.groups.items() if group[0] > self._closed}
        self._groups = merge_groups(self._groups, new)
        known = self._watermarks.get(summary.partition, summary.watermark)
        self._watermarks[summary.partition] = max(known, summary.watermark)
        newest = max(self._watermarks.values())
        waited_for = (mark for mark in self._watermarks.values() if mark > newest - _LAGGARD * self._width)
        complete = min(waited_for) - self._width
        waiting = sorted({bucket for bucket, _, _ in self._groups})
        too_many = len(waiting) - _OPEN_BUCKETS
        return [
            alarm
            for place, bucket in enumerate(waiting)
            if bucket <= complete or place < too_many
            for alarm in self._close(bucket, alarms_per_test)
        ]

    @property
    def sizes(self) -> Counter[Family]:
        """How many differences of each family are tested."""
        return Counter("fairness" if key.count("\x00") > 1 else "quality" for key in self._series)

    @property
    def size(self) -> int:
        return len(self._series)

    def _close(self, bucket: int, alarms_per_test: AlarmsPerTest) -> list[Alarm]:
        within: dict[str, dict[str, QualitySums]] = {}
        for group in [group for group in self._groups if group[0] == bucket]:
            within.setdefault(group[1], {})[group[2]] = self._groups.pop(group)
        self._closed = max(self._closed, bucket)
        alarms = []
        for each in [each for variant, slices in sorted(within.items()) for each in self._differences(variant, slices)]:
            series = self._series.setdefault(each.key, Series())
            threshold = -math.log(alarms_per_test(each.family))
            evidence = series.evidence(each.value, each.variance)
            if evidence <= threshold or each.value <= 0:
                series.add(each.value, each.shown)
                continue
            before, after = {each.figure: series.figure}, {each.figure: each.shown, **each.beside}
            alarms.append(
                Alarm(
                    each.family, each.signal, DETECTOR, each.aspect, evidence, threshold,
                    before, after, slice=each.slice,
                )
            )  # fmt: skip
            self._series[each.key] = Series()
        return alarms

    def _differences(self, variant: str, slices: Mapping[str, QualitySums]) -> Iterator[_Difference]:
        whole = slices.get("")
        for name, sums in sorted(slices.items()):
            if name and whole is not None and min(sums.rows, whole.rows - sums.rows) >= _FEWEST_ROWS:
                yield self._worse(variant, name, sums, whole)
        if self._config.task == "binary":
            for feature in self._config.groups:
                yield from _gaps(variant, feature, slices)

    def _worse(self, variant: str, name: str, sums: QualitySums, whole: QualitySums) -> _Difference:
        figure = "mae" if self._config.task == "regression" else "errors"
        here, here_variance = self._loss(sums.rows, sums.correct, sums.absolute_error, sums.squared_error)
        rest, rest_variance = self._loss(
            whole.rows - sums.rows,
            whole.correct - sums.correct,
            whole.absolute_error - sums.absolute_error,
            whole.squared_error - sums.squared_error,
        )
        key = f"{variant}\x00{name}"
        return _Difference(
            key, here - rest, here_variance + rest_variance, "quality", f"{figure}:{variant}", "errors", name,
            figure, here, {"rest": rest},
        )  # fmt: skip

    def _loss(self, rows: int, correct: int, absolute_error: int, squared_error: int) -> tuple[float, float]:
        """The mean loss of some rows, and the variance of that mean."""
        if self._config.task == "regression":
            mean = absolute_error / FIXED_POINT / rows
            return mean, max(squared_error / FIXED_POINT / rows - mean**2, 0.0) / rows
        shrunk = (rows - correct + 1) / (rows + 2)
        return 1 - correct / rows, shrunk * (1 - shrunk) / (rows + 2)

    def state(self) -> BucketState:
        return BucketState(self._watermarks, encode_groups(self._groups), self._closed, self._series)

    def restore(self, state: BucketState) -> None:
        self._watermarks, self._closed, self._series = state.watermarks, state.closed, state.series
        self._groups = decode_groups(state.groups)


def _gaps(variant: str, feature: str, slices: Mapping[str, QualitySums]) -> Iterator[_Difference]:
    values = {name.partition("=")[2]: sums for name, sums in slices.items() if name.startswith(f"{feature}=")}
    groups = {
        value: sums for value, sums in values.items() if value not in (OTHER, MISSING) and sums.rows >= _FEWEST_ROWS
    }
    for measure, gap in fairness(groups).items():
        high, low = gap.rates
        yield _Difference(
            f"{variant}\x00{feature}\x00{measure}", gap.gap, gap.standard_error**2, "fairness", f"{measure}:{variant}",
            "above", f"{feature}={gap.lowest}", "gap", gap.gap, {"lowest": low, "highest": high},
        )  # fmt: skip
