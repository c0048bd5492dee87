"""The second readings of a worker: each row once it is mature, from where the state stands, whoever owned it before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from paired_rows import candidate, paired_rows
from scored_rows import scored_rows

from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.counting.binning import Binning
from penstock.schemas.scored import ScoredBlock
from penstock.streams.watching.config import WatchConfig
from penstock.streams.watching.partition import PartitionWatch
from penstock.streams.watching.second_reader import SecondReader

HERE = 2
SCORED, SHADOW = TopicPartition("scored", HERE), TopicPartition("shadow-scores", HERE)
CONFIG = WatchConfig(4, 60_000, 0, 5_000, LabelsConfig(maturity_s=10))


@dataclass
class Record:
    offset: int
    block: Any


@dataclass
class RecordedLogs:
    """A consumer of logs that are there already; `during_fetch` happens while a fetch is under way."""

    logs: dict[TopicPartition, list[Record]]
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    during_fetch: Callable[[], None] = lambda: None

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.positions = dict.fromkeys(partitions, 0)

    def unsubscribe(self) -> None:
        self.positions = {}

    def assignment(self) -> set[TopicPartition]:
        return set(self.positions)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self.positions[tp]

    def last_stable_offset(self, tp: TopicPartition) -> int:
        return len(self.logs[tp])

    async def getmany(self, *hungry: TopicPartition, timeout_ms: int, max_records: int) -> dict[Any, list[Record]]:
        self.during_fetch()
        found = {tp: self.logs[tp][self.positions[tp] :][:max_records] for tp in hungry}
        for tp, records in found.items():
            self.positions[tp] += len(records)
        return {tp: records for tp, records in found.items() if records}


def binning(block: ScoredBlock) -> Binning:
    return Binning.of(block.columns.layout, block.aged, None, reference="")


def watching(state: dict[str, bytes] | None = None) -> PartitionWatch:
    return PartitionWatch(HERE, CONFIG, binning=binning, clock=lambda: 0, state=state or {})


def logs(records: int = 3) -> RecordedLogs:
    """A segment in each record, a second apart."""
    scored, shadow = [], []
    for number in range(records):
        times = [1_000 * number] * 4
        scored.append(Record(number, scored_rows([0.9] * 4, event_times=times, first_offset=4 * number)))
        paired = paired_rows([0.9] * 4, candidate([0.8] * 4), event_times=times, first_offset=4 * number)
        shadow.append(Record(number, paired))
    return RecordedLogs({SCORED: scored, SHADOW: shadow})


class Labels:
    are_read = True

    async def __call__(self, partition: int) -> bool:
        return self.are_read


def reader_of(consumer: RecordedLogs, labels: Labels) -> SecondReader:
    return SecondReader(
        consumer, (SCORED.topic, SHADOW.topic), decode=lambda topic, partition, record: record.block,
        labels_are_read=labels,
    )  # fmt: skip


def segments(watch: PartitionWatch) -> tuple[list[int], list[int]]:
    return [q.segment for q in watch.scored_again.summaries], [c.segment for c in watch.paired_again.summaries]


async def read_all(reader: SecondReader) -> None:
    while await reader.read():
        pass


def pass_events_until(watch: PartitionWatch, time: int) -> None:
    watch.scored.put(scored_rows([0.9], event_times=[time], first_offset=10**6 + time), 99)


async def test_rows_of_both_logs_are_put_when_they_are_mature_and_the_labels_are_read() -> None:
    labels, watch = Labels(), watching()
    reader = reader_of(logs(), labels)
    reader.assign({HERE: watch})
    await read_all(reader)
    assert segments(watch) == ([], [])
    labels.are_read = False
    pass_events_until(watch, 11_000)
    await read_all(reader)
    assert segments(watch) == ([], []), "their labels may still come"
    labels.are_read = True
    await read_all(reader)
    assert segments(watch) == ([0, 1], [0, 1])
    assert not watch.paired_again.done
    pass_events_until(watch, 12_000)
    await read_all(reader)
    assert segments(watch) == ([0, 1, 2], [0, 1, 2])
    assert watch.paired_again.done


async def test_a_partition_that_is_given_anew_during_a_fetch_goes_on_where_its_state_stands() -> None:
    consumer, first, second = logs(40), watching(), watching()
    reader = reader_of(consumer, Labels())
    for watch in (first, second):
        pass_events_until(watch, 60_000)
    reader.assign({HERE: first})
    await reader.read()
    await reader.read()
    assert len(first.paired_again.summaries) == 16

    def given_anew() -> None:
        consumer.during_fetch = lambda: None
        reader.assign({HERE: second})

    consumer.during_fetch = given_anew
    await read_all(reader)
    assert segments(second) == (list(range(40)), list(range(40)))


async def test_a_silent_log_is_at_its_end() -> None:
    consumer, watch = logs(), watching()
    consumer.logs[SHADOW] = []
    reader = reader_of(consumer, Labels())
    reader.assign({HERE: watch})
    known = [watch.paired_again.done]
    await reader.read()
    known.append(watch.paired_again.done)
    assert known == [False, True], "nobody knows before the first fetch"
    reader.assign({})
    assert not await reader.read()
