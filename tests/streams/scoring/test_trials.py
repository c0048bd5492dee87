"""What is noted in Kafka, and when: nothing per window, and before each trial of what is suspected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from faust.types import TP

from penstock.monitoring.metrics.score import ScoreMetrics
from penstock.streams.delivery import Outputs
from penstock.streams.scoring.crashes import Note
from penstock.streams.scoring.trials import Trials
from penstock.streams.transport.blocks import Block

ZERO, ONE = TP("events", 0), TP("events", 1)
GENERATION = 7


@dataclass
class Record:
    offset: int
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = b"{}"
    headers: tuple[tuple[str, bytes], ...] = ()


class Kafka:
    """Remembers what was committed with each partition, as the group coordinator does."""

    def __init__(self, **notes: Note) -> None:
        self.written: list[tuple[int, int, Note]] = []
        """Partition, offset and note, in order."""
        self.beside = {TP("events", int(name[1:])): note.text() for name, note in notes.items()}
        self.more_waits = True
        self.owned = True
        self.metrics = ScoreMetrics("test")

    async def notes(self, partitions: Iterable[TP]) -> Mapping[TP, str]:
        return {tp: self.beside[tp] for tp in partitions if tp in self.beside}

    async def deliver(self, outputs: Outputs) -> None:
        raise AssertionError("trials go alone")

    async def deliver_alone(self, outputs: Outputs, note: str) -> bool:
        if self.owned:
            self.written.append((outputs.tp.partition, outputs.next_offset, Note.read(note)))
        return self.owned

    @property
    def suspected(self) -> float:
        [line] = [
            line
            for line in self.metrics.exposition().decode().splitlines()
            if line.startswith("penstock_suspected_partitions{")
        ]
        return float(line.split()[-1])


async def trials_on(kafka: Kafka) -> Trials:
    trials = Trials(
        max_rows=64,
        max_crashes=2,
        notes=kafka.notes,
        waits=lambda tp: kafka.more_waits,
        delivery=kafka,
        metrics=kafka.metrics,
    )
    await trials.assigned({ZERO, ONE})
    return trials


def blocks(trials: Trials, tp: TP, first: int, rows: int) -> list[Block]:
    records: Any = [Record(first + n) for n in range(rows)]
    return list(trials.cut(tp.topic, tp.partition, records, max_rows=64, max_bytes=1 << 20))


def outputs_of(block: Block) -> Outputs:
    return Outputs(TP(block.topic, block.partition), {}, block.next_offset, GENERATION, lambda: None)


async def test_only_the_first_window_of_what_was_just_assigned_is_counted() -> None:
    kafka = Kafka(p1=Note(starts=1))
    trials = await trials_on(kafka)
    assert not trials.suspicious
    [first, second] = blocks(trials, ZERO, 100, 128)
    [other] = blocks(trials, ONE, 30, 10)
    await trials.starting([(first, GENERATION), (second, GENERATION)])
    await trials.starting([(second, GENERATION), (other, GENERATION)])
    await trials.starting([(second, GENERATION), (other, GENERATION)])
    assert kafka.written == [(0, 100, Note(starts=1)), (1, 30, Note(starts=2))]


async def test_what_is_suspected_is_cut_into_trials_and_each_is_noted_before_it_begins() -> None:
    kafka = Kafka(p0=Note(starts=2))
    trials = await trials_on(kafka)
    assert trials.suspicious
    assert kafka.suspected == 1
    assert [block.rows for block in blocks(trials, ONE, 0, 100)] == [64, 36]
    first, second, *_ = blocks(trials, ZERO, 100, 128)
    assert (first.rows, second.rows) == (1, 1)
    assert await trials.begin(first, GENERATION)
    await trials.survived(first, GENERATION)
    await trials.commit(first, outputs_of(first))
    assert kafka.written == [
        (0, 100, Note(starts=2, rows=1, stop=101, until=100 + 8 * 64)),
        (0, 101, Note(starts=2, until=100 + 8 * 64)),
    ]


async def test_who_outlives_an_event_under_sentence_says_so_before_anything_else_can_fail() -> None:
    kafka = Kafka(p0=Note(starts=2, rows=1, stop=101, until=612))
    trials = await trials_on(kafka)
    [block, *_] = blocks(trials, ZERO, 100, 10)
    assert not trials.given_up(block)
    assert await trials.begin(block, GENERATION)
    await trials.survived(block, GENERATION)
    assert kafka.written == [
        (0, 100, Note(starts=2, rows=1, stop=101, deaths=1, until=612)),
        (0, 100, Note(starts=2, until=612)),
    ]


async def test_an_event_that_killed_twice_by_itself_is_given_up_and_no_other_one() -> None:
    kafka = Kafka(p0=Note(starts=2, rows=1, stop=101, deaths=1, until=612))
    trials = await trials_on(kafka)
    first, second, *_ = blocks(trials, ZERO, 100, 10)
    assert [trials.given_up(block) for block in (first, second)] == [True, False]
    await trials.commit(first, outputs_of(first))
    assert kafka.written == [(0, 101, Note(starts=2, until=101 + 64))]


async def test_when_nothing_more_waits_the_suspicion_ends_and_its_note_is_removed() -> None:
    kafka = Kafka(p0=Note(starts=2))
    trials = await trials_on(kafka)
    [*_, last] = blocks(trials, ZERO, 100, 3)
    kafka.more_waits = False
    assert await trials.begin(last, GENERATION)
    await trials.commit(last, outputs_of(last))
    assert kafka.written[-1] == (0, 103, Note())
    assert not trials.suspicious
    assert kafka.suspected == 0


async def test_what_was_taken_away_is_not_tried() -> None:
    kafka = Kafka(p0=Note(starts=2))
    trials = await trials_on(kafka)
    [block, *_] = blocks(trials, ZERO, 100, 3)
    kafka.owned = False
    assert not await trials.begin(block, GENERATION)
    trials.revoked()
    assert not await trials.begin(block, GENERATION)
    assert not trials.suspicious
    assert kafka.suspected == 0
