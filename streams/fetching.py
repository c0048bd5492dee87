"""How much is fetched ahead and handed out at once: aiokafka's fetcher with limits in bytes and rows.

Its own limit is so many bytes for each partition, compressed, and all that was fetched is handed out in one go. With a
hundred partitions, or events that compress well, that is no limit. Here what is fetched ahead is shared by the
partitions, and one handing-out unpacks no more than a window.
"""

from __future__ import annotations

import asyncio
import weakref
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords

FETCHED_BYTES = 32 << 20
"""Fetched ahead over all partitions, as the brokers keep it; a larger record batch comes alone."""

RESPONSE_BYTES = 16 << 20
"""Of one broker's answer, which is in memory three times while it is read."""


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


class LeanRecords(PartitionRecords):
    """Yields aiokafka's compiled records as they are.

    aiokafka copies each into a ConsumerRecord, which costs more than parsing it (1.0 of 1.7 µs). The compiled record
    has offset, timestamp, key, value and headers; topic and partition are the block's.
    """

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record


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
            result._partition_records.__class__ = LeanRecords
            # Of this one only: the fetcher asks for its exact class. A proxy, as a cycle would outlive it by far.
            result.getall = partial(self._unpack, weakref.proxy(result))
        super().__setitem__(tp, result)

    def _unpack(self, result: Any, max_records: int | None = None) -> list[Any]:
        """In place of `FetchResult.getall`, which knows no bytes; what stays is handed out next time."""
        if self._rows <= 0 or self._size <= 0 or not result.check_assignment(None) or not result.has_more():
            return []
        records: list[Any] = []
        rows, size = self._rows, self._size
        for record in result._partition_records._records_iterator:
            records.append(record)
            rows -= 1
            size -= len(record.value or b"") + len(record.key or b"")
            if rows <= 0 or size <= 0:
                result._update_position()
                break
        else:
            result._update_position()
            result._partition_records = None
        self._rows, self._size = rows, size
        return records
