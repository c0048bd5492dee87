"""Dead letters on a real broker: found, shown, and sent back byte for byte, each once."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import NewTopic

from penstock.schemas.dead_letters import REPLAY_HEADER, DeadLetter, NotADeadLetter
from penstock.schemas.sealing import SecretKey, SecretKeys
from penstock.schemas.topics import Topics
from penstock.streams import kafka as clients
from penstock.streams.console import replaying
from penstock.streams.console.dead_letters import Entry, NoSuchLetter, Position, Selection, entries, entry_at
from penstock.streams.console.rendering import letter_lines
from penstock.streams.console.replaying import ReplayOvertaken, replay
from penstock.streams.reading import records
from penstock.streams.settings import KafkaSettings

if TYPE_CHECKING:
    from penstock.streams.embedded.testing import Kafka

pytestmark = pytest.mark.kafka

LETTERS = [
    (b"JFK", b"{not json", "decode", "not_json"),
    (None, b"\x00\xff", "decode", "not_json"),
    (b"EWR", None, "decode", "tombstone"),
    (None, None, "decode", "tombstone"),
    (b"LGA", b'{"seats": 1}', "features", "missing"),
]


@pytest.fixture
def settings(kafka: Kafka) -> KafkaSettings:
    return KafkaSettings(servers=tuple(kafka.servers))


@pytest.fixture
async def topics(settings: KafkaSettings) -> Topics:
    """A pipeline whose two partitions hold LETTERS each."""
    name = f"replay-{uuid.uuid4().hex[:8]}"
    topics = Topics(name, f"{name}.events")
    async with clients.admin(settings) as admin:
        await admin.create_topics(
            [NewTopic(topic.name, 2, 1) for topic in (topics.events, topics.dead_letters, topics.state)]
        )
    await write(settings, topics, [letter(topics, partition, n) for partition in (0, 1) for n in range(len(LETTERS))])
    return topics


def letter(topics: Topics, partition: int, n: int) -> DeadLetter:
    key, value, stage, error = LETTERS[n]
    return DeadLetter(
        key, value, (("traceparent", b"00-%d" % n),), topics.events.name, partition, 100 + n, 1_357_034_400_000,
        stage, error, "It is so.",  # type: ignore[arg-type]
    )  # fmt: skip


async def write(settings: KafkaSettings, topics: Topics, letters: list[DeadLetter]) -> None:
    async with clients.producer(settings) as producer:
        for each in letters:
            batch = producer.create_batch()
            key, value, headers = each.to_record()
            batch.append(timestamp=None, key=key, value=value, headers=headers)
            await (await producer.send_batch(batch, topics.dead_letters.name, partition=each.partition))


async def stored(settings: KafkaSettings, topics: Topics) -> list[ConsumerRecord]:
    return [record async for record in records(settings, topics.events.name)]


async def listed(settings: KafkaSettings, topics: Topics, selection: Selection) -> list[Entry]:
    return [entry async for entry in entries(settings, topics, selection)]


async def test_letters_are_found_by_stage_error_and_position(settings: KafkaSettings, topics: Topics) -> None:
    assert len(await listed(settings, topics, Selection())) == 10
    assert len(await listed(settings, topics, Selection(stage="decode"))) == 8
    assert len(await listed(settings, topics, Selection(stage="decode", error="tombstone"))) == 4
    [entry] = await listed(settings, topics, Selection(positions=frozenset([Position(1, 4)])))
    assert entry.letter == letter(topics, 1, 4)
    assert (await entry_at(settings, topics, Position(0, 0))).letter == letter(topics, 0, 0)
    for gone in (Position(0, 5), Position(7, 0)):
        with pytest.raises(NoSuchLetter):
            await entry_at(settings, topics, gone)


async def test_a_replayed_event_is_the_original_in_its_partition(settings: KafkaSettings, topics: Topics) -> None:
    outcome = await replay(settings, topics)
    assert (outcome.sent, outcome.already) == (10, 0)
    found = await stored(settings, topics)
    for partition in (0, 1):
        mine = [record for record in found if record.partition == partition]
        assert [(record.key, record.value) for record in mine] == [(key, value) for key, value, *_ in LETTERS]
        assert [list(record.headers) for record in mine] == [
            [("traceparent", b"00-%d" % n), (REPLAY_HEADER, b"1")] for n in range(len(LETTERS))
        ]


async def test_each_letter_is_replayed_once(settings: KafkaSettings, topics: Topics) -> None:
    first = await replay(settings, topics, Selection(stage="features"))
    second = await replay(settings, topics, dry_run=True)
    third = await replay(settings, topics)
    fourth = await replay(settings, topics)
    assert [(each.sent, each.already) for each in (first, second, third, fourth)] == [(2, 0), (8, 2), (8, 2), (0, 10)]
    assert len(await stored(settings, topics)) == 10
    assert all(entry.replayed for entry in await listed(settings, topics, Selection()))
    again = await replay(settings, topics, Selection(positions=frozenset([Position(0, 1)])), again=True)
    assert again.sent == 1
    assert len(await stored(settings, topics)) == 11
    await write(settings, topics, [replace(letter(topics, 0, 0), offset=200)])
    assert (await replay(settings, topics)).sent == 1


async def test_an_event_with_two_letters_is_sent_once(settings: KafkaSettings, topics: Topics) -> None:
    """A worker that delivers at least once died between a letter and its offset."""
    await write(settings, topics, [letter(topics, 0, n) for n in (3, 4)])
    second_letter = Selection(positions=frozenset([Position(0, 6)]))
    assert (await replay(settings, topics, second_letter)).sent == 1
    outcome = await replay(settings, topics)
    assert (outcome.sent, outcome.already, outcome.repeated) == (9, 1, 2)
    assert len(await stored(settings, topics)) == 10
    assert all(entry.replayed for entry in await listed(settings, topics, Selection()))
    outcome = await replay(settings, topics)
    assert (outcome.sent, outcome.already, outcome.repeated) == (0, 12, 0)
    outcome = await replay(settings, topics, again=True)
    assert (outcome.sent, outcome.repeated) == (10, 2)


async def test_letters_of_a_topic_that_was_made_anew_are_no_repeats(settings: KafkaSettings, topics: Topics) -> None:
    await write(settings, topics, [replace(letter(topics, 0, 0), timestamp=1_357_120_800_000)])
    assert (await replay(settings, topics)).sent == 11


async def test_a_replay_that_breaks_off_has_sent_what_it_remembers(
    settings: KafkaSettings, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "LETTERS_PER_TRANSACTION", 3)

    class PowerCut(Exception):
        pass

    def cut(outcome: replaying.Outcome) -> None:
        if outcome.sent == 6:
            raise PowerCut

    with pytest.raises(PowerCut):
        await replay(settings, topics, progress=cut)
    assert len(await stored(settings, topics)) == 6
    rest = await replay(settings, topics)
    assert (rest.sent, rest.already) == (4, 6)
    assert len(await stored(settings, topics)) == 10


async def test_a_replay_that_is_killed_between_sending_and_marking_has_sent_nothing(
    settings: KafkaSettings, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    async def killed(producer: AIOKafkaProducer) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(AIOKafkaProducer, "commit_transaction", killed)
        with pytest.raises(Killed):
            await replay(settings, topics)

    rest = await replay(settings, topics)
    assert (rest.sent, rest.already) == (10, 0)
    assert len(await stored(settings, topics)) == 10
    assert (await replay(settings, topics)).sent == 0


async def test_of_two_replays_at_once_each_letter_is_sent_by_one(settings: KafkaSettings, topics: Topics) -> None:
    outcomes = await asyncio.gather(*(replay(settings, topics) for _ in range(3)), return_exceptions=True)
    for outcome in outcomes:
        assert isinstance(outcome, replaying.Outcome | ReplayOvertaken), outcome
    assert len(await stored(settings, topics)) == 10


async def test_an_encrypted_letter_goes_back_where_its_key_is(settings: KafkaSettings, topics: Topics) -> None:
    key = SecretKey(bytes(32))
    await replay(settings, topics)
    before = len(await stored(settings, topics))
    secret = replace(letter(topics, 0, 0), offset=200)
    await write(settings, topics, [secret.sealed(key)])

    without = await replay(settings, topics)
    [(position, why)] = without.sealed
    assert (without.sent, position) == (0, Position(0, 5))
    assert key.id in str(why)
    unread = (await entry_at(settings, topics, Position(0, 5))).opened(SecretKeys())
    assert "which is not here" in "\n".join(letter_lines(unread.record, unread.letter, unread.replayed))

    assert (await replay(settings, topics, keys=SecretKeys.of([key]))).sent == 1
    again = await stored(settings, topics)
    assert len(again) == before + 1
    assert [record.value for record in again if record.partition == 0][-1] == LETTERS[0][1]
    entry = (await entry_at(settings, topics, Position(0, 5))).opened(SecretKeys.of([key]))
    assert entry.letter == secret
    assert entry.replayed


async def test_what_cannot_be_replayed_is_named_and_stays(settings: KafkaSettings, topics: Topics) -> None:
    await write(settings, topics, [replace(letter(topics, 0, 0), offset=200).without_value()])
    async with clients.producer(settings) as producer:
        await producer.send_and_wait(topics.dead_letters.name, b"from elsewhere", partition=1)
    outcome = await replay(settings, topics)
    assert outcome.sent == 10
    assert outcome.without_value == [Position(0, 5)]
    assert outcome.not_letters == [Position(1, 5)]
    strange = await entry_at(settings, topics, Position(1, 5))
    assert isinstance(strange.letter, NotADeadLetter)
