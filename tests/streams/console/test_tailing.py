"""Reading a topic from where one wants, on a real broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from penstock.streams import kafka as clients
from penstock.streams.console.tailing import NoSuchPartition, tail
from penstock.streams.reading import until_visible
from penstock.streams.settings import KafkaSettings

if TYPE_CHECKING:
    from penstock.streams.embedded.testing import Kafka, MakeTopics

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka: Kafka) -> KafkaSettings:
    return KafkaSettings(servers=tuple(kafka.servers))


async def write(settings: KafkaSettings, topic: str, numbers: range, partitions: int = 2) -> None:
    """One record and one transaction marker at a time; times follow the numbers."""
    written = {}
    async with clients.producer(settings, transactional_id=topic) as producer:
        for number in numbers:
            async with producer.transaction():
                at = await producer.send_and_wait(
                    topic, b"%d" % number, partition=number % partitions, timestamp_ms=1_000_000 + number
                )
            written[at.topic_partition] = at.offset
    async with clients.consumer(settings) as consumer:
        assert await until_visible(consumer, written, deadline_s=30)


async def numbers(settings: KafkaSettings, topic: str, **options: object) -> list[int]:
    return [int(r.value) async for r in tail(settings, topic, follow=False, **options)]  # type: ignore[arg-type]


async def test_the_last_are_the_latest_of_all_partitions_whatever_holes_offsets_have(
    settings: KafkaSettings, make_topics: MakeTopics
) -> None:
    [topic] = await make_topics("topic", partitions=2)
    assert await numbers(settings, topic) == []
    await write(settings, topic, range(12))
    assert await numbers(settings, topic, last=5) == [7, 8, 9, 10, 11]
    assert await numbers(settings, topic, last=100) == list(range(12))
    assert await numbers(settings, topic, last=0) == []
    assert await numbers(settings, topic, last=2, partition=1) == [9, 11]
    assert sorted(await numbers(settings, topic, last=None)) == list(range(12))


async def test_following_shows_what_comes_and_nothing_twice(settings: KafkaSettings, make_topics: MakeTopics) -> None:
    [topic] = await make_topics("topic", partitions=2)
    await write(settings, topic, range(4))
    stop, seen = asyncio.Event(), []
    async for record in tail(settings, topic, last=2, stop=stop):
        seen.append(int(record.value))
        if seen == [2, 3]:
            await write(settings, topic, range(4, 8))
        if len(seen) == 6:
            stop.set()
    assert sorted(seen) == [2, 3, 4, 5, 6, 7]


async def test_a_partition_that_is_not_there(settings: KafkaSettings, make_topics: MakeTopics) -> None:
    [topic] = await make_topics("topic", partitions=2)
    with pytest.raises(NoSuchPartition, match="has no partition 2; it has 0 to 1"):
        await numbers(settings, topic, partition=2)
