"""The embedded broker is a real one: what it was told it keeps, through stops, crashes and the loss of a broker."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from penstock.streams.embedded import EmbeddedKafka
from penstock.streams.embedded import kafka as kafka_module
from penstock.streams.embedded.errors import DirectoryInUse, OtherCluster, StartFailed
from penstock.streams.embedded.processes import free_ports, is_running
from penstock.streams.embedded.testing import Kafka, MakeTopics

pytestmark = pytest.mark.kafka

SOON = {"broker.session.timeout.ms": "2000"}  # a killed broker may come back only after this time
SASL = {
    "sasl.enabled.mechanisms": "PLAIN",
    "listener.name.sasl.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        'username="admin" password="admin-secret" user_worker="worker-secret";'
    ),
}
LOGIN = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": "PLAIN",
    "sasl_plain_username": "worker",
    "sasl_plain_password": "worker-secret",
}


async def create(servers: list[str], topic: str, *, replicas: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, replicas)])
    finally:
        await admin.close()


async def send(servers: list[str], topic: str, *values: bytes, **login: Any) -> None:
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True, **login) as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def read(servers: list[str], topic: str, count: int) -> list[bytes]:
    async with AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        return [(await consumer.getone()).value for _ in range(count)]


async def test_a_record_comes_back_as_it_was_sent(kafka: Kafka, make_topics: MakeTopics) -> None:
    [topic] = await make_topics("events")
    await send(kafka.servers, topic, b"first", b"second")
    assert await read(kafka.servers, topic, 2) == [b"first", b"second"]


async def test_records_and_addresses_survive_a_crash_and_an_offline_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = EmbeddedKafka(tmp_path, listeners={"SASL": "SASL_PLAINTEXT"}, extra={**SASL, **SOON})
    with kafka:
        servers = kafka.servers
        await create(servers, "events")
        await send(kafka.addresses("SASL"), "events", b"sent with a password", **LOGIN)
        kafka.kill(0)
        assert kafka.pids() == []
        kafka.restart(0)
        await send(kafka.servers, "events", b"sent after the crash")
        with pytest.raises(DirectoryInUse, match=str(os.getpid())):
            EmbeddedKafka(tmp_path).start()

    with pytest.raises(OtherCluster, match=r"holds the data of 1 broker\(s\); 3 were asked for"):
        EmbeddedKafka(tmp_path, brokers=3).start()
    for variable in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens there: no network but the loopback
    with kafka:
        assert kafka.servers == servers
        assert await read(servers, "events", 2) == [b"sent with a password", b"sent after the crash"]
    assert kafka.pids() == []


def test_a_broker_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"(?s)ended with status 1.*num\.io\.threads"):
        EmbeddedKafka(tmp_path, extra={"num.io.threads": "none"}).start()


def test_the_broker_ends_when_its_parent_is_killed_while_it_starts(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from penstock.streams.embedded import EmbeddedKafka\n"
        "EmbeddedKafka(Path(sys.argv[1])).start()"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    log = tmp_path / "broker-0.log"
    deadline = time.monotonic() + 120
    while not (log.exists() and "KafkaRaftServer" in log.read_text()):
        assert parent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    with EmbeddedKafka(tmp_path) as again:  # waits for the lock, which the broker holds until it is gone
        [pid] = again.pids()
    assert not is_running(pid)


async def test_a_port_that_somebody_takes_before_the_broker_does_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        first_choice = iter([[taken]])

        def choose(count: int, *, besides: Iterable[int] = ()) -> list[int]:
            return next(first_choice, None) or free_ports(count, besides=besides)

        monkeypatch.setattr(kafka_module, "free_ports", choose)
        with EmbeddedKafka(tmp_path, heap_mb=256) as kafka:
            assert kafka.servers != [f"127.0.0.1:{taken}"]
            await create(kafka.servers, "events")
            await send(kafka.servers, "events", b"1")
            assert await read(kafka.servers, "events", 1) == [b"1"]


@pytest.mark.slow
async def test_three_brokers_lose_one_and_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path, brokers=3, heap_mb=256, extra=SOON) as kafka:
        await create(kafka.servers, "events", replicas=3)
        sent = [b"%d" % number for number in range(300)]
        async with AIOKafkaProducer(bootstrap_servers=kafka.servers, acks="all", enable_idempotence=True) as producer:
            for number, value in enumerate(sent):
                if number == 100:
                    await asyncio.to_thread(kafka.kill, 0)
                if number == 200:
                    await asyncio.to_thread(kafka.restart, 0)
                await producer.send_and_wait("events", value)
        assert await read(kafka.servers, "events", len(sent)) == sent
        assert len(kafka.pids()) == 3
