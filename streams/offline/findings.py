"""From alarms in a table to alerts with row numbers."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.alerts.book import AlertBook
from penstock.monitoring.alerts.state import Position
from penstock.monitoring.config import AlertsConfig
from penstock.schemas.alerts import Alert
from penstock.streams.offline.row_detectors import RowAlarm

_TOGETHER = 5
"""Alarms within so many segments of each other are one alert."""


@dataclass(frozen=True)
class Finding:
    """An alert with its place in the table; rows count from 1, a header not counted.

    row    at which it was given: the end of its segment, or the very row for errors and joint drift
    began  estimate of the row at which the change began
    alert  its causes, those of single columns first, then by strength
    """

    row: int
    began: int
    alert: Alert


class Findings:
    """Alarms become alerts: those of the segments by a book, those of errors one by one.

    `before` is the number of rows before the stream, for row numbers.
    """

    def __init__(self, before: int, segment_rows: int, rows: int) -> None:
        self._before, self._segment_rows, self._rows = before, segment_rows, rows
        self._book = _book(_TOGETHER)
        self._by_id: dict[str, Finding] = {}
        self._single: list[Finding] = []

    def sorted(self) -> list[Finding]:
        """In the order of their rows."""
        return sorted([*self._by_id.values(), *self._single], key=lambda found: found.row)

    def observe(self, segment: int, alarms: list[Alarm], by_row: list[RowAlarm]) -> None:
        """One more segment, and the alarms by row, of which those within it count."""
        start = segment * self._segment_rows
        end = min(start + self._segment_rows, self._rows)
        placed = [(end - 1, alarm) for alarm in alarms]
        placed += [(row, alarm) for row, alarm in by_row if start <= row < end]
        position = self._position(start, end, segment)
        for alert in self._book.observe([alarm for _, alarm in placed], position=position):
            known = self._by_id.get(alert.id)
            if known is None and placed:
                row, strongest = min(placed, key=lambda each: (each[0], -each[1].strength))
                known = self._found(row, strongest, alert)
            if known is not None:
                self._by_id[alert.id] = Finding(known.row, known.began, _ordered(alert))

    def finish(self) -> None:
        """Bring the alerts that are still open up to date."""
        for alert in self._book.open:
            if (known := self._by_id.get(alert.id)) is not None:
                self._by_id[alert.id] = Finding(known.row, known.began, _ordered(alert))

    def add(self, found: RowAlarm) -> None:
        """An alarm that is an alert of its own."""
        position = self._position(found.row, found.row + 1, found.row // self._segment_rows)
        for alert in _book(1).observe([found.alarm], position=position):
            self._single.append(self._found(found.row, found.alarm, alert))

    def _found(self, row: int, alarm: Alarm, alert: Alert) -> Finding:
        number = self._before + row + 1
        return Finding(number, max(1, self._before + 1, number - max(alarm.since, 1) + 1), alert)

    def _position(self, start: int, end: int, segment: int) -> Position:
        first, last = self._before + start + 1, self._before + end
        return Position(partition=0, segment=segment, first_offset=first, last_offset=last, time=last)


def _ordered(alert: Alert) -> Alert:
    """What a single column shows explains what all of them show together."""
    return msgspec.structs.replace(alert, causes=sorted(alert.causes, key=lambda cause: cause.family == "joint_drift"))


def _book(clear_after: int) -> AlertBook:
    return AlertBook(AlertsConfig(clear_after=clear_after, clear_after_s=0.0, cool_down_s=0.0), pipeline="")
