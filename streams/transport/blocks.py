"""Blocks, how fetched records are cut into them, and which offset may be committed while they are in flight."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

from penstock.schemas.events import ConsumedRecord

_KEY, _VALUE = attrgetter("key"), attrgetter("value")


class Records(list[ConsumedRecord]):
    """Records of which it is known how many bytes their keys and values have: `size`."""

    size = 0


@dataclass(frozen=True, slots=True)
class Block:
    """A run of one partition's records in offset order; offsets have holes where transactions left their markers."""

    topic: str
    partition: int
    records: Sequence[ConsumedRecord]
    size: int
    """Bytes of keys and values."""
    followed: bool = False
    """Another block of the same fetch comes right behind: they may go into one window."""

    @property
    def rows(self) -> int:
        return len(self.records)

    @property
    def last_offset(self) -> int:
        return self.records[-1].offset

    @property
    def next_offset(self) -> int:
        """The offset to commit when the whole block is done."""
        return self.last_offset + 1


def cut(
    topic: str, partition: int, records: Sequence[ConsumedRecord], *, max_rows: int, max_bytes: int
) -> Iterator[Block]:
    """Blocks of at most `max_rows` and `max_bytes`, in order; a record that alone is larger is a block of its own."""
    if isinstance(records, Records) and 0 < len(records) <= max_rows and records.size <= max_bytes:
        yield Block(topic, partition, records, records.size)
        return
    for first in range(0, len(records), max_rows):
        rows = records[first : first + max_rows]
        sizes = [len(record.value or b"") + len(record.key or b"") for record in rows]
        if (size := sum(sizes)) <= max_bytes:
            yield Block(topic, partition, rows, size)
            continue
        start = size = 0
        for position, length in enumerate(sizes):
            if position > start and size + length > max_bytes:
                yield Block(topic, partition, rows[start:position], size)
                start, size = position, 0
            size += length
        yield Block(topic, partition, rows[start:], size)


def size_of(records: Sequence[ConsumedRecord]) -> int:
    """Bytes of keys and values."""
    return sum(map(len, filter(None, map(_VALUE, records)))) + sum(map(len, filter(None, map(_KEY, records))))


class Cut(Protocol):
    """`cut`, or what cuts finer."""

    def __call__(
        self, topic: str, partition: int, records: Sequence[ConsumedRecord], *, max_rows: int, max_bytes: int
    ) -> Iterator[Block]: ...


P = TypeVar("P", bound=Hashable)


class BlockOffsets(Generic[P]):
    """Which blocks of each partition were delivered and which of them are done.

    Blocks are done in any order; what may be committed is the end of the unbroken run of done blocks, oldest first.

    >>> offsets = BlockOffsets()
    >>> for last in (9, 19, 29):
    ...     offsets.delivered("p0", last)
    >>> offsets.done("p0", 19)
    >>> offsets.committable("p0") is None
    True
    >>> offsets.done("p0", 9)
    >>> offsets.committable("p0")
    20
    """

    def __init__(self) -> None:
        self._delivered: defaultdict[P, deque[int]] = defaultdict(deque)
        self._done: defaultdict[P, set[int]] = defaultdict(set)

    def delivered(self, partition: P, last_offset: int) -> None:
        """A block that ends with `last_offset` went out."""
        self._delivered[partition].append(last_offset)

    def done(self, partition: P, last_offset: int) -> None:
        """The block that ends with `last_offset` is finished; one that was forgotten meanwhile is ignored."""
        if last_offset in self._delivered[partition]:
            self._done[partition].add(last_offset)

    def committable(self, partition: P) -> int | None:
        """The offset to commit, if it has moved since the last call."""
        delivered, done, last = self._delivered[partition], self._done[partition], None
        while delivered and delivered[0] in done:
            last = delivered.popleft()
            done.discard(last)
        return None if last is None else last + 1

    def unfinished(self, partition: P) -> bool:
        """Whether a block that was delivered is not done."""
        return any(last not in self._done[partition] for last in self._delivered[partition])

    def forget(self) -> None:
        """After a seek: what was delivered before it does not count any more."""
        self._delivered.clear()
        self._done.clear()


class InFlight(Generic[P]):
    """Rows and bytes of the blocks that were delivered and are not done: all that stages, queues and outputs hold.

    A block that alone is more than the limits goes when nothing else is in flight.

    >>> in_flight = InFlight(max_rows=100, max_bytes=1000)
    >>> in_flight.add(("p0", 9), rows=10, size=900)
    >>> in_flight.has_room(rows=1, size=101), in_flight.has_room(rows=1, size=100)
    (False, True)
    >>> in_flight.remove(("p0", 9))
    >>> in_flight.has_room(rows=1, size=5000)
    True
    """

    def __init__(self, *, max_rows: int, max_bytes: int) -> None:
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._blocks: dict[tuple[P, int], tuple[int, int]] = {}
        self._rows = self._size = 0

    def has_room(self, *, rows: int, size: int) -> bool:
        """Whether a block may go."""
        return not self._blocks or (self._rows + rows <= self._max_rows and self._size + size <= self._max_bytes)

    def add(self, block: tuple[P, int], *, rows: int, size: int) -> None:
        """The block of a partition that ends with an offset goes."""
        self._blocks[block] = rows, size
        self._rows += rows
        self._size += size

    def remove(self, block: tuple[P, int]) -> None:
        """It is done; one that was forgotten meanwhile is ignored."""
        rows, size = self._blocks.pop(block, (0, 0))
        self._rows -= rows
        self._size -= size

    def forget(self) -> None:
        """After a seek: as `BlockOffsets.forget`."""
        self._blocks.clear()
        self._rows = self._size = 0
