"""Rates of rows that break a rule: outside the catalogue's range, filled with a default, dated in the future."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.watched_numbers import Watch, WatchedNumbers
from penstock.schemas.summaries import Summary


def judge_rates(summary: Summary, numbers: WatchedNumbers, rows_before: int) -> list[Alarm]:
    """One segment. A rate is watched from the first row on that breaks its rule: until then there were none."""
    return [
        alarm
        for watch, rows in _broken(summary)
        if rows or watch in numbers
        for alarm in numbers.rate(watch, summary.rows, rows, before=rows_before)
    ]


def _broken(summary: Summary) -> Iterator[tuple[Watch, int]]:
    """Every rule that could be broken, and the rows that did."""
    for name, counts in summary.signals.items():
        if name.startswith("feature:"):
            subject = name.partition(":")[2]
            yield Watch("data_drift", f"out_of_range:{subject}", "out_of_range", "out_of_range"), counts.out_of_range
            yield Watch("data_drift", f"defaulted:{subject}", "missing", "missing"), counts.defaulted
    yield Watch("freshness", "bad_time", "rate", "rate"), summary.bad_time
