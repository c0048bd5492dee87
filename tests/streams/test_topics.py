from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource
from aiokafka.errors import UnknownTopicOrPartitionError

from penstock.schemas.topics import Topic, Topics
from penstock.streams import kafka as clients
from penstock.streams import topics
from penstock.streams.embedded.testing import Kafka, MakeTopics
from penstock.streams.settings import Settings
from penstock.streams.topics import FoundTopic, TopicRefused

TABLE = Topics("flights", "departures", events_max_bytes=1_000_000).table()


def as_wished(topic: Topic) -> FoundTopic:
    return FoundTopic(topic.partitions or 4, topic.settings())


def differences(change: Callable[[dict[str, FoundTopic]], None]) -> list[str]:
    found = {topic.name: as_wished(topic) for topic in TABLE}
    change(found)
    return [str(each) for each in topics.compare(TABLE, found, 4).differences]


class BrokersInTurn:
    """An admin client of brokers of which one has not heard of the topic `new` yet, and is asked for the settings."""

    async def list_topics(self) -> list[str]:
        return ["old", "new"]

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"topic": name, "partitions": [{}, {}]} for name in names]

    async def describe_configs(self, resources: list[ConfigResource]) -> list[Any]:
        unknown: tuple[Any, ...] = (UnknownTopicOrPartitionError.errno, "It is not on this broker.", 2, "new", [])
        return [SimpleNamespace(resources=[(0, None, 2, "old", [("retention.ms", "-1")]), unknown])]


async def test_a_topic_that_one_of_the_brokers_does_not_know_yet_is_not_there_yet() -> None:
    admin: Any = BrokersInTurn()

    assert await topics.read_topics(admin, ["old", "new"]) == {"old": FoundTopic(2, {"retention.ms": "-1"})}


def test_topics_as_the_table_says_do_not_differ() -> None:
    assert differences(lambda found: None) == []


def test_all_that_follow_the_events_topic_need_its_partitions() -> None:
    def change(found: dict[str, FoundTopic]) -> None:
        found["departures"] = FoundTopic(8, {})

    told = differences(change)

    assert "flights.predictions: partitions is 4, expected 8" in told
    assert not any("flights.control" in line for line in told)


def test_more_retention_and_larger_messages_are_welcome_anything_else_is_told() -> None:
    def change(found: dict[str, FoundTopic]) -> None:
        found["flights.scored"] = FoundTopic(4, {"retention.ms": "-1", "max.message.bytes": "99999999"})
        found["flights.labels"] = FoundTopic(4, {"retention.ms": "1000", "max.message.bytes": "1000"})
        found["flights.control"] = FoundTopic(1, {"cleanup.policy": "delete"})
        found["flights.state"] = FoundTopic(4, {"message.timestamp.type": "CreateTime"})

    assert differences(change) == [
        "flights.labels: retention.ms is 1000, expected 2592000000",
        "flights.labels: max.message.bytes is 1000, expected 1048588",
        "flights.control: cleanup.policy is delete, expected compact",
        "flights.state: message.timestamp.type is CreateTime, expected LogAppendTime",
    ]


def test_events_larger_than_the_configuration_says_are_told() -> None:
    def change(found: dict[str, FoundTopic]) -> None:
        found["departures"] = FoundTopic(4, {"max.message.bytes": "5000000", "retention.ms": "1"})

    assert differences(change) == ["departures: max.message.bytes is 5000000, expected 1000000"]


def test_a_difference_comes_with_what_mends_it() -> None:
    found = {"departures": FoundTopic(4, {}), "flights.labels": FoundTopic(2, {"retention.ms": "1"})}

    assert [each.fix for each in topics.compare(TABLE, found, 4).differences] == [
        "`penstock topics create`",
        "kafka-configs.sh --alter --topic flights.labels --add-config retention.ms=2592000000",
    ]


def pipeline(kafka: Kafka, *, events: str = "", replication_factor: int = 1) -> Settings:
    name = f"p{uuid.uuid4().hex[:8]}"
    return Settings.of({
        "pipeline": {"name": name},
        "kafka": {"servers": list(kafka.servers), "partitions": 2, "replication_factor": replication_factor},
        "events": {"topic": events or f"{name}-events"},
        "features": {"x": {"type": "float"}},
    })  # fmt: skip


@pytest.mark.kafka
async def test_topics_are_created_once_and_are_then_as_they_should_be(kafka: Kafka) -> None:
    settings = pipeline(kafka)

    first = await topics.create(settings, partitions=3)
    second = await topics.create(settings)
    seen = await topics.inspect(settings)

    assert len(first.missing) == len(settings.topics.table())
    assert second.missing == ()
    assert (seen.missing, seen.differences, seen.partitions) == ((), (), 3)


@pytest.mark.kafka
async def test_an_events_topic_that_exists_decides_the_partitions(kafka: Kafka, make_topics: MakeTopics) -> None:
    [events] = await make_topics("events", partitions=5, settings={"max.message.bytes": "1000000"})
    settings = pipeline(kafka, events=events)

    created = await topics.create(settings, partitions=3)

    assert [topic.name for topic in created.present] == [events]
    assert (await topics.inspect(settings)).differences == ()
    assert created.partitions == 5


@pytest.mark.kafka
async def test_topics_that_follow_the_events_topic_follow_it_when_it_grows(kafka: Kafka) -> None:
    settings = pipeline(kafka)
    await topics.create(settings, partitions=2)
    async with clients.admin(settings.kafka) as admin:
        await admin.create_partitions({settings.topics.events.name: NewPartitions(3)})
    while (grown := await topics.inspect(settings)).partitions < 3:  # noqa: ASYNC110  (the brokers hear of it a little later)
        await asyncio.sleep(0.01)

    mended = await topics.create(settings)

    following = {topic.name for topic in settings.topics.table()[1:] if topic.partitions is None}
    assert {each.topic for each in grown.differences} == following
    assert ({topic.name for topic in mended.narrow}, mended.for_people) == (following, ())
    assert (await topics.inspect(settings)).differences == ()


@pytest.mark.kafka
async def test_more_replicas_than_brokers_are_refused(kafka: Kafka) -> None:
    with pytest.raises(TopicRefused, match=r"was not created: .*[Rr]eplication factor"):
        await topics.create(pipeline(kafka, replication_factor=3))
