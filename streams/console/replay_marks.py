"""Which dead letters were replayed: ranges of offsets, kept in the pipeline's `state` topic.

Per partition of the dead letters one compacted record, key `dead-letters/<partition>`; it is written in the transaction
that sends the letters back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from penstock.schemas.records import SCHEMA_HEADER
from penstock.streams.reading import records

if TYPE_CHECKING:
    from penstock.schemas.topics import Topics
    from penstock.streams.settings import KafkaSettings

REPLAYED_SCHEMA = (SCHEMA_HEADER, b"replayed/1")
_NO_END = 1 << 63


class Marks:
    """Which offsets of one partition were replayed, as ranges over the offsets that exist.

    Two replayed letters with none unreplayed between them share a range, whatever holes lie between: so the ranges are
    few. `see` walks the partition upwards; what was marked earlier stays marked above.

    >>> marks = Marks([(2, 4), (9, 9)])
    >>> 3 in marks, 5 in marks
    (True, False)
    >>> for offset, replayed in [(2, True), (4, True), (7, True), (8, False)]:
    ...     marks.see(offset, replayed)
    >>> marks.ranges()
    [(2, 7), (9, 9)]
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._earlier = sorted(ranges)
        self._walked: list[tuple[int, int]] = []
        self._last_seen = -1
        self._open = False

    def __contains__(self, offset: int) -> bool:
        ranges = self._earlier if offset > self._last_seen else self._walked
        index = bisect_right(ranges, (offset, _NO_END)) - 1
        return index >= 0 and offset <= ranges[index][1]

    def see(self, offset: int, replayed: bool) -> None:
        """The next existing offset, and whether its letter has now been replayed."""
        if replayed and self._open:
            self._walked[-1] = (self._walked[-1][0], offset)
        elif replayed:
            self._walked.append((offset, offset))
        self._open, self._last_seen = replayed, offset

    def ranges(self) -> list[tuple[int, int]]:
        """First and last offset of each range, ascending."""
        above = self._last_seen + 1
        return self._walked + [(max(first, above), last) for first, last in self._earlier if last >= above]


class Replayed(msgspec.Struct):
    """The record in `state`."""

    ranges: list[tuple[int, int]]
    time: int


async def read_marks(kafka: KafkaSettings, topics: Topics) -> defaultdict[int, Marks]:
    """What was replayed so far, by partition of the dead letters."""
    found: dict[int, list[tuple[int, int]]] = {}
    async for record in records(kafka, topics.state.name):
        role, _, partition = (record.key or b"").decode(errors="replace").partition("/")
        if role == topics.dead_letters.role and partition.isdigit() and record.value is not None:
            found[int(partition)] = msgspec.json.decode(record.value, type=Replayed).ranges
    marks: defaultdict[int, Marks] = defaultdict(Marks)
    marks.update({partition: Marks(ranges) for partition, ranges in found.items()})
    return marks
