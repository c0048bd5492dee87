"""Members leave at once, wherever a rebalance stands, and nobody waits for who left; static ones keep their place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.protocol.group import LeaveGroupRequest
from pipelines import Kafka, until

from penstock.streams.embedded.testing import MakeTopics
from penstock.streams.transport.membership import leave, on_takeover

pytestmark = pytest.mark.kafka

LONG_MS = 60_000
"""Sessions and rebalances last so long that a test which waits for their end fails."""

PROMPT_S = 15.0


class Holding(ConsumerRebalanceListener):  # type: ignore[misc]
    """Gives its partitions up, and with them lets a rebalance go on, only when it is let go."""

    def __init__(self) -> None:
        self.asked, self.let_go = asyncio.Event(), asyncio.Event()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        if revoked:
            self.asked.set()
            await self.let_go.wait()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        pass


@asynccontextmanager
async def member(
    kafka: Kafka, topic: str, holding: Holding | None = None, *, instance_id: str | None = None
) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.servers, group_id=topic, session_timeout_ms=LONG_MS, rebalance_timeout_ms=LONG_MS,
        heartbeat_interval_ms=100, enable_auto_commit=False, group_instance_id=instance_id,
    )  # fmt: skip
    await consumer.start()
    consumer.subscribe([topic], listener=holding)
    try:
        yield consumer
    finally:
        await consumer.stop()


async def owns_all(consumer: AIOKafkaConsumer) -> None:
    await until(lambda: len(consumer.assignment()) == 2, "it owns both partitions", timeout_s=PROMPT_S)


async def test_the_partitions_of_who_leaves_are_the_others(kafka: Kafka, make_topics: MakeTopics) -> None:
    [topic] = await make_topics("events", partitions=2)
    async with member(kafka, topic) as staying:
        await owns_all(staying)
        async with member(kafka, topic) as leaving:
            await until(lambda: len(leaving.assignment()) == 1, "they share the partitions", timeout_s=PROMPT_S)
            await leave(leaving, patience_s=PROMPT_S)
            await owns_all(staying)


async def test_who_leaves_while_it_joins_waits_for_nobody_and_nobody_for_it(
    kafka: Kafka, make_topics: MakeTopics
) -> None:
    [topic] = await make_topics("events", partitions=2)
    holding = Holding()
    async with member(kafka, topic, holding) as staying:
        await owns_all(staying)
        async with member(kafka, topic) as joining, asyncio.timeout(PROMPT_S):
            await holding.asked.wait()
            await leave(joining, patience_s=LONG_MS)
            holding.let_go.set()
            await until(lambda: staying._coordinator.generation > 1, "it is in the next generation")
            await owns_all(staying)


async def test_who_leaves_before_its_share_is_told_waits_for_nobody_and_nobody_for_it(
    kafka: Kafka, make_topics: MakeTopics
) -> None:
    [topic] = await make_topics("events", partitions=2)
    sharing, go_on = asyncio.Event(), asyncio.Event()
    async with member(kafka, topic) as leading:
        await owns_all(leading)
        share = leading._coordinator._perform_assignment

        async def share_slowly(members: Any) -> Any:
            sharing.set()
            await go_on.wait()
            return await share(members)

        leading._coordinator._perform_assignment = share_slowly
        async with member(kafka, topic) as joining, asyncio.timeout(PROMPT_S):
            await sharing.wait()
            await until(lambda: joining._coordinator.generation > 0, "it has joined, and waits for its share")
            await leave(joining, patience_s=LONG_MS)
            go_on.set()
            await until(lambda: leading._coordinator.generation > 2, "they have shared once more, without it")
            await owns_all(leading)


async def test_who_leaves_before_it_has_a_name_in_the_group_is_not_waited_for(
    kafka: Kafka, make_topics: MakeTopics
) -> None:
    [topic] = await make_topics("events", partitions=2)
    async with member(kafka, topic) as staying:
        await owns_all(staying)
        async with member(kafka, topic) as joining:
            await leave(joining, patience_s=PROMPT_S)
        async with member(kafka, topic) as next_one, asyncio.timeout(PROMPT_S):
            await until(lambda: len(next_one.assignment()) == 1, "the next one joins without delay")


async def test_a_static_member_that_is_back_in_time_finds_its_partition_and_nobody_notices(
    kafka: Kafka, make_topics: MakeTopics
) -> None:
    [topic] = await make_topics("events", partitions=2)
    async with member(kafka, topic, instance_id="a") as staying:
        await owns_all(staying)
        async with member(kafka, topic, instance_id="b") as restarting:
            await until(lambda: len(restarting.assignment()) == 1, "they share the partitions", timeout_s=PROMPT_S)
            mine, generation = restarting.assignment(), staying._coordinator.generation
            await leave(restarting, patience_s=PROMPT_S)
        async with member(kafka, topic, instance_id="b") as restarted:
            await until(lambda: restarted.assignment() == mine, "it has its partition again", timeout_s=PROMPT_S)
            assert restarted._coordinator.generation == staying._coordinator.generation == generation
            assert staying.assignment().isdisjoint(mine)


async def test_a_static_member_notices_that_another_one_bears_its_instance_id(
    kafka: Kafka, make_topics: MakeTopics
) -> None:
    [topic] = await make_topics("events", partitions=2)
    taken_over = asyncio.Event()
    async with member(kafka, topic, instance_id="a") as first:
        on_takeover(first, taken_over.set)
        await owns_all(first)
        async with member(kafka, topic, instance_id="a") as second, asyncio.timeout(PROMPT_S):
            await taken_over.wait()
            await owns_all(second)


async def test_a_static_member_whose_session_has_ended_joins_anew(kafka: Kafka, make_topics: MakeTopics) -> None:
    [topic] = await make_topics("events", partitions=2)
    taken_over = asyncio.Event()
    async with member(kafka, topic, instance_id="a") as alone:
        on_takeover(alone, taken_over.set)
        await owns_all(alone)
        name = alone._coordinator.member_id
        await alone._coordinator._send_req(LeaveGroupRequest(topic, name))  # as the broker does it at the session's end
        await until(lambda: alone._coordinator.member_id not in ("", name), "it has another name", timeout_s=PROMPT_S)
        await owns_all(alone)
    assert not taken_over.is_set()
