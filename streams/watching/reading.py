"""One reading of a log of rows: at once, or a second time when the labels of its rows count.

Pure but for the clock that it is given: blocks go in, in order, and the summaries of segments come out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.quality.outcomes import well_dated
from penstock.schemas.summaries import NO_WATERMARK
from penstock.streams.watching.config import WatchConfig
from penstock.streams.watching.segments import BEGINNING, B, Joiner, Mark, Part, Rows, SegmentCutter

S = TypeVar("S")
"""What is made of a part of a segment."""
S_co = TypeVar("S_co", covariant=True)


class Position(msgspec.Struct, frozen=True):
    """How far a reading has come, as a state keeps it.

    next       record of the log to read next; of a second reading only, as the group's offsets say it of a first one
    mark       how far its rows were summarised
    watermark  of those, Unix ms
    """

    next: int = 0
    mark: Mark = BEGINNING
    watermark: int = NO_WATERMARK


class Dating(NamedTuple):
    """Which times of events are to be trusted, and how far behind the newest one others may come."""

    max_future_ms: int
    max_out_of_order_ms: int

    def well_dated(self, block: Rows) -> NDArray[np.bool_]:
        """[rows] whether an event's time is not too far ahead of its broker timestamp."""
        return block.event_times <= block.timestamps + self.max_future_ms

    def times(self, block: Rows) -> NDArray[np.int64]:
        """[rows] Unix ms of the events; where that is not to be trusted, the broker's timestamp."""
        return well_dated(block.event_times, block.timestamps, self.max_future_ms)

    def watermark(self, block: Rows) -> int:
        """No row is expected any more that is older, once these were read."""
        good = self.well_dated(block)
        return int(block.event_times[good].max()) - self.max_out_of_order_ms if good.any() else NO_WATERMARK


def dated(block: B, written: int, max_future_ms: int) -> B:
    """The rows of a record that the brokers got at `written`, Unix ms.

    No event was there later than its scores. Where its timestamp says so, by more than `max_future_ms`, a producer
    whose clock is ahead has dated both the record and the event: it is taken to be as new as its scores.
    """
    if not block.rows or int(block.timestamps.max()) <= written + max_future_ms:
        return block
    timestamps = np.where(block.timestamps > written + max_future_ms, np.int64(written), block.timestamps)
    return replace(block, timestamps=timestamps)  # type: ignore[type-var]


class Summarise(Protocol[B, S_co]):
    """Makes a summary of a part; None where there is nothing to say. `watermark` is that of the reading after it."""

    def __call__(self, part: Part[B], watermark: int, /) -> S_co | None: ...


class Reading(Generic[B, S]):
    """Rows of one partition's log, each taken once; `summaries` is what was made of them since `give` was called.

    watermark  of the rows that were summarised, Unix ms
    newest     as if all rows that were put were summarised: who waits for it need not wait for a segment's end
    """

    def __init__(
        self,
        joiner: Joiner[B],
        summarise: Summarise[B, S],
        config: WatchConfig,
        *,
        clock: Callable[[], int],
        position: Position,
    ) -> None:
        self._cutter = SegmentCutter(joiner, config.segment_rows, position.mark)
        self._summarise, self._clock, self._segment_max_ms = summarise, clock, config.segment_max_ms
        self.dating = Dating(config.max_future_ms, config.max_out_of_order_ms)
        self.watermark = self.newest = position.watermark
        self.summaries: list[S] = []
        self._opened_at: int | None = None

    def put(self, block: B, record: int) -> None:
        """The rows of the record at offset `record`, in the order of the log; rows that repeat are skipped."""
        before = self._cutter.mark
        for part in self._cutter.put(block, record):
            self._use(part)
        if not self._cutter.pending:
            self._opened_at = None
        elif self._cutter.mark != before or self._opened_at is None:
            self._opened_at = self._clock()
        self.newest = max(self.newest, self.dating.watermark(block))

    def close_quiet_part(self) -> None:
        """Summarise what has waited too long for the rest of its segment."""
        if self._opened_at is not None and self._clock() - self._opened_at >= self._segment_max_ms:
            if (part := self._cutter.close_part()) is not None:
                self._use(part)
            self._opened_at = None

    def give(self) -> list[S]:
        """The summaries, in order; they are not given again."""
        given, self.summaries = self.summaries, []
        return given

    def resume(self, following: int) -> int:
        """The record to go on from after a restart, when `following` would be read next now."""
        return self._cutter.resume(following)

    @property
    def position(self) -> Position:
        return Position(mark=self._cutter.mark, watermark=self.watermark)

    def _use(self, part: Part[B]) -> None:
        watermark = max(self.watermark, self.dating.watermark(part.block))
        summary = self._summarise(part, watermark)
        self.watermark = watermark
        if summary is not None:
            self.summaries.append(summary)


class SecondReading(Reading[B, S]):
    """Rows that were read before, and are put again once their labels count.

    next      the record to read next
    waiting   records that were fetched and are not mature yet, with their offsets
    at_end    every record that the log is known to have was fetched
    """

    def __init__(
        self,
        joiner: Joiner[B],
        summarise: Summarise[B, S],
        config: WatchConfig,
        *,
        clock: Callable[[], int],
        position: Position,
    ) -> None:
        super().__init__(joiner, summarise, config, clock=clock, position=position)
        self.next = position.next
        self.waiting: deque[tuple[B, int]] = deque()
        self.at_end = False

    def put(self, block: B, record: int) -> None:
        super().put(block, record)
        self.next = record + 1

    @property
    def done(self) -> bool:
        """Whether nothing is left to summarise of what the log is known to have."""
        return self.at_end and not self.waiting and not self._cutter.pending

    @property
    def position(self) -> Position:
        return Position(self._cutter.resume(self.next), self._cutter.mark, self.watermark)
