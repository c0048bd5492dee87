"""The detectors that watch what came true: errors, loss, labels that fail to come, slices and gaps."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.monitoring.alarms import Alarm, Family
from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.judging.bucket_tests import AlarmsPerTest, BucketTests
from penstock.monitoring.judging.histogram_families import HistogramFamilies
from penstock.monitoring.judging.known_signals import KnownSignals
from penstock.monitoring.judging.watched_numbers import Watch, WatchedNumbers
from penstock.schemas.quality import QualitySummary
from penstock.schemas.quality_sums import QualitySums, merge_sums
from penstock.schemas.summaries import FIXED_POINT, SignalCounts

RISES = "number_cusum_rises"
_FEWEST = 30
"""Rows of a segment whose mean loss says something."""


class QualitySignals:
    """Judges quality summaries with detectors that the caller keeps: one state, one budget."""

    def __init__(
        self,
        config: LabelsConfig,
        numbers: WatchedNumbers,
        families: HistogramFamilies,
        tests: BucketTests,
    ) -> None:
        self._config, self._numbers, self._families, self._tests = config, numbers, families, tests

    def judge(self, summary: QualitySummary, alarms_per_test: AlarmsPerTest) -> list[Alarm]:
        """One segment's labelled rows."""
        if not summary.rows:
            return []
        alarms = [*self._errors(summary), *self._losses(summary), *self._labels(summary)]
        alarms += self._tests.judge(summary, alarms_per_test)
        return alarms + self._numbers.take_evidence(alarms)

    def _errors(self, summary: QualitySummary) -> Iterator[Alarm]:
        for variant, (rows, wrong) in sorted(summary.errors.items()):
            yield from self._numbers.rate(Watch("concept_drift", f"errors:{variant}", "errors", "errors"), rows, wrong)

    def _losses(self, summary: QualitySummary) -> Iterator[Alarm]:
        totals: dict[str, QualitySums] = {}
        for (_, variant, name), sums in sorted(summary.groups.items()):
            if not name:
                totals[variant] = merge_sums(totals.get(variant, QualitySums()), sums)
        regression = self._config.task == "regression"
        family: Family = "concept_drift" if regression else "quality"
        figure = "mae" if regression else "log_loss"
        for variant, sums in totals.items():
            if sums.rows >= _FEWEST:
                loss = sums.absolute_error if regression else sums.log_loss
                watch = Watch(family, f"{figure}:{variant}", "above", figure, rows=sums.rows)
                mean = loss / FIXED_POINT / sums.rows
                yield from self._numbers.number(watch, mean, summary.event_times[1], default=(RISES,))

    def _labels(self, summary: QualitySummary) -> Iterator[Alarm]:
        if self._config.silence is None:
            watch = Watch("labels", "missing_labels", "missing", "missing")
            yield from self._numbers.rate(watch, summary.rows, summary.missing)
        watch = Watch("labels", "invalid_labels", "invalid", "invalid")
        yield from self._numbers.rate(watch, summary.rows, summary.invalid)
        if delayed := int(summary.delays.sum()):
            counts = {"delay": SignalCounts(summary.delays)}
            yield from self._families.update(counts, rows=delayed, time_ms=summary.event_times[1], known=_unknown)


def _unknown() -> KnownSignals:
    """A profile says nothing of labels' delays."""
    return KnownSignals(None, 1)
