"""What was fetched is handed out in order, no more at once than there is room for, however well it was compressed."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from penstock.streams.fetching import FetchResults

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


def fetched(assignment: Assignment) -> Any:
    """A hundred records of 10 kB in one batch of a few hundred bytes."""
    batch = DefaultRecordBatchBuilder(2, 1, 0, -1, -1, -1, SIZE * COUNT * 2)
    for offset in range(COUNT):
        batch.append(offset, 0, None, b"x" * SIZE, [])
    raw = bytes(batch.build())
    assert len(raw) < SIZE
    records = PartitionRecords(PLACE, MemoryRecords(raw), [], 0, None, None, True, 0)
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
