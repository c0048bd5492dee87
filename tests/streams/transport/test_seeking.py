"""Seeks of the block transport, on a real broker."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer

from penstock.streams.transport import BlockApp, BlockOptions, BlockSchema

if TYPE_CHECKING:
    from penstock.streams.embedded.testing import Kafka, MakeTopics

pytestmark = pytest.mark.kafka


async def test_a_partition_of_which_nothing_is_committed_is_read_from_its_beginning_after_a_seek(
    kafka: Kafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    [topic] = await make_topics("events")
    async with AIOKafkaProducer(bootstrap_servers=kafka.servers) as producer:
        for value in (b"0", b"1", b"2"):
            await producer.send_and_wait(topic, value)
    delivered: asyncio.Queue[int] = asyncio.Queue()

    app = BlockApp(
        f"seeking-{uuid.uuid4().hex[:8]}",
        blocks=BlockOptions(kafka={"bootstrap_servers": kafka.servers}, drain_s=0.0),
        broker=[f"kafka://{server}" for server in kafka.servers],
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        store="memory://",
        datadir=tmp_path,
    )

    async def take(stream: Any) -> None:
        async for event in stream.noack().events():
            delivered.put_nowait(event.value.records[0].offset)

    app.agent(app.topic(topic, schema=BlockSchema()), name="take")(take)
    async with app:
        assert await asyncio.wait_for(delivered.get(), 30) == 0
        await app.consumer.perform_seek()
        assert await asyncio.wait_for(delivered.get(), 30) == 0
