"""The table of topics and the broker: create what is missing, tell what differs.

Nothing that exists is changed but for one thing: when the events topic has got more partitions, those that follow it
get as many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from penstock.schemas.errors import PenstockError
from penstock.schemas.topics import Topic
from penstock.streams import kafka
from penstock.streams.access import outcomes
from penstock.streams.settings import Settings
from penstock.streams.settings.sections import Role


class TopicRefused(PenstockError):
    """The brokers would not create a topic.

    >>> print(TopicRefused("flights.scored", "replication factor 3 with 1 broker"))
    The topic flights.scored was not created: replication factor 3 with 1 broker. Correct [kafka] in the configuration.
    """

    exit_code = 3

    def __init__(self, topic: str, reason: str) -> None:
        self.topic, self.reason = topic, reason
        super().__init__(f"The topic {topic} was not created: {reason}. Correct [kafka] in the configuration.")


class TooFewPartitions(PenstockError):
    """Outputs go to the partition with their event's number: a topic that has fewer cannot take them all.

    >>> print(TooFewPartitions("flights.predictions", 2, "departures", 4))
    The topic flights.predictions has 2 of the 4 partitions of departures. Add the others with `penstock topics create`.
    """

    exit_code = 3

    def __init__(self, topic: str, partitions: int, events: str, expected: int) -> None:
        self.topic, self.partitions, self.events, self.expected = topic, partitions, events, expected
        super().__init__(
            f"The topic {topic} has {partitions} of the {expected} partitions of {events}. "
            "Add the others with `penstock topics create`."
        )


@dataclass(frozen=True)
class Difference:
    """One way in which a topic is not what the table says.

    >>> print(Difference("flights.scored", "partitions", "2", "4"))
    flights.scored: partitions is 2, expected 4
    """

    topic: str
    setting: str
    found: str
    expected: str
    fix: str = ""
    """What to type with Kafka's own tools, or to change in the configuration."""

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found}, expected {self.expected}"


@dataclass(frozen=True)
class FoundTopic:
    """A topic as the brokers have it."""

    partitions: int
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Comparison:
    """The table beside the broker. `partitions` is that of the events topic, or what it would be created with."""

    present: tuple[Topic, ...]
    missing: tuple[Topic, ...]
    differences: tuple[Difference, ...]
    partitions: int
    narrow: tuple[Topic, ...] = ()
    """Those present that have fewer partitions than the events topic, which they follow."""

    @property
    def for_people(self) -> tuple[Difference, ...]:
        """The differences that `create` leaves as they are."""
        narrow = {topic.name for topic in self.narrow}
        return tuple(each for each in self.differences if each.setting != "partitions" or each.topic not in narrow)


def compare(table: Sequence[Topic], found: Mapping[str, FoundTopic], partitions: int) -> Comparison:
    """What is missing of `table` (its first topic is the events topic), and what differs.

    The events topic belongs to the user: of its settings only the message size matters, as what is larger than
    `events.max_bytes` would not fit into `dead-letters`. Elsewhere more retention and larger messages are welcome.
    """
    events = table[0]
    if events.name in found:
        partitions = found[events.name].partitions
    present = tuple(topic for topic in table if topic.name in found)
    differences = [
        difference
        for topic in present
        for difference in (
            _events_differences(topic, found[topic.name])
            if topic is events
            else _differences(topic, found[topic.name], partitions)
        )
    ]
    missing = tuple(topic for topic in table if topic.name not in found)
    narrow = tuple(
        topic
        for topic in present
        if topic is not events and topic.partitions is None and found[topic.name].partitions < partitions
    )
    return Comparison(present, missing, tuple(differences), partitions, narrow)


def _events_differences(topic: Topic, found: FoundTopic) -> Iterator[Difference]:
    limit = found.settings.get("max.message.bytes")
    # Kafka's limit counts the record batch, so its default stands 12 bytes above a round megabyte.
    if limit is not None and int(limit) > topic.max_message_bytes + 12:
        fix = f"Set events.max_bytes = {limit}, or lower the topic's limit."
        yield Difference(topic.name, "max.message.bytes", limit, str(topic.max_message_bytes), fix)


def _differences(topic: Topic, found: FoundTopic, partitions: int) -> Iterator[Difference]:
    expected = topic.partitions or partitions
    if found.partitions != expected:
        fix = "A topic loses no partitions: leave the others empty, or make it anew."
        if topic.partitions is None and found.partitions < expected:
            fix = "`penstock topics create`"
        yield Difference(topic.name, "partitions", str(found.partitions), str(expected), fix)
    for setting, wanted in topic.settings().items():
        value = found.settings.get(setting)
        if value is not None and (enough := _ENOUGH.get(setting)) and not enough(value, wanted):
            fix = f"kafka-configs.sh --alter --topic {topic.name} --add-config {setting}={wanted}"
            yield Difference(topic.name, setting, value, wanted, fix)


def _at_least(found: str, wanted: str) -> bool:
    return int(found) >= int(wanted)


def _kept_as_long(found: str, wanted: str) -> bool:
    return int(found) == -1 or (int(wanted) != -1 and int(found) >= int(wanted))


_ENOUGH: dict[str, Callable[[str, str], bool]] = {
    "cleanup.policy": str.__eq__,
    "retention.ms": _kept_as_long,
    "max.message.bytes": _at_least,
    "message.timestamp.type": str.__eq__,
}
"""What else a topic is created with is a matter of taste, and of its owner."""


async def read_topics(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, FoundTopic]:
    """Those of `names` that exist, as the brokers that are asked know it: each question may go to another one, and who
    has not heard yet of a topic that was made a moment ago says that there is none.
    """
    existing = set(await admin.list_topics())
    wanted = [name for name in names if name in existing]
    if not wanted:
        return {}
    described = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics(wanted)}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in wanted]
    settings: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(resources):
        for code, message, _, name, entries in answer.resources:
            if errors.for_code(code) is errors.UnknownTopicOrPartitionError:
                continue
            _check(name, code, message)
            settings[name] = {entry[0]: entry[1] for entry in entries}
    return {
        name: FoundTopic(described[name], settings[name]) for name in wanted if name in settings and described[name]
    }


def used_by(settings: Settings, role: Role) -> tuple[Topic, ...]:
    """The topics that a role reads and writes, first the one that its work comes from."""
    topics = settings.topics
    used: dict[Role, tuple[Topic, ...]] = {
        "score": (
            topics.events,
            *outcomes(settings),
            *([topics.scored] if settings.scored.enabled else []),
        ),
        "watch": (
            topics.scored,
            topics.shadow_scores,
            topics.labels,
            topics.dead_letters,
            topics.state,
            topics.summaries,
        ),
        "judge": (topics.summaries, topics.alerts, topics.decisions, topics.control, topics.state),
        "shadow": (topics.scored, topics.shadow_scores, topics.state),
    }
    return used[role]


async def require(settings: Settings, role: Role = "score") -> int:
    """Whether a worker can read and write, before it tries: Kafka's clients would wait, and not say for what.

    Returns how many partitions the role's input has. Raises TopicMissing, TooFewPartitions, UnreachableError and
    AccessRefused.
    """
    group = f"{settings.pipeline.name}.{role}"  # the app's id
    async with kafka.consumer(settings.kafka, group_id=group) as client:
        source, *others = used_by(settings, role)
        [first, *rest] = await kafka.partitions(client, source.name)
        expected = 1 + len(rest)
        for topic in others:
            partitions = len(await kafka.partitions(client, topic.name))
            if topic.partitions is None and partitions < expected:
                raise TooFewPartitions(topic.name, partitions, source.name, expected)
        client.assign([first])
        await client.committed(first)  # refused where the group is not ours to use: joining it, nobody would say so
    return expected


async def inspect(settings: Settings, *, deadline_s: float = kafka.START_DEADLINE_S) -> Comparison:
    """Compare the pipeline's table with the brokers. Raises UnreachableError and AccessRefused."""
    table = settings.topics.table()
    async with kafka.admin(settings.kafka, deadline_s=deadline_s) as admin:
        found = await read_topics(admin, [topic.name for topic in table])
    return compare(table, found, settings.kafka.partitions)


async def create(settings: Settings, *, partitions: int | None = None) -> Comparison:
    """Create what is missing, all of the table, also the topics of roles that do not run yet: they cost nothing.

    Returns the comparison from before. `partitions` is for the events topic, if it does not exist yet; topics that
    follow its partitions get those it has, also later, all at once. Raises TopicRefused, UnreachableError and
    AccessRefused.
    """
    table = settings.topics.table()
    wished = partitions or settings.kafka.partitions
    async with kafka.admin(settings.kafka) as admin:
        found = await read_topics(admin, [topic.name for topic in table])
        events = table[0]
        if events.name not in found and not await _create(admin, [events], wished, settings):
            # Somebody created it a moment ago: what follows it needs its partitions.
            found |= await _visible(admin, [events.name])
        comparison = compare(table, found, wished)
        others = [topic for topic in comparison.missing if topic is not events]
        await _create(admin, others, comparison.partitions, settings)
        if comparison.narrow:
            await admin.create_partitions(
                {topic.name: NewPartitions(comparison.partitions) for topic in comparison.narrow}
            )
        await _visible(admin, [topic.name for topic in comparison.missing])
        await _visible(admin, [topic.name for topic in comparison.narrow], comparison.partitions)
    return comparison


async def _create(admin: AIOKafkaAdminClient, wanted: Sequence[Topic], partitions: int, settings: Settings) -> bool:
    """False when one of them was there already."""
    if not wanted:
        return True
    answer = await admin.create_topics([_new_topic(topic, partitions, settings) for topic in wanted])
    created = True
    for name, code, message in answer.topic_errors:
        if errors.for_code(code) is errors.TopicAlreadyExistsError:
            created = False
        else:
            _check(name, code, message)
    return created


async def _visible(admin: AIOKafkaAdminClient, names: Sequence[str], partitions: int = 1) -> dict[str, FoundTopic]:
    """Wait until the brokers know what the controller created: a client would not find it before."""

    def there(found: Mapping[str, FoundTopic]) -> bool:
        return all(name in found and found[name].partitions >= partitions for name in names)

    async with asyncio.timeout(kafka.START_DEADLINE_S):
        while not there(found := await read_topics(admin, names)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # nobody tells: only asking again does
    return found


def _new_topic(topic: Topic, partitions: int, settings: Settings) -> NewTopic:
    return NewTopic(
        topic.name,
        topic.partitions or partitions,
        settings.kafka.replication_factor,
        topic_configs=topic.settings(),
    )


def _check(topic: str, code: int, message: str | None) -> None:
    error: Any = errors.for_code(code)
    if error is errors.NoError:
        return
    if issubclass(error, (errors.TopicAuthorizationFailedError, errors.ClusterAuthorizationFailedError)):
        raise error(topic)  # becomes AccessRefused
    raise TopicRefused(topic, (message or error.description or error.__name__).rstrip("."))
