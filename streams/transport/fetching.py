"""How much is fetched ahead and handed out at once: aiokafka's fetcher with limits in bytes and rows.

Its own limit is so many bytes for each partition, compressed, and all that was fetched is handed out in one go. With a
hundred partitions, or events that compress well, that is no limit. Here what is fetched ahead is shared by the
partitions, and one handing-out unpacks no more than a window.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

import google_crc32c
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher as driver
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords

from penstock.streams.transport.blocks import Records, size_of

FETCHED_BYTES = 32 << 20
"""Fetched ahead over all partitions, as the brokers keep it; a larger record batch comes alone."""

RESPONSE_BYTES = 16 << 20
"""Of one broker's answer, which is in memory three times while it is read."""

_STRETCH, _STRETCH_BYTES = 128, 64 << 10
"""Records, and about so many bytes, that are unpacked together: what does not fit any more waits for its turn."""

_LENGTH, _HEAD, _CHECKED = 8, 12, 21
"""Of a record batch: where its length stands, what the length counts from, and what the checksum does."""

_CRC32C_MAGIC = 2
"""Batches of this version have a CRC-32C; those before it, which no broker of today writes, another sum."""

_CHECKED_BYTES = 64 << 10


def share(fetch_bytes: int, partitions: int) -> int:
    """Bytes to fetch ahead of each of `partitions`, `fetch_bytes` at most.

    >>> share(4 << 20, 4) == 4 << 20, share(4 << 20, 100)
    (True, 335544)
    """
    return min(fetch_bytes, FETCHED_BYTES // max(partitions, 1))


async def end_fetches(consumer: AIOKafkaConsumer) -> None:
    """End what fetches for `consumer`; only `stop` is left to call.

    aiokafka's own `stop` is itself cancelled by a fetch that waits to try again, as each does that finds no broker.
    """
    fetcher = consumer._fetcher
    ending = {fetcher._fetch_task, *fetcher._pending_tasks}
    for task in ending:
        task.cancel()
    await asyncio.wait(ending)
    fetcher._pending_tasks.clear()


class CheckedRecords(MemoryRecords):
    """Record batches whose checksums are computed by the processor's own instruction, as aiokafka's are not."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._data, self._next = data, 0

    def next_checked(self) -> Any:
        """The next batch. Raises CorruptRecordException where its checksum does not match."""
        data, start = self._data, self._next
        batch = self.next_batch()
        self._next = stop = start + _HEAD + int.from_bytes(data[start + _LENGTH : start + _HEAD], "big")
        if batch.magic < _CRC32C_MAGIC or google_crc32c.implementation != "c":
            whole = batch.validate_crc()
        else:
            found = 0
            for place in range(start + _CHECKED, stop, _CHECKED_BYTES):  # it takes bytes only: copies that caches hold
                found = google_crc32c.extend(found, data[place : min(place + _CHECKED_BYTES, stop)])
            whole = found == batch.crc
        if not whole:
            raise CorruptRecordException(f"The checksum of a batch at offset {batch.base_offset} does not match")
        return batch


driver.MemoryRecords = CheckedRecords  # the fetcher wraps in it what a broker answers


class LeanRecords(PartitionRecords):
    """Hands out aiokafka's compiled records as they are, many at a time.

    aiokafka copies each into a ConsumerRecord, which costs more than parsing it, and yields it by itself. The compiled
    record has offset, timestamp, key, value and headers; topic and partition are the block's.
    """

    _stretches: Iterator[list[Any]] | None = None
    _left: list[Any] | None = None
    _count = 1
    exhausted = False
    """There are no more."""

    def take(self, rows: int, size: int) -> Records:
        """The next records in order, so many rows and bytes at most and one record more than fits.

        `next_fetch_offset` stands behind what was taken.
        """
        if self._stretches is None:
            self._stretches = self._unpack_stretches()
        taken = Records()
        while taken.size < size and (room := rows - len(taken)) > 0:
            stretch: list[Any] | None = self._left or next(self._stretches, None)
            if stretch is None:
                self.exhausted = True
                break
            fits, self._left = stretch[:room], stretch[room:]
            if (found := size_of(fits)) >= size - taken.size:
                fits, self._left, found = _divided(stretch, room, size - taken.size)
            if fits:
                taken += fits
                taken.size += found
                self.next_fetch_offset = fits[-1].offset + 1
                self._count = max(1, min(_STRETCH, _STRETCH_BYTES * len(fits) // (found or 1)))
        return taken

    def _unpack_stretches(self) -> Iterator[list[Any]]:
        """As aiokafka's `_unpack_records`, a stretch at a time."""
        while self._records.has_next():
            batch = self._records.next_checked()
            if not self._is_skipped(batch):
                records = chain(batch)  # for a batch lets itself be iterated only once
                while stretch := list(islice(records, self._count)):
                    if stretch[0].offset < self.next_fetch_offset:  # of a batch that begins before what was asked for
                        stretch = [record for record in stretch if record.offset >= self.next_fetch_offset]
                    yield stretch
            self.next_fetch_offset = batch.next_offset

    def _is_skipped(self, batch: Any) -> bool:
        """Markers of transactions, and what belongs to aborted ones."""
        if self._isolation_level == READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and self._contains_abort_marker(batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        return bool(batch.is_control_batch)


def _divided(records: list[Any], rows: int, size: int) -> tuple[list[Any], list[Any], int]:
    """The first ones up to the limits, with the one that reaches them; the others; bytes of the first."""
    found = 0
    for number, record in enumerate(records[:rows], 1):
        found += size_of([record])
        if found >= size:
            return records[:number], records[number:], found
    return records[:rows], records[rows:], found


class FetchResults(dict[Any, Any]):
    """What the fetcher holds per partition; every result that enters yields lean records, and no more than there is
    room for: `hand_out` says so before each call of `fetched_records`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hand_out(rows=0, size=0)

    def hand_out(self, *, rows: int, size: int) -> None:
        """So many rows and bytes at most from now on, and one record more than fits."""
        self._rows, self._size = rows, size

    def __setitem__(self, tp: Any, result: Any) -> None:
        if isinstance(result, FetchResult):
            records = result._partition_records
            records.__class__ = LeanRecords
            records._records_iterator = None  # never asked, it would hold the records, and they it
            # Of this one only: the fetcher asks for its exact class. A proxy, as a cycle would outlive it by far.
            result.getall = partial(self._unpack, weakref.proxy(result))
        super().__setitem__(tp, result)

    def _unpack(self, result: Any, max_records: int | None = None) -> Sequence[Any]:
        """In place of `FetchResult.getall`, which knows no bytes; what stays is handed out next time."""
        if self._rows <= 0 or self._size <= 0 or not result.check_assignment(None) or not result.has_more():
            return []
        taken: Records = result._partition_records.take(self._rows, self._size)
        result._update_position()
        if result._partition_records.exhausted:
            result._partition_records = None
        self._rows -= len(taken)
        self._size -= taken.size
        return taken
