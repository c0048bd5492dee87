"""`penstock dead-letters list` and `show`: the events that failed, and why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import ConsumerRecord, TopicPartition

from penstock.schemas.dead_letters import DeadLetter, NotADeadLetter, ValueSealed
from penstock.schemas.errors import PenstockError
from penstock.schemas.sealing import SecretKeys
from penstock.streams import kafka as clients
from penstock.streams.console.replay_marks import read_marks
from penstock.streams.reading import records, to_the_end

if TYPE_CHECKING:
    from penstock.schemas.topics import Topics
    from penstock.streams.settings import KafkaSettings


class NoSuchLetter(PenstockError):
    """Nothing stands there.

    >>> print(NoSuchLetter("flights.dead-letters", Position(0, 17)))
    There is no record at 0-17 of flights.dead-letters. `penstock dead-letters list` shows what there is.
    """

    def __init__(self, topic: str, position: Position) -> None:
        self.topic, self.position = topic, position
        super().__init__(
            f"There is no record at {position} of {topic}. `penstock dead-letters list` shows what there is."
        )


class Position(NamedTuple):
    """Where a dead letter stands in its own topic, written PARTITION-OFFSET.

    >>> str(Position.parse("3-1024"))
    '3-1024'
    """

    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Position:
        """Raises ValueError for anything but PARTITION-OFFSET."""
        partition, _, offset = text.partition("-")
        if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
            raise ValueError(f"{text!r} is not PARTITION-OFFSET, for example 0-17")
        return cls(int(partition), int(offset))

    def __str__(self) -> str:
        return f"{self.partition}-{self.offset}"


@dataclass(frozen=True)
class Entry:
    """A record of the dead-letters topic: the letter, or why it is none."""

    record: ConsumerRecord
    letter: DeadLetter | NotADeadLetter
    replayed: bool

    @property
    def position(self) -> Position:
        return Position(self.record.partition, self.record.offset)

    def opened(self, keys: SecretKeys) -> Entry:
        """The same with the letter decrypted; as it is where the key is not here."""
        if isinstance(self.letter, NotADeadLetter):
            return self
        try:
            return replace(self, letter=self.letter.opened(keys))
        except ValueSealed:
            return self


@dataclass(frozen=True)
class Selection:
    """Which letters are meant: all that agree with every field that is given."""

    stage: str | None = None
    error: str | None = None
    positions: frozenset[Position] | None = None

    def __contains__(self, entry: object) -> bool:
        if not isinstance(entry, Entry) or (self.positions is not None and entry.position not in self.positions):
            return False
        if isinstance(entry.letter, NotADeadLetter):
            return self.stage is None and self.error is None
        return self.stage in (None, entry.letter.stage) and self.error in (None, entry.letter.error)


ALL = Selection()


async def entries(
    kafka: KafkaSettings,
    topics: Topics,
    selection: Selection = ALL,
) -> AsyncIterator[Entry]:
    """The dead letters that are there now, each partition in order. Raises UnreachableError, TopicMissing."""
    marks = await read_marks(kafka, topics)
    async for record in records(kafka, topics.dead_letters.name):
        entry = entry_of(record, record.offset in marks[record.partition])
        if entry in selection:
            yield entry


async def entry_at(kafka: KafkaSettings, topics: Topics, position: Position) -> Entry:
    """One dead letter. Raises NoSuchLetter, UnreachableError, TopicMissing."""
    name = topics.dead_letters.name
    marks = await read_marks(kafka, topics)
    async with clients.consumer(kafka, fetch_max_wait_ms=100) as consumer:
        partitions = await clients.partitions(consumer, name)
        partition = TopicPartition(name, position.partition)
        if partition not in partitions:
            raise NoSuchLetter(name, position)
        consumer.assign([partition])
        first = (await consumer.beginning_offsets([partition]))[partition]
        end = (await consumer.end_offsets([partition]))[partition]
        if not first <= position.offset < end:
            raise NoSuchLetter(name, position)
        consumer.seek(partition, position.offset)
        async for run in to_the_end(consumer, [partition]):
            if run and run[0].offset == position.offset:
                return entry_of(run[0], position.offset in marks[position.partition])
            break
    raise NoSuchLetter(name, position)


def entry_of(record: ConsumerRecord, replayed: bool) -> Entry:
    try:
        return Entry(record, DeadLetter.from_record(record.key, record.value, record.headers), replayed)
    except NotADeadLetter as error:
        return Entry(record, error, replayed)
