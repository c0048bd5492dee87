"""Reading partitions as they stand, on a real broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka import TopicPartition

from penstock.streams import kafka as clients
from penstock.streams.reading import newest_records
from penstock.streams.settings import KafkaSettings

if TYPE_CHECKING:
    from penstock.streams.embedded.testing import Kafka, MakeTopics

pytestmark = pytest.mark.kafka


async def test_the_newest_record_is_found_behind_whatever_was_aborted(kafka: Kafka, make_topics: MakeTopics) -> None:
    settings = KafkaSettings(servers=tuple(kafka.servers))
    [topic] = await make_topics("log", partitions=3)
    async with clients.producer(settings, transactional_id=topic) as producer:
        async with producer.transaction():
            for partition, value in [(0, b"old"), (0, b"new"), (1, b"other")]:
                await producer.send_and_wait(topic, value, partition=partition)
        for _ in range(6):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"never", partition=0)
            await producer.abort_transaction()
    found = await newest_records(settings, topic, span=1)
    assert {partition: (record.value, end) for partition, (record, end) in found.items()} == {
        TopicPartition(topic, 0): (b"new", 15),
        TopicPartition(topic, 1): (b"other", 2),
    }
