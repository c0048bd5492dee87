"""A worker that died on this host is taken out of its group by the next one that starts here."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from pipelines import Kafka, until

from penstock.streams.embedded.testing import MakeTopics
from penstock.streams.transport import predecessors
from penstock.streams.transport.membership import leave, on_name
from penstock.streams.transport.predecessors import Names, say_goodbye_for_the_dead

PROMPT_S = 15.0

MEMBER = """
import sys
from pathlib import Path
from penstock.streams.transport.predecessors import Names
names = Names(Path(sys.argv[1]))
names.bear(sys.argv[2])
print("ready", flush=True)
sys.stdin.read()
"""


def test_the_names_of_the_dead_are_given_out_once_and_those_of_the_living_never(tmp_path: Path) -> None:
    living, leaving = Names(tmp_path), Names(tmp_path)
    living.bear("living")
    leaving.bear("leaving")
    leaving.bear("")
    command = [sys.executable, "-c", MEMBER, str(tmp_path), "killed"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert Names(tmp_path).of_the_dead() == []
        process.kill()
    assert Names(tmp_path).of_the_dead() == ["killed"]
    assert Names(tmp_path).of_the_dead() == []
    living.bear("")


def test_a_name_that_is_changed_is_the_last_one(tmp_path: Path) -> None:
    names = Names(tmp_path)
    names.bear("a-long-name-of-a-member")
    names.bear("short")
    _die(names)
    assert Names(tmp_path).of_the_dead() == ["short"]


def test_a_place_that_cannot_be_written_notes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    names = Names(tmp_path / "file")
    names.bear("somebody")
    assert names.of_the_dead() == []
    names.bear("")


def test_on_a_cache_that_hosts_share_nobody_takes_the_living_of_another_host_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where locks hold on their own host only, as `_die` leaves them for the others here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = {"bootstrap_servers": ["kafka:9092"]}
    names = Names.of(options, "flights.score")
    names.bear("living elsewhere")
    _die(names)

    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "another")
        assert Names.of(options, "flights.score").of_the_dead() == []
    with monkeypatch.context() as elsewhere:  # a host of the same name, as containers have it
        (tmp_path / "boot_id").write_text("another\n")
        elsewhere.setattr(predecessors, "BOOT_ID", tmp_path / "boot_id")
        assert Names.of(options, "flights.score").of_the_dead() == []
        elsewhere.setattr(predecessors, "BOOT_ID", tmp_path / "none")
        assert Names.of(options, "flights.score").of_the_dead() == []
    assert Names.of(options, "flights.score").of_the_dead() == ["living elsewhere"]


@pytest.mark.kafka
async def test_nobody_waits_for_the_session_of_a_dead_member(
    kafka: Kafka, make_topics: MakeTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    [topic] = await make_topics("events", partitions=2)
    options = {"bootstrap_servers": kafka.servers}

    def member() -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **options, group_id=topic, session_timeout_ms=60_000, rebalance_timeout_ms=60_000,
            heartbeat_interval_ms=100, enable_auto_commit=False,
        )  # fmt: skip

    async with member() as staying, member() as dying:
        names = Names.of(options, topic)
        on_name(dying, names.bear)
        for consumer in (staying, dying):
            consumer.subscribe([topic])
        await until(lambda: len(dying.assignment()) == 1, "they share the partitions", timeout_s=PROMPT_S)
        assert await say_goodbye_for_the_dead(options, topic) == [], "it lives"

        name = dying._coordinator.member_id
        dying._coordinator._coordination_task.cancel()
        await dying._coordinator._stop_heartbeat_task()
        _die(names)
        assert await say_goodbye_for_the_dead(options, topic) == [name]
        await until(lambda: len(staying.assignment()) == 2, "the other one owns both", timeout_s=PROMPT_S)


@pytest.mark.kafka
async def test_who_left_in_order_leaves_no_name_behind(
    kafka: Kafka, make_topics: MakeTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    [topic] = await make_topics("events")
    options = {"bootstrap_servers": kafka.servers}
    async with AIOKafkaConsumer(**options, group_id=topic, enable_auto_commit=False) as leaving, asyncio.timeout(60):
        on_name(leaving, Names.of(options, topic).bear)
        leaving.subscribe([topic])
        await until(leaving.assignment, "it has joined")
        await leave(leaving, patience_s=PROMPT_S)
    [folder] = (tmp_path / "penstock" / "members").iterdir()
    assert not list(folder.iterdir())


def _die(names: Names) -> None:
    """As the kernel does it for a dead process: the lock goes, the file stays."""
    assert names._own is not None
    names._own[1].close()
