"""Rates of rows that break a rule: outside the catalogue's range, filled with a default, dated in the future."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.judging.watched_numbers import Watch, WatchedNumbers
from penstock.schemas.summaries import Summary

_OUT_OF_RANGE, _DEFAULTED = "out_of_range:", "defaulted:"


def judge_rates(summary: Summary, numbers: WatchedNumbers, rows_before: int) -> list[Alarm]:
    """One segment. A rate is watched from the first row on that breaks its rule: until then there were none."""
    known = {signal for signal in numbers.signals if signal.startswith((_OUT_OF_RANGE, _DEFAULTED))}
    return [
        alarm
        for watch, rows in _broken(summary, known)
        if rows or watch in numbers
        for alarm in numbers.rate(watch, summary.rows, rows, before=rows_before)
    ]


def _broken(summary: Summary, known: Collection[str]) -> Iterator[tuple[Watch, int]]:
    """Every rule that was broken, now or before, and the rows that did."""
    for name, counts in summary.signals.items():
        if (counts.out_of_range or counts.defaulted or known) and name.startswith("feature:"):
            outside, defaulted = (prefix + name.partition(":")[2] for prefix in (_OUT_OF_RANGE, _DEFAULTED))
            yield Watch("data_drift", outside, "out_of_range", "out_of_range"), counts.out_of_range
            yield Watch("data_drift", defaulted, "missing", "missing"), counts.defaulted
    yield Watch("freshness", "bad_time", "rate", "rate"), summary.bad_time
