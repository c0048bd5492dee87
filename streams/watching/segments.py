"""Cuts the rows of one partition into segments, whatever blocks they come in: scored rows, and paired ones.

A segment is the rows whose offsets share `offset // segment_rows`, so it depends on the data alone. It is complete when
a row beyond it comes, or its last offset; a part of it can be given out before, when a partition is quiet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from penstock.schemas import paired_wire, scored_joining
from penstock.schemas.paired import PairedBlock
from penstock.schemas.scored import ScoredBlock


class Rows(Protocol):
    """Rows of one source partition, in ascending order of offset.

    offsets      [rows] int64, in the events topic
    event_times  [rows] int64 Unix ms
    timestamps   [rows] int64 Unix ms, the broker's
    """

    @property
    def rows(self) -> int: ...
    @property
    def offsets(self) -> NDArray[np.int64]: ...
    @property
    def event_times(self) -> NDArray[np.int64]: ...
    @property
    def timestamps(self) -> NDArray[np.int64]: ...


B = TypeVar("B", bound=Rows)
"""A kind of block."""


class Joiner(NamedTuple, Generic[B]):
    """How blocks of a kind are cut and put together."""

    take: Callable[[B, slice], B]
    joinable: Callable[[B, B], bool]
    join: Callable[[Sequence[B]], B]


SCORED = Joiner[ScoredBlock](ScoredBlock.take, scored_joining.joinable, scored_joining.join)
PAIRED = Joiner[PairedBlock](paired_wire.take, paired_wire.joinable, paired_wire.join)


class Mark(NamedTuple):
    """How far a reader has come: what it keeps in its state.

    offset    the highest source offset that was given out; rows that are not above it came before
    segment   of the last part given out, and
    part      its number
    complete  whether that was the segment's last
    """

    offset: int = -1
    segment: int = -1
    part: int = 0
    complete: bool = True


BEGINNING = Mark()


class Part(NamedTuple, Generic[B]):
    """Rows of one segment that are counted together, and the mark behind them."""

    block: B
    segment: int
    part: int
    complete: bool

    @property
    def mark(self) -> Mark:
        return Mark(int(self.block.offsets[-1]), self.segment, self.part, self.complete)


class SegmentCutter(Generic[B]):
    """Takes blocks of a kind in order and gives parts of segments in order, each row once.

    Blocks may repeat rows, as they do after a crash: what is not above the mark is skipped.
    """

    def __init__(self, joiner: Joiner[B], segment_rows: int, mark: Mark = BEGINNING) -> None:
        self._joiner, self._segment_rows, self.mark = joiner, segment_rows, mark
        self._open: list[tuple[int, B]] = []
        """Records' offsets, and their rows of the open segment."""
        self._seen = mark.offset

    def put(self, block: B, record: int) -> Iterator[Part[B]]:
        """`record` is the offset of the block's record in its log."""
        fresh = int(np.searchsorted(block.offsets, self._seen, side="right"))
        if fresh == block.rows:
            return
        self._seen = int(block.offsets[-1])
        segments = block.offsets // self._segment_rows
        bounds = [fresh, *(np.flatnonzero(np.diff(segments[fresh:])) + fresh + 1).tolist(), block.rows]
        for start, stop in pairwise(bounds):
            rows = block if (start, stop) == (0, block.rows) else self._joiner.take(block, slice(start, stop))
            if self._open:
                held = self._open[-1][1]
                other_segment = int(held.offsets[-1]) // self._segment_rows != int(segments[start])
                if other_segment or not self._joiner.joinable(held, rows):
                    yield self._close(complete=other_segment)
            self._open.append((record, rows))
            if (int(rows.offsets[-1]) + 1) % self._segment_rows == 0:
                yield self._close(complete=True)

    def close_part(self) -> Part[B] | None:
        """What is there of the open segment, as a part of its own; its rest may follow."""
        return self._close(complete=False) if self._open else None

    @property
    def pending(self) -> int:
        """Rows that wait for the rest of their segment."""
        return sum(rows.rows for _, rows in self._open)

    def resume(self, following: int) -> int:
        """The offset in the log to go on from after a restart: that of the oldest record with rows in hand.

        `following` is the offset after the last record that was put.
        """
        return self._open[0][0] if self._open else following

    def _close(self, *, complete: bool) -> Part[B]:
        block = self._joiner.join([rows for _, rows in self._open])
        self._open.clear()
        segment = int(block.offsets[0]) // self._segment_rows
        number = self.mark.part + 1 if self.mark.segment == segment else 0
        part = Part(block, segment, number, complete)
        self.mark = part.mark
        return part
