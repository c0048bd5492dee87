"""The embedded broker is a real one: what it was told it keeps, through stops and crashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

if TYPE_CHECKING:
    from conftest import Kafka, MakeTopics

pytestmark = pytest.mark.kafka


async def test_a_record_comes_back_as_it_was_sent(kafka: Kafka, make_topics: MakeTopics) -> None:
    [topic] = await make_topics("events")
    async with AIOKafkaProducer(bootstrap_servers=kafka.servers, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, b"value", key=b"key")
    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka.servers, auto_offset_reset="earliest") as consumer:
        record = await consumer.getone()
    assert (record.key, record.value, record.offset) == (b"key", b"value", 0)


def test_an_empty_redis_for_each_test(redis_url: str) -> None:
    assert redis_url.startswith("redis://127.0.0.1:")
