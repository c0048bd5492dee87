"""How many segments a week has: what turns a budget of false alarms per week into one of segments per alarm."""

from __future__ import annotations

import msgspec

from penstock.schemas.profile import ReferenceProfile

WEEK_MS = 7 * 24 * 3600 * 1000
_HOUR_MS = 3600 * 1000
_GUESS = 10_000.0
"""Segments per week until anything is known: 9 events per second in segments of 512."""


class Pace(msgspec.Struct):
    """Segments per week of event time: the reference's rate first, then the stream's with a memory of a week.

    Thresholds grow with the logarithm of the pace, so that a pace wrong by a half costs hardly anything; what matters
    is that ten times the traffic does not mean ten times the false alarms.

    >>> pace = Pace()
    >>> for minute in range(14 * 24 * 60):
    ...     pace.advance(minute * 60_000)
    >>> round(pace.segments_per_week, -2)
    10100.0
    """

    segments: float = _GUESS * _HOUR_MS / WEEK_MS
    elapsed_ms: float = _HOUR_MS
    newest: int | None = None

    @classmethod
    def of(cls, profile: ReferenceProfile | None, segment_rows: int) -> Pace:
        """That of the reference, as if a day of it had passed; a guess, worth an hour, where it has no times."""
        if profile is None or not len(profile.segment_times):
            return cls()
        elapsed = int(profile.segment_times[-1, 1] - profile.segment_times[0, 0])
        if elapsed <= 0:
            return cls()
        day = 24 * _HOUR_MS
        return cls(profile.rows / segment_rows * day / elapsed, day)

    def advance(self, event_time: int) -> None:
        """One more segment; the newest event so far decides how much time went by, Unix ms."""
        passed = 0 if self.newest is None else max(event_time - self.newest, 0)
        self.newest = event_time if self.newest is None else max(event_time, self.newest)
        kept = 0.5 ** (passed / WEEK_MS)
        self.segments = self.segments * kept + 1
        self.elapsed_ms = self.elapsed_ms * kept + passed

    @property
    def segments_per_week(self) -> float:
        return self.segments / self.elapsed_ms * WEEK_MS
