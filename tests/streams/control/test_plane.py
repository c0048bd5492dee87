"""The control plane on a real broker: any number of writers, one history."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import NewTopic

from penstock.models.control_checks import InvalidControl
from penstock.schemas.control import Control, Decision, Rule, Staging
from penstock.schemas.errors import Conflict, UnreachableError
from penstock.schemas.gates import Look
from penstock.schemas.records import CONTROL_SCHEMA, SCHEMA_HEADER, ModelRef
from penstock.streams import kafka as clients
from penstock.streams.control import ControlFollower, ControlPlane, champion, default_author
from penstock.streams.control.records import UnreadableControl
from penstock.streams.embedded import EmbeddedKafka
from penstock.streams.kafka import TopicMissing
from penstock.streams.reading import to_the_end
from penstock.streams.settings import KafkaSettings

if TYPE_CHECKING:
    from penstock.streams.embedded.testing import Kafka, MakeTopics

pytestmark = pytest.mark.kafka

NOW = 1_370_000_000_000


@pytest.fixture
async def plane(kafka: Kafka, make_topics: MakeTopics) -> ControlPlane:
    control, decisions = await make_topics("control", "decisions", settings={"cleanup.policy": "compact"})
    return ControlPlane(KafkaSettings(servers=tuple(kafka.servers)), "flights", control, decisions, clock=lambda: NOW)


@pytest.fixture
async def follower(plane: ControlPlane) -> AsyncIterator[ControlFollower]:
    follower = ControlFollower(plane.kafka, plane.pipeline, plane.control_topic)
    yield follower
    await follower.stop()


async def use(plane: ControlPlane, version: int, **more: Any) -> Control:
    model = ModelRef("delay", version)
    return await plane.change(champion("flights", model), command=f"use {model}", reason="better", **more)


async def records(plane: ControlPlane, topic: str) -> list[ConsumerRecord]:
    """All committed records of the topic."""
    found: list[ConsumerRecord] = []
    async with clients.consumer(plane.kafka) as consumer:
        partitions = await clients.partitions(consumer, topic)
        consumer.assign(partitions)
        async for run in to_the_end(consumer, partitions):
            found += run
    return found


async def decisions(plane: ControlPlane) -> list[Decision]:
    return [msgspec.json.decode(record.value, type=Decision) for record in await records(plane, plane.decisions_topic)]


async def write_raw(plane: ControlPlane, value: bytes | None, schema: bytes = CONTROL_SCHEMA[1]) -> None:
    async with clients.producer(plane.kafka) as producer:
        await producer.send_and_wait(
            plane.control_topic, key=b"flights", value=value, headers=[(SCHEMA_HEADER, schema)], partition=0
        )


async def until(condition: Callable[[], bool], deadline_s: float = 20.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def collect(follower: ControlFollower) -> tuple[list[Control], asyncio.Task[None]]:
    seen: list[Control] = []

    async def follow() -> None:
        async for control in follower:
            seen.append(control)  # noqa: PERF401

    return seen, asyncio.create_task(follow())


async def test_a_new_pipeline_has_no_control(plane: ControlPlane) -> None:
    assert await plane.read() is None


async def test_what_is_written_is_read_and_its_decision_says_who_and_why(plane: ControlPlane) -> None:
    first = await use(plane, 1, author="ada@lab")
    second = await use(plane, 2)
    assert first == Control("flights", 1, ModelRef("delay", 1), "ada@lab", "better", NOW)
    assert await plane.read() == second
    assert (second.revision, second.author) == (2, default_author())
    assert await decisions(plane) == [
        Decision("flights", 1, "use delay@1", "ada@lab", "better", NOW, None, first),
        Decision("flights", 2, "use delay@2", default_author(), "better", NOW, first, second),
    ]


async def test_a_change_that_changes_nothing_writes_nothing(plane: ControlPlane) -> None:
    first = await use(plane, 1)
    assert await use(plane, 1) == first
    assert len(await decisions(plane)) == 1


async def test_the_look_that_led_to_a_change_stands_in_its_decision(plane: ControlPlane) -> None:
    look = Look("rollout-1", ModelRef("delay", 2), ModelRef("delay", 1), 0, 0.01, NOW, "promote", "better")
    await use(plane, 1, look=look)
    assert [decision.look for decision in await decisions(plane)] == [look]


async def test_a_state_that_no_worker_could_follow_is_never_written(plane: ControlPlane) -> None:
    present = await use(plane, 1)
    nowhere = msgspec.structs.replace(present, rules=(Rule("staff", "nowhere"),))
    with pytest.raises(InvalidControl, match="rule staff"):
        await plane.change(lambda _: nowhere, command="by hand", reason="")
    assert await plane.read() == present
    await write_raw(plane, msgspec.json.encode(nowhere))
    assert await plane.read() == present


async def test_a_note_fences_nobody_and_changes_nothing(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    present = await use(plane, 1)
    note = Decision(
        "flights", 1, "stage delay@2", "ada@lab", "", NOW, staging=Staging(ModelRef("delay", 2), "5f", True)
    )
    written, attempts = ControlPlane._write, 0

    async def noted_meanwhile(self: ControlPlane, *rest: Any) -> Any:
        nonlocal attempts
        attempts += 1
        await self.record(note)
        return await written(self, *rest)

    monkeypatch.setattr(ControlPlane, "_write", noted_meanwhile)
    assert (await use(plane, 2)).revision == present.revision + 1
    assert attempts == 1
    trail = await decisions(plane)
    assert (trail[1], [decision.revision for decision in trail]) == (note, [1, 1, 2])


async def test_a_change_from_another_revision_is_a_conflict(plane: ControlPlane) -> None:
    await use(plane, 1, expected_revision=0)
    with pytest.raises(Conflict, match="control record of flights is at revision 1, not 0") as conflict:
        await use(plane, 2, expected_revision=0)
    assert conflict.value.found_revision == 1
    assert len(await decisions(plane)) == 1


async def test_of_two_writers_from_the_same_revision_one_wins(plane: ControlPlane) -> None:
    for revision in range(4):
        results = await asyncio.gather(
            *(use(plane, 10 * revision + n, expected_revision=revision) for n in (1, 2)), return_exceptions=True
        )
        won = [result for result in results if isinstance(result, Control)]
        lost = [result for result in results if isinstance(result, Conflict)]
        assert (len(won), len(lost)) == (1, 1), results
        assert await plane.read() == won[0]
    assert [decision.revision for decision in await decisions(plane)] == [1, 2, 3, 4]


async def test_twenty_writers_at_once_make_one_history(plane: ControlPlane) -> None:
    results = await asyncio.gather(*(use(plane, version) for version in range(1, 21)))
    assert sorted(control.revision for control in results) == list(range(1, 21))
    trail = await decisions(plane)
    assert [decision.after for decision in trail] == sorted(results, key=lambda control: control.revision)
    assert [decision.before for decision in trail] == [None, *[decision.after for decision in trail[:-1]]]


async def test_a_writer_that_dies_before_its_commit_leaves_nothing(plane: ControlPlane) -> None:
    dead = AIOKafkaProducer(bootstrap_servers=list(plane.kafka.servers), transactional_id=plane.control_topic)
    await dead.start()
    await dead.begin_transaction()
    orphan = Control("flights", 1, ModelRef("delay", 9), "ghost", "never", NOW)
    await dead.send_and_wait(
        plane.control_topic, msgspec.json.encode(orphan), key=b"flights", partition=0, headers=[CONTROL_SCHEMA]
    )
    assert await plane.read() is None
    assert (await use(plane, 1)).revision == 1
    assert await plane.read() == (await decisions(plane))[-1].after
    with pytest.raises(Exception, match="newer producer"):
        await dead.commit_transaction()
    await dead.stop()
    assert [decision.author for decision in await decisions(plane)] == [default_author()]


async def test_a_writer_whose_commit_was_not_answered_finds_its_own_record(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = ControlPlane._write

    async def answer_lost(self: ControlPlane, producer: Any, *rest: Any) -> None:
        monkeypatch.setattr(ControlPlane, "_write", written)
        await written(self, producer, *rest)
        async with clients.producer(self.kafka, transactional_id=self.control_topic):
            pass  # fences the writer, as another command does
        await written(self, producer, *rest)

    monkeypatch.setattr(ControlPlane, "_write", answer_lost)
    assert (await use(plane, 1)).revision == 1
    assert len(await decisions(plane)) == 1


async def test_a_follower_starts_with_the_present_state_and_sees_changes_in_order(
    plane: ControlPlane, follower: ControlFollower
) -> None:
    await use(plane, 1)
    present = await use(plane, 2)
    await follower.start()
    assert follower.current == present
    seen, task = collect(follower)
    changes = [await use(plane, version) for version in (3, 4, 5)]
    await until(lambda: len(seen) == 3)
    assert seen == changes
    await follower.stop()
    await task
    assert follower.current == changes[-1]


async def test_whoever_iterates_next_misses_nothing(plane: ControlPlane, follower: ControlFollower) -> None:
    """A worker takes its first model from one iteration, and what comes later from another."""
    await follower.start()
    written = [await use(plane, version) for version in (1, 2, 3)]  # all of them in one fetch
    async for first in follower:
        assert first == written[0]
        break
    seen, _ = collect(follower)
    await until(lambda: len(seen) == 2)
    assert seen == written[1:]


async def test_a_follower_starts_although_nothing_was_decided(plane: ControlPlane, follower: ControlFollower) -> None:
    await follower.start()
    assert follower.current is None
    seen, _ = collect(follower)
    first = await use(plane, 1)
    await until(lambda: seen == [first])


async def test_a_follower_does_not_wait_for_a_dead_writers_transaction(
    plane: ControlPlane, follower: ControlFollower
) -> None:
    present = await use(plane, 1)
    async with clients.producer(plane.kafka, transactional_id=plane.control_topic) as writer:
        await writer.begin_transaction()
        await writer.send_and_wait(plane.control_topic, b"never", key=b"flights", partition=0)
        await asyncio.wait_for(follower.start(), timeout=5.0)
        assert follower.current == present
        await writer.abort_transaction()


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (b"{not json", CONTROL_SCHEMA[1]),
        (b'{"pipeline": "flights"}', CONTROL_SCHEMA[1]),
        (b"\xff\xfe", CONTROL_SCHEMA[1]),
        (None, CONTROL_SCHEMA[1]),
        (b"{}", b"control/2"),
        (b"{}", b"alert/1"),
    ],
)
async def test_a_record_that_cannot_be_read_is_said_once_and_changes_nothing(
    plane: ControlPlane,
    follower: ControlFollower,
    caplog: pytest.LogCaptureFixture,
    value: bytes | None,
    schema: bytes,
) -> None:
    present = await use(plane, 1)
    await write_raw(plane, value, schema)
    with caplog.at_level(logging.ERROR):
        await follower.start()
    assert follower.current == present
    [message] = [record.getMessage() for record in caplog.records if record.name == "penstock.streams.control.follower"]
    assert "is not a control record that can be used" in message


async def test_a_later_versions_record_is_not_written_over(plane: ControlPlane) -> None:
    await use(plane, 1)
    await write_raw(plane, b'{"revision": 7}', b"control/2")
    with pytest.raises(UnreadableControl, match=r"control/2.*Upgrade Penstock"):
        await use(plane, 2)


async def test_garbage_is_repaired_by_the_next_change(plane: ControlPlane, follower: ControlFollower) -> None:
    await use(plane, 1)
    await write_raw(plane, b"garbage")
    assert (await use(plane, 2)).revision == 2
    await follower.start()
    assert follower.current is not None
    assert follower.current.champion == ModelRef("delay", 2)


async def test_an_older_revision_changes_nothing(plane: ControlPlane, follower: ControlFollower) -> None:
    await use(plane, 1)
    second = await use(plane, 2)
    await write_raw(plane, msgspec.json.encode(msgspec.structs.replace(second, revision=1)))
    await follower.start()
    assert follower.current == second


async def test_a_missing_topic_and_a_missing_broker_are_said(plane: ControlPlane, unused_tcp_port: int) -> None:
    with pytest.raises(TopicMissing, match="penstock topics create"):
        await ControlPlane(plane.kafka, "flights", f"{plane.control_topic}.gone", plane.decisions_topic).read()
    away = KafkaSettings(servers=(f"127.0.0.1:{unused_tcp_port}",))
    with pytest.raises(UnreachableError):
        await ControlPlane(away, "flights", plane.control_topic, plane.decisions_topic).read()


async def test_a_follower_outlives_its_broker_and_keeps_the_last_state(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path) as kafka:
        plane = ControlPlane(KafkaSettings(servers=tuple(kafka.servers)), "flights", "control", "decisions")
        async with clients.admin(plane.kafka) as admin:
            await admin.create_topics([NewTopic("control", 1, 1), NewTopic("decisions", 1, 1)])
        first = await use(plane, 1)
        follower = ControlFollower(plane.kafka, "flights", "control")
        await follower.start()
        seen, task = collect(follower)
        await asyncio.to_thread(kafka.kill, 0)
        assert follower.current == first
        await asyncio.to_thread(kafka.restart, 0)
        second = await use(plane, 2)
        await until(lambda: seen == [second], deadline_s=60.0)
        await follower.stop()
        await task
