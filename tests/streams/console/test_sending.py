"""Sending on a real broker: what is reported as confirmed is in the topic, once, in order."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from aiokafka import ConsumerRecord
from aiokafka.partitioner import DefaultPartitioner

from penstock.streams.console.event_files import Chunk, Event
from penstock.streams.console.sending import BatchRefused, send
from penstock.streams.reading import records
from penstock.streams.settings import KafkaSettings

if TYPE_CHECKING:
    from penstock.streams.embedded.testing import Kafka, MakeTopics

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka: Kafka) -> KafkaSettings:
    return KafkaSettings(servers=tuple(kafka.servers))


def events(count: int, keys: int = 0) -> list[Event]:
    return [Event(b"key-%d" % (n % keys) if keys else None, json.dumps({"n": n}).encode(), n + 1) for n in range(count)]


def in_chunks(found: list[Event], size: int = 700) -> Iterator[Chunk]:
    return (Chunk(found[start : start + size], start + size) for start in range(0, len(found), size))


async def stored(settings: KafkaSettings, topic: str) -> list[ConsumerRecord]:
    return [record async for record in records(settings, topic)]


async def test_every_event_arrives_once_in_the_order_of_its_key(
    settings: KafkaSettings, make_topics: MakeTopics
) -> None:
    [topic] = await make_topics("events", partitions=3)
    given = events(20_000, keys=50)
    sent = await send(settings, topic, in_chunks(given), batch_bytes=16_384)
    assert (sent.confirmed, sent.unconfirmed, sent.too_large, sent.interrupted) == (20_000, 0, [], False)
    by_key: dict[bytes | None, list[bytes]] = defaultdict(list)
    for record in await stored(settings, topic):
        by_key[record.key].append(record.value)
        assert record.partition == DefaultPartitioner()(record.key, [0, 1, 2], [])
    assert sum(map(len, by_key.values())) == 20_000
    for key, values in by_key.items():
        assert values == [event.value for event in given if event.key == key]


async def test_events_without_a_key_spread_over_the_partitions(
    settings: KafkaSettings, make_topics: MakeTopics
) -> None:
    [topic] = await make_topics("events", partitions=3)
    await send(settings, topic, in_chunks(events(10_000)), batch_bytes=16_384)
    found = await stored(settings, topic)
    assert {record.partition for record in found} == {0, 1, 2}
    assert sorted(json.loads(record.value)["n"] for record in found) == list(range(10_000))


async def test_a_rate_is_kept(settings: KafkaSettings, make_topics: MakeTopics) -> None:
    [topic] = await make_topics("events")
    sent = await send(settings, topic, in_chunks(events(200), 64), rate=400.0)
    assert sent.confirmed == 200
    assert sent.seconds >= 199 / 400.0


async def test_events_above_the_limit_are_left_out_and_named(settings: KafkaSettings, make_topics: MakeTopics) -> None:
    [topic] = await make_topics("events")
    given = [
        Event(None, b"{}", 1),
        Event(None, b"x" * 2000, 2),
        Event(b"k" * 600, b"y" * 600, 3),
        Event(None, b"[]", 4),
    ]
    sent = await send(settings, topic, in_chunks(given), max_bytes=1024)
    assert (sent.confirmed, sent.too_large) == (2, [(2, 2000), (3, 1200)])
    assert [record.value for record in await stored(settings, topic)] == [b"{}", b"[]"]


async def test_an_event_larger_than_a_batch_goes_alone(settings: KafkaSettings, make_topics: MakeTopics) -> None:
    [topic] = await make_topics("events")
    given = [Event(None, b"a", 1), Event(None, b"b" * 100_000, 2), Event(None, b"c", 3)]
    assert (await send(settings, topic, in_chunks(given), batch_bytes=4096)).confirmed == 3
    assert [len(record.value) for record in await stored(settings, topic)] == [1, 100_000, 1]


async def test_a_topic_that_takes_only_small_batches_says_so(settings: KafkaSettings, make_topics: MakeTopics) -> None:
    [topic] = await make_topics("events", settings={"max.message.bytes": "2048"})
    with pytest.raises(BatchRefused, match="smaller --batch"):
        await send(settings, topic, in_chunks(events(5000)))


async def test_an_interruption_ends_it_and_the_count_is_true(settings: KafkaSettings, make_topics: MakeTopics) -> None:
    [topic] = await make_topics("events")
    stop, silence = asyncio.Event(), threading.Event()

    def never_ending() -> Iterator[Chunk]:
        yield Chunk(events(100), 100)
        silence.wait()  # a pipe that says nothing any more

    sending = asyncio.create_task(
        send(settings, topic, never_ending(), stop=stop, progress=lambda sent: stop.set() if sent.read_bytes else None)
    )
    try:
        sent = await asyncio.wait_for(sending, timeout=20)
    finally:
        silence.set()
    assert (sent.confirmed, sent.unconfirmed, sent.interrupted) == (100, 0, True)
    assert len(await stored(settings, topic)) == 100


async def test_what_the_source_raises_comes_after_what_it_gave_was_sent(
    settings: KafkaSettings, make_topics: MakeTopics
) -> None:
    [topic] = await make_topics("events")

    def breaks() -> Iterator[Chunk]:
        yield Chunk(events(10), 10)
        raise ValueError("the file ends in garbage")

    with pytest.raises(ValueError, match="garbage"):
        await send(settings, topic, breaks())
    assert len(await stored(settings, topic)) == 10
