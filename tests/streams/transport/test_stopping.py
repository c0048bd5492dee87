"""An app in the middle of a rebalance that is stopped, or overtaken by another one: nothing is lost or comes twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from pipelines import Kafka, until
from traffic import producing

from penstock.streams.embedded.testing import MakeTopics
from penstock.streams.transport import BlockApp, BlockOptions, BlockSchema

PROMPT_S = 20.0


class Slow:
    """An agent that has one block in hand until it is told to finish it."""

    def __init__(self, app: BlockApp, topic: str) -> None:
        self.taken, self.finish = asyncio.Event(), asyncio.Event()
        self.did: list[str] = []
        self._app = app
        app.after_revoked = self.on_revoked
        app.agent(app.topic(topic, schema=BlockSchema()), name="slow")(self.take)

    async def take(self, stream: Any) -> None:
        async for event in stream.noack().events():
            self.taken.set()
            await self.finish.wait()
            self.did.append("finished")
            self._app.consumer.ack(event.message)

    async def on_revoked(self, revoked: set[TP]) -> None:
        if revoked:
            self.did.append("gave up")


def another_member(kafka: Kafka, group: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=kafka.servers, group_id=group, session_timeout_ms=60_000, rebalance_timeout_ms=60_000,
        heartbeat_interval_ms=100, enable_auto_commit=False, auto_offset_reset="earliest",
    )  # fmt: skip


def app_of(kafka: Kafka, topic: str, directory: Path) -> BlockApp:
    return BlockApp(
        topic, blocks=BlockOptions(kafka={"bootstrap_servers": kafka.servers}), broker=f"kafka://{kafka.servers[0]}",
        broker_session_timeout=60.0, broker_heartbeat_interval=0.1, broker_rebalance_timeout=60.0,
        broker_request_timeout=61.0, broker_max_poll_interval=1000.0, consumer_auto_offset_reset="earliest",
        stream_wait_empty=True, topic_allow_declare=False, topic_disable_leader=True, web_enabled=False,
        store="memory://", datadir=directory,
    )  # fmt: skip


@pytest.mark.kafka
async def test_a_stop_in_the_middle_of_a_rebalance_finishes_commits_and_leaves(
    kafka: Kafka, make_topics: MakeTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    [topic] = await make_topics("events", partitions=2)
    async with producing(kafka.servers) as producer:
        await producer.send_and_wait(topic, b"an event", partition=1)
    app = app_of(kafka, topic, tmp_path)
    slow = Slow(app, topic)
    starting = asyncio.create_task(app.start())
    async with asyncio.timeout(2 * PROMPT_S):
        await slow.taken.wait()
        async with another_member(kafka, topic) as joining:
            joining.subscribe([topic])
            await until(lambda: app.rebalancing, "the rebalance waits for the block", timeout_s=PROMPT_S)
            stopping = asyncio.create_task(app.stop())
            await until(lambda: app.should_stop, "it is stopping")
            slow.finish.set()
            await until(lambda: len(joining.assignment()) == 2, "the other one owns both", timeout_s=PROMPT_S)
            assert await joining.committed(TopicPartition(topic, 1)) == 1
            await stopping
            await starting
    assert slow.did[:2] == ["finished", "gave up"]


@pytest.mark.kafka
async def test_a_take_over_that_another_rebalance_has_overtaken_does_not_make_the_flow_go_on(
    kafka: Kafka, make_topics: MakeTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    [topic] = await make_topics("events", partitions=2)
    app = app_of(kafka, topic, tmp_path)
    Slow(app, topic)
    seeking, given_up = asyncio.Event(), asyncio.Event()
    flowing: list[bool] = []
    seek = driver.Consumer.seek_to_committed

    async def seek_while_giving_up(consumer: driver.Consumer) -> Any:
        seeking.set()
        await given_up.wait()
        return await seek(consumer)

    async def on_revoked(revoked: set[TP]) -> None:
        if revoked and not flowing:
            given_up.set()
            await until(app.flow_control.is_active, "the take-over before has come to its end", timeout_s=PROMPT_S)
            flowing.append(app.consumer.flow_active)

    monkeypatch.setattr(driver.Consumer, "seek_to_committed", seek_while_giving_up)
    app.after_revoked = on_revoked
    starting = asyncio.create_task(app.start())
    async with asyncio.timeout(3 * PROMPT_S):
        await seeking.wait()
        async with another_member(kafka, topic) as joining:
            joining.subscribe([topic])
            await until(lambda: app.consumer.flow_active and flowing, "it goes on with its share", timeout_s=PROMPT_S)
            await app.stop()
            await starting
    assert flowing == [False], "nothing is fetched of what is given up"
