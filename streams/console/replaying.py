"""Sending dead letters through the pipeline again, each once.

Letters and what is remembered of them (`penstock.streams.console.replay_marks`) are written in one transaction, under a
transactional id that all replays of the pipeline share: a replay that breaks off has sent what it says it has sent, a
second one fences the first, and whoever replays again sends nothing twice. Nor is an event sent twice of which there
are two letters, as there may be after a crash of a worker that delivers at least once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from penstock.schemas.dead_letters import DeadLetter, NotADeadLetter, ValueLeftOut, ValueSealed
from penstock.schemas.errors import PenstockError
from penstock.schemas.sealing import SecretKeys
from penstock.streams import kafka as clients
from penstock.streams.console.dead_letters import ALL, Position, Selection, entry_of
from penstock.streams.console.replay_marks import REPLAYED_SCHEMA, Marks, Replayed, read_marks
from penstock.streams.control.fencing import Fenced, abandon, fences
from penstock.streams.reading import records, until_visible

if TYPE_CHECKING:
    from penstock.schemas.topics import Topics
    from penstock.streams.settings import KafkaSettings

LETTERS_PER_TRANSACTION = 500
LISTED = 20
"""How many letters that cannot be replayed a person is told of."""
NO_KEYS = SecretKeys()
_BYTES_PER_TRANSACTION = 16 << 20
_BATCH_BYTES = 256 * 1024
_TRANSACTION_MS = 15_000
"""A replay that was killed holds back the readers of the events topic until its transaction times out, or another one
starts."""


class ReplayOvertaken(PenstockError):
    """Another replay of the same pipeline started after this one.

    >>> print(ReplayOvertaken("flights", sent=5))
    Another replay of flights started after this one, which sent 5 dead letters. Let that one finish, then look again.
    """

    exit_code = 5

    def __init__(self, pipeline: str, *, sent: int) -> None:
        self.pipeline, self.sent = pipeline, sent
        super().__init__(
            f"Another replay of {pipeline} started after this one, which sent {sent} dead letters. Let that one "
            "finish, then look again."
        )


@dataclass
class Outcome:
    """What a replay did, or with `dry_run` would do."""

    sent: int = 0
    already: int = 0
    """Replayed before, and left alone."""
    repeated: int = 0
    """Of an event that another letter sends, or has sent."""
    without_value: list[Position] = field(default_factory=list)
    not_letters: list[Position] = field(default_factory=list)
    sealed: list[tuple[Position, ValueSealed]] = field(default_factory=list)
    """Encrypted, and not to be read here."""


async def replay(
    kafka: KafkaSettings,
    topics: Topics,
    selection: Selection = ALL,
    *,
    keys: SecretKeys = NO_KEYS,
    again: bool = False,
    dry_run: bool = False,
    progress: Callable[[Outcome], None] = lambda outcome: None,
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> Outcome:
    """Send the selected letters back to the partition of the topic they came from: key, value and headers as they were,
    with the attempt counted in a header. Letters that were replayed before stay where they are, unless `again`; so do
    encrypted ones, unless their key is among `keys`.

    Raises ReplayOvertaken, UnreachableError, TopicMissing.
    """
    outcome = Outcome()
    if dry_run:
        await _walk(kafka, topics, selection, keys, again, outcome, None, progress)
        return outcome
    try:
        with fences():
            async with (
                clients.consumer(kafka) as consumer,
                clients.producer(
                    kafka,
                    transactional_id=topics.dead_letters.name,
                    transaction_timeout_ms=_TRANSACTION_MS,
                    max_batch_size=_BATCH_BYTES,
                ) as producer,
            ):
                transactions = _Transactions(producer, consumer, topics, clock)
                await _walk(kafka, topics, selection, keys, again, outcome, transactions, progress)
    except Fenced as fenced:
        raise ReplayOvertaken(topics.pipeline, sent=outcome.sent) from fenced
    return outcome


async def _walk(
    kafka: KafkaSettings,
    topics: Topics,
    selection: Selection,
    keys: SecretKeys,
    again: bool,
    outcome: Outcome,
    transactions: _Transactions | None,
    progress: Callable[[Outcome], None],
) -> None:
    marks = await read_marks(kafka, topics)
    sources = set[_Source]() if again else await _replayed(kafka, topics, marks)
    sent_before = 0
    async for record in records(kafka, topics.dead_letters.name):
        partition = marks[record.partition]
        done = record.offset in partition
        entry = entry_of(record, done)
        wanted = entry in selection
        if wanted and done and not again:
            outcome.already += 1
        elif wanted and isinstance(entry.letter, NotADeadLetter):
            outcome.not_letters.append(entry.position)
        elif wanted and isinstance(entry.letter, DeadLetter) and _source(entry.letter) in sources:
            done = True
            outcome.repeated += 1
            if transactions is not None:
                transactions.remember(record.partition)
        elif wanted and isinstance(entry.letter, DeadLetter):
            try:
                key, value, headers = entry.letter.opened(keys).replay()
            except ValueSealed as error:
                outcome.sealed.append((entry.position, error))
            except ValueLeftOut:
                outcome.without_value.append(entry.position)
            else:
                done = True
                sources.add(_source(entry.letter))
                sent_before += 1
                if transactions is not None:
                    await transactions.add(entry.letter, key, value, headers, record.partition)
        partition.see(record.offset, done)
        if transactions is None:
            outcome.sent = sent_before
        elif transactions.full:
            await transactions.commit(marks)
            outcome.sent = sent_before
            progress(outcome)
    if transactions is not None:
        await transactions.commit(marks)
        outcome.sent = sent_before
    progress(outcome)


_Source = tuple[str, int, int, int]
"""Topic, partition, offset and timestamp of an event: a topic that was made anew counts its offsets anew."""


def _source(letter: DeadLetter) -> _Source:
    return letter.topic, letter.partition, letter.offset, letter.timestamp


async def _replayed(kafka: KafkaSettings, topics: Topics, marks: dict[int, Marks]) -> set[_Source]:
    """The events that were sent already."""
    if not marks:
        return set()
    found = (
        entry_of(record, replayed=True).letter
        async for record in records(kafka, topics.dead_letters.name)
        if record.offset in marks[record.partition]
    )
    return {_source(letter) async for letter in found if isinstance(letter, DeadLetter)}


class _Transactions:
    """Letters on their way back, and what is remembered of them, together."""

    def __init__(
        self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, topics: Topics, clock: Callable[[], int]
    ) -> None:
        self._producer, self._consumer, self._topics, self._clock = producer, consumer, topics, clock
        self._waiting: list[tuple[str, int, bytes | None, bytes | None, list[tuple[str, bytes]]]] = []
        self._bytes = 0
        self._touched: set[int] = set()
        self._partitions: dict[str, list[int]] = {}

    @property
    def full(self) -> bool:
        return len(self._waiting) >= LETTERS_PER_TRANSACTION or self._bytes >= _BYTES_PER_TRANSACTION

    async def add(
        self,
        letter: DeadLetter,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]],
        partition: int,
    ) -> None:
        available = await self._partitions_of(letter.topic)
        self._waiting.append((letter.topic, available[letter.partition % len(available)], key, value, headers))
        self._bytes += len(key or b"") + len(value or b"")
        self._touched.add(partition)

    def remember(self, partition: int) -> None:
        """Of a partition of the dead letters there is something new to remember, and nothing to send."""
        self._touched.add(partition)

    async def commit(self, marks: dict[int, Marks]) -> None:
        """Send what waits and what is remembered of it, in one transaction."""
        if not self._touched:
            return
        states = await self._partitions_of(self._topics.state.name)
        for partition in self._touched:
            key = f"{self._topics.dead_letters.role}/{partition}".encode()
            value = msgspec.json.encode(Replayed(marks[partition].ranges(), self._clock()))
            state = (self._topics.state.name, states[partition % len(states)], key, value, [REPLAYED_SCHEMA])
            self._waiting.append(state)
        await self._producer.begin_transaction()
        try:
            futures = []
            for (topic, partition), batch in self._batches():
                futures.append(await self._producer.send_batch(batch, topic, partition=partition))
            written = {each.topic_partition: each.offset for each in await asyncio.gather(*futures)}
        except (KafkaError, asyncio.CancelledError):
            await abandon(self._producer)
            raise
        await self._producer.commit_transaction()
        await until_visible(self._consumer, written)
        self._waiting.clear()
        self._touched.clear()
        self._bytes = 0

    def _batches(self) -> Iterator[tuple[tuple[str, int], Any]]:
        open_: dict[tuple[str, int], Any] = {}
        for topic, partition, key, value, headers in self._waiting:
            place = topic, partition
            batch = open_.get(place) or self._producer.create_batch()
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                yield place, batch
                batch = self._producer.create_batch()
                batch.append(timestamp=None, key=key, value=value, headers=headers)
            open_[place] = batch
        yield from open_.items()

    async def _partitions_of(self, topic: str) -> list[int]:
        if topic not in self._partitions:
            found = await self._producer.partitions_for(topic)
            if not found:
                raise clients.TopicMissing(topic)
            self._partitions[topic] = sorted(found)
        return self._partitions[topic]
