"""What was fetched is handed out in order, no more at once than there is room for, however well it was compressed."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from penstock.streams.transport.fetching import CheckedRecords, FetchResults

PLACE = TopicPartition("events", 0)
SIZE, COUNT = 10_000, 100


class Position:
    paused = False
    position = 0

    def consumed_to(self, position: int) -> None:
        self.position = position


class Assignment:
    """Of one partition."""

    def __init__(self) -> None:
        self.active, self.state = True, Position()

    def state_value(self, tp: TopicPartition) -> Position:
        return self.state


def batch(
    base: int, values: Sequence[bytes | None], *, producer: int = -1, transactional: bool = False, control: bool = False
) -> bytes:
    """A batch that begins at offset `base`."""
    builder = DefaultRecordBatchBuilder(2, 0, int(transactional), producer, 0, 0, 1 << 20)
    for number, value in enumerate(values):
        builder.append(number, 0, b"\0\0\0\0" if control else b"key", value, [])
    raw = bytearray(builder.build())
    raw[:8] = base.to_bytes(8, "big")
    if control:
        raw[22] |= 0x20
        raw[17:21] = calc_crc32c(raw[21:]).to_bytes(4, "big")
    return bytes(raw)


LOG = b"".join([
    batch(0, [b"before"] * 3),
    batch(3, [b"asked", None, b""] * 100),
    batch(303, [b"aborted"] * 5, producer=7, transactional=True),
    batch(308, [b"committed"] * 5, producer=8, transactional=True),
    batch(313, [b""], producer=7, transactional=True, control=True),
    batch(320, [b"behind a hole"] * 200, producer=7, transactional=True),
    batch(520, [b""], producer=9, transactional=True, control=True),
])  # fmt: skip


def log_of(raw: bytes, assignment: Assignment) -> Any:
    """What was asked for begins within its first batch."""
    assignment.state.position = 2
    records = PartitionRecords(PLACE, CheckedRecords(raw), [(7, 303)], 2, None, None, True, READ_COMMITTED)
    return FetchResult(PLACE, assignment=assignment, partition_records=records, backoff=0)


@pytest.mark.parametrize(("rows", "size"), [(1, 10**9), (7, 10**9), (130, 10**9), (10**6, 10**9), (10**6, 3), (50, 99)])
def test_the_same_records_come_as_from_aiokafka(rows: int, size: int) -> None:
    stock = [(one.offset, one.value) for one in log_of(LOG, Assignment()).getall()]
    assert [offset for offset, _ in stock] == [*range(2, 303), *range(308, 313), *range(320, 520)]
    results, assignment = FetchResults(), Assignment()
    results[PLACE] = result = log_of(LOG, assignment)
    found = []
    while result.has_more():
        results.hand_out(rows=rows, size=size)
        part = result.getall(None)
        assert part.size == sum(len(one.key or b"") + len(one.value or b"") for one in part)
        assert len(part) <= rows
        assert len(part) < 2 or part.size - len(part[-1].value or b"") - len(part[-1].key) < size
        found += [(one.offset, one.value) for one in part]
        if part and result.has_more():
            assert assignment.state.position == found[-1][0] + 1
    assert found == stock
    assert assignment.state.position == 521, "also behind a marker"


def test_a_damaged_batch_is_not_handed_out() -> None:
    results, assignment = FetchResults(), Assignment()
    results[PLACE] = result = log_of(LOG[:-1] + b"!", assignment)
    results.hand_out(rows=400, size=10**9)
    assert len(result.getall(None)) == 400
    results.hand_out(rows=400, size=10**9)
    with pytest.raises(CorruptRecordException):
        result.getall(None)
    assert assignment.state.position == 414, "it is fetched again"
    results.hand_out(rows=400, size=10**9)
    assert result.getall(None) == []
    assert not result.has_more()


@pytest.mark.parametrize("length", [0, 1, 65_000, 65_536, 200_000])
def test_checksums_of_all_lengths_are_checked(length: int) -> None:
    raw = batch(0, [b"x" * length])
    assert CheckedRecords(raw).next_checked().crc == int.from_bytes(raw[17:21], "big")
    for place in (21, len(raw) // 2 + 15, len(raw) - 1):
        damaged = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        with pytest.raises(CorruptRecordException):
            CheckedRecords(damaged).next_checked()


def test_the_fetcher_makes_records_that_are_checked() -> None:
    assert fetcher.MemoryRecords.__name__ == CheckedRecords.__name__


def test_what_was_handed_out_is_no_garbage() -> None:
    results = FetchResults()
    results[PLACE] = fetched(Assignment())
    results.hand_out(rows=1000, size=10**9)
    records = weakref.ref(results[PLACE]._partition_records)
    assert len(results[PLACE].getall(None)) == COUNT
    assert records() is None, "it is gone without a collection"


def fetched(assignment: Assignment) -> Any:
    """A hundred records of 10 kB in one batch of a few hundred bytes."""
    batch = DefaultRecordBatchBuilder(2, 1, 0, -1, -1, -1, SIZE * COUNT * 2)
    for offset in range(COUNT):
        batch.append(offset, 0, None, b"x" * SIZE, [])
    raw = bytes(batch.build())
    assert len(raw) < SIZE
    records = PartitionRecords(PLACE, CheckedRecords(raw), [], 0, None, None, True, 0)
    return FetchResult(PLACE, assignment=assignment, partition_records=records, backoff=0)


@pytest.mark.parametrize(("rows", "size", "expected"), [(1000, 25_000, 3), (7, 10**9, 7), (1000, 1, 1)])
def test_a_batch_is_handed_out_in_parts_that_fit(rows: int, size: int, expected: int) -> None:
    results, assignment = FetchResults(), Assignment()
    results[PLACE] = result = fetched(assignment)
    offsets: list[int] = []
    while result.has_more():
        results.hand_out(rows=rows, size=size)
        part = result.getall(None)
        assert len(part) <= expected
        offsets += [record.offset for record in part]
        assert assignment.state.position == offsets[-1] + 1, "a rebalance goes on from here"
    assert offsets == list(range(COUNT))


def test_all_partitions_share_the_room() -> None:
    results, other = FetchResults(), TopicPartition("events", 1)
    results[PLACE], results[other] = fetched(Assignment()), fetched(Assignment())
    results.hand_out(rows=1000, size=2 * SIZE)
    assert [len(results[place].getall(None)) for place in (PLACE, other)] == [2, 0]
    assert results[other].has_more()


def test_what_lost_its_partition_is_not_handed_out() -> None:
    results, assignment = FetchResults(), Assignment()
    results[PLACE] = result = fetched(assignment)
    assignment.active = False
    results.hand_out(rows=1000, size=10**9)
    assert result.getall(None) == []
    assert not result.has_more()
