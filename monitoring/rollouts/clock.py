"""Event time as a rollout sees it: how far everything has matured, over all partitions and both kinds of evidence."""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.schemas.summaries import NO_WATERMARK

Source = Literal["paired", "canary"]


class Mark(msgspec.Struct, array_like=True):
    """Of one partition as one reader sees it.

    watermark  no row that is still to come is older, Unix ms of event time
    heard      when its last summary was written, Unix ms
    """

    watermark: int
    heard: int


class MaturityClock(msgspec.Struct):
    """The minimum of the watermarks of all partitions, of paired rows and of served ones, that were heard of lately.

    It depends on the summaries and on when they were written, never on a clock.

    >>> clock = MaturityClock()
    >>> clock.hear("canary", partition=0, watermark=7_000, written=0)
    >>> clock.hear("canary", partition=1, watermark=3_000, written=1_000)
    >>> clock.matured(bucket_ms=1_000, idle_ms=60_000)
    3000
    >>> clock.hear("canary", partition=0, watermark=9_500, written=61_000)  # nobody waits for partition 1 any more
    >>> clock.matured(bucket_ms=1_000, idle_ms=60_000)
    9000
    """

    marks: dict[tuple[Source, int], Mark] = {}
    written: int = 0
    before: int = NO_WATERMARK

    def hear(self, source: Source, *, partition: int, watermark: int, written: int) -> None:
        """A summary of the second reading of a partition's rows."""
        known = self.marks.get((source, partition), Mark(NO_WATERMARK, 0))
        self.marks[source, partition] = Mark(max(known.watermark, watermark), max(known.heard, written))
        self.pass_time(written)

    def pass_time(self, written: int) -> None:
        """Something else was written then."""
        self.written = max(self.written, written)

    def matured(self, *, bucket_ms: int, idle_ms: int) -> int:
        """Every bucket that ends by then is complete: the end of a bucket, Unix ms. It never goes back."""
        awaited = [mark.watermark for mark in self.marks.values() if self.written - mark.heard < idle_ms]
        if awaited and (reached := min(awaited)) > NO_WATERMARK:
            self.before = max(self.before, reached // bucket_ms * bucket_ms)
        return self.before
