"""One partition of watch: what is mature, whose labels are whose, and what a restart remembers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
from scored_rows import scored_rows

from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.counting.binning import Binning
from penstock.schemas.labels import encode_watermark
from penstock.schemas.records import Label, Source
from penstock.schemas.scored import ScoredBlock
from penstock.streams.partitioners import partition_of
from penstock.streams.watching.config import WatchConfig
from penstock.streams.watching.partition import PartitionWatch
from penstock.streams.watching.reading import dated

HERE, PARTITIONS = 2, 4
MATURITY_S = 10
CONFIG = WatchConfig(4, 60_000, 1_000, 5_000, LabelsConfig(maturity_s=MATURITY_S), PARTITIONS)


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


@dataclass
class Record:
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 1_000_000


def label(name: str, key: bytes | None = None, **fields: Any) -> Record:
    return Record(msgspec.json.encode(Label(name, 1.0, 1_000, **fields)), key)


def binning(block: ScoredBlock) -> Binning:
    return Binning.of(block.columns.layout, block.aged, None, reference="")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def watching(clock: Clock, config: WatchConfig = CONFIG, state: dict[str, bytes] | None = None) -> PartitionWatch:
    return PartitionWatch(HERE, config, binning=binning, clock=clock, state=state or {})


def test_rows_are_mature_when_the_watermark_is_so_far_past_them(clock: Clock) -> None:
    watch = watching(clock)
    early = scored_rows([0.5] * 2, event_times=[0, 1_000])
    watch.scored.put(early, 0)
    assert not watch.is_mature(early)
    watch.scored.put(scored_rows([0.5], event_times=[11_999], first_offset=2), 1)
    assert not watch.is_mature(early), "a row may be a second out of order"
    watch.scored.put(scored_rows([0.5], event_times=[12_000], first_offset=3), 2)
    assert watch.is_mature(early)


def test_a_producer_whose_clock_is_ahead_moves_no_watermark(clock: Clock) -> None:
    """It dates its events and their records alike; but the log, which the brokers date, says when they were scored."""
    rows = scored_rows([0.5] * 2, event_times=[1_000, 90_000_000])
    ahead = replace(rows, timestamps=rows.event_times)
    read = dated(ahead, 2_000, CONFIG.max_future_ms)
    watch = watching(clock)
    watch.scored.put(read, 0)

    assert read.timestamps.tolist() == [1_000, 2_000]
    assert watch.scored.newest == 0, "a second out of order"
    assert dated(ahead, 90_000_000, CONFIG.max_future_ms) is ahead


def test_where_labels_have_watermarks_those_decide(clock: Clock) -> None:
    watch = watching(clock)
    rows = scored_rows([0.5], event_times=[1_000])
    watch.labels.put([Record(encode_watermark(10_999)[0])])
    watch.scored.put(scored_rows([0.5], event_times=[10**9]), 0)
    assert not watch.is_mature(rows)
    watch.labels.put([Record(encode_watermark(90_000_000)[0])])
    assert not watch.is_mature(rows), "nobody can have sent the labels of tomorrow"
    watch.labels.put([Record(encode_watermark(11_000)[0])])
    assert watch.is_mature(rows)


def test_labels_of_other_partitions_are_sent_on(clock: Clock) -> None:
    watch = watching(clock)
    there = label("a", source=Source(3, 7))
    watch.labels.put([there, label("b", source=Source(HERE, 8)), label("c"), label("d", source=Source(99, 1))])
    assert [(stray.partition, stray.record) for stray in watch.labels.strays] == [(3, there)]


def test_labels_are_sent_on_by_key_where_the_partitioner_is_declared(clock: Clock) -> None:
    watch = watching(clock, CONFIG._replace(partitioner="crc32"))
    keys = [b"flight-%d" % number for number in range(8)]
    records = [label(key.decode(), key) for key in keys]
    watch.labels.put([*records, label("no key")])
    expected = [(partition_of(key, PARTITIONS, "crc32"), record) for key, record in zip(keys, records, strict=True)]
    assert [(stray.partition, stray.record) for stray in watch.labels.strays] == [p for p in expected if p[0] != HERE]


def test_a_quiet_partition_is_summarised_in_parts(clock: Clock) -> None:
    watch = watching(clock)
    watch.scored.put(scored_rows([0.5] * 2), 0)
    clock.now = 59_999
    watch.pass_time()
    assert watch.scored.summaries == []
    clock.now = 60_000
    watch.pass_time()
    watch.scored.put(scored_rows([0.5] * 2, first_offset=2), 1)
    assert [(s.segment, s.part, s.complete, s.rows) for s in watch.scored.summaries] == [
        (0, 0, False, 2),
        (0, 1, True, 2),
    ]


def test_a_label_is_kept_until_its_event_was_read_again(clock: Clock) -> None:
    kept_s = 100
    watch = watching(clock, CONFIG._replace(labels=LabelsConfig(maturity_s=MATURITY_S, retention_s=kept_s)))
    early = scored_rows([0.9] * 4, event_times=[1_000] * 4)
    watch.labels.put([label("event-0")])
    watch.scored.put(early, 0)
    watch.scored.put(scored_rows([0.9], event_times=[10**9], first_offset=4), 1)
    watch.pass_time()  # the first reading is far ahead, as after a long stop
    watch.scored_again.put(early, 0)
    assert [quality.labelled for quality in watch.scored_again.summaries] == [1]


def test_a_restart_counts_no_row_and_no_label_twice(clock: Clock) -> None:
    blocks = [scored_rows([0.9] * 3, event_times=[1_000] * 3, first_offset=3 * n) for n in range(4)]
    watch = watching(clock)
    watch.labels.put([label(f"event-{offset}") for offset in range(9)])
    for record, block in enumerate(blocks[:3]):
        watch.scored.put(block, record)
    watch.scored_again.put(blocks[0], 0)
    watch.scored_again.put(blocks[1], 1)
    state = {name: value for name, value in watch.changes().items() if value is not None}
    assert watch.changes() == {}, "what was told is not told again"

    restarted = watching(clock, state=state)
    resumed, again = watch.scored.resume(3), restarted.scored_again.next
    for record in range(resumed, 4):
        restarted.scored.put(blocks[record], record)
    for record in range(again, 4):
        restarted.scored_again.put(blocks[record], record)
    assert [s.segment for s in watch.scored.summaries + restarted.scored.summaries] == [0, 1, 2]
    assert [s.rows for s in watch.scored.summaries + restarted.scored.summaries] == [4, 4, 4]
    qualities = watch.scored_again.summaries + restarted.scored_again.summaries
    assert [(q.segment, q.rows, q.labelled) for q in qualities] == [(0, 4, 4), (1, 4, 4), (2, 4, 1)]
