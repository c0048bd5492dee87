"""Rates of rows that break a rule: outside the catalogue's range, filled with a default, dated in the future."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from penstock.monitoring.alarms import Alarm, Aspect, Family
from penstock.monitoring.detectors.errors import BernoulliCUSUM
from penstock.schemas.summaries import Summary


class RateState(msgspec.Struct, array_like=True):
    """In a snapshot: rows of the stream and a detector per signal."""

    rows: int
    detectors: dict[str, bytes]


class Rates:
    """One detector per rule, made when a row first breaks it: until then it has seen rows without any.

    `budget` gives rows per false alarm.
    """

    def __init__(self, budget: Callable[[], float]) -> None:
        self._budget = budget
        self._rows = 0
        self._detectors: dict[str, BernoulliCUSUM] = {}

    def update(self, summary: Summary) -> list[Alarm]:
        """One segment."""
        alarms: list[Alarm] = []
        if not summary.rows:
            return alarms
        broken = {signal: (family, aspect, rows) for signal, family, aspect, rows in _broken(summary)}
        for signal, (_, _, rows) in broken.items():
            if rows and signal not in self._detectors:
                self._detectors[signal] = detector = BernoulliCUSUM(self._budget())
                detector.update_counts(self._rows, 0)
                self.rebudget()
        for signal, detector in self._detectors.items():
            if signal in broken:
                family, aspect, rows = broken[signal]
                detector.update_counts(summary.rows, rows)
                if detector.drift_detected:
                    alarms.append(rate_alarm(family, signal, aspect, detector))
        self._rows += summary.rows
        return alarms

    def rebudget(self) -> None:
        for detector in self._detectors.values():
            detector.false_alarm_every = self._budget() * len(self._detectors)

    def state(self) -> RateState:
        return RateState(self._rows, {signal: detector.snapshot() for signal, detector in self._detectors.items()})

    def restore(self, state: RateState) -> None:
        self._rows = state.rows
        self._detectors = {signal: BernoulliCUSUM.restore(data) for signal, data in state.detectors.items()}


def rate_alarm(
    family: Family, signal: str, aspect: Aspect, detector: BernoulliCUSUM, slice: str | None = None
) -> Alarm:
    """What a detector of rates says now that it has alarmed; the figure bears the name of what is counted."""
    figure = aspect if aspect in ("errors", "missing", "out_of_range") else "rate"
    before, after = ({figure: rate for rate in figures.values()} for figures in (detector.before, detector.after))
    return Alarm(
        family, signal, detector.name, aspect, detector.statistic, detector.threshold,
        before, after, detector.since, slice,
    )  # fmt: skip


def _broken(summary: Summary) -> Iterator[tuple[str, Family, Aspect, int]]:
    """Signal, family, aspect and rows, of every rule that could be broken."""
    for name, counts in summary.signals.items():
        if name.startswith("feature:"):
            subject = name.partition(":")[2]
            yield f"out_of_range:{subject}", "data_drift", "out_of_range", counts.out_of_range
            yield f"defaulted:{subject}", "data_drift", "missing", counts.defaulted
    yield "bad_time", "freshness", "rate", summary.bad_time
