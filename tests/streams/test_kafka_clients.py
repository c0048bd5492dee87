from __future__ import annotations

import socket
import ssl
from pathlib import Path

import faust
import pytest
from aiokafka.errors import GroupAuthorizationFailedError
from certificates import Authority
from guarded_kafka import connect
from pydantic import SecretStr

from penstock.schemas.errors import ConfigurationError, UnreachableError
from penstock.streams import kafka as clients
from penstock.streams.embedded.testing import Kafka, MakeTopics
from penstock.streams.kafka import TopicMissing
from penstock.streams.settings import KafkaSettings

pytestmark = pytest.mark.kafka


def test_a_refusal_is_found_behind_what_it_led_to() -> None:
    worker = KafkaSettings()
    try:
        try:
            raise GroupAuthorizationFailedError("p.watch")
        except GroupAuthorizationFailedError as error:
            raise RuntimeError("crashed") from error
    except RuntimeError as crash:
        found = clients.access_refused(crash, worker)

    assert found is not None
    assert found.what == "the use of the consumer group p.watch"
    assert clients.access_refused(RuntimeError("crashed"), worker) is None
    from_itself = RuntimeError("as mode raises it")
    from_itself.__cause__ = from_itself
    assert clients.access_refused(from_itself, worker) is None
    from_itself.__context__ = GroupAuthorizationFailedError("p.watch")
    assert clients.access_refused(from_itself, worker) is not None


async def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        settings = KafkaSettings(servers=(f"127.0.0.1:{reserved.getsockname()[1]}",))
        with pytest.raises(UnreachableError, match="connection refused"):
            await connect(settings)


async def test_a_port_that_never_answers_does_not_hang() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = KafkaSettings(servers=(f"127.0.0.1:{silent.getsockname()[1]}",))
        with pytest.raises(UnreachableError, match=r"no answer within 0\.3 s"):
            async with clients.consumer(settings, deadline_s=0.3):
                pass


async def test_a_reader_knows_when_it_has_all_that_was_committed(kafka: Kafka, make_topics: MakeTopics) -> None:
    [topic] = await make_topics("events", partitions=2)
    settings = KafkaSettings(servers=tuple(kafka.servers))
    async with clients.producer(settings, transactional_id=topic) as producer:
        async with producer.transaction():
            await producer.send(topic, b"committed", partition=0)
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"open", partition=0)
        async with clients.consumer(settings) as reader:
            partitions = await clients.partitions(reader, topic)
            reader.assign(partitions)
            ends = await clients.end_offsets(reader, partitions)
            read = []
            while not await clients.at_end(reader, ends):
                batches = await reader.getmany(timeout_ms=100)
                read += [record.value for batch in batches.values() for record in batch]
        await producer.abort_transaction()

    assert read == [b"committed"]
    assert [ends[partition] for partition in partitions] == [2, 0]  # the record and the marker that commits it


async def test_a_topic_that_does_not_exist_is_missed_at_once(kafka: Kafka) -> None:
    async with clients.consumer(KafkaSettings(servers=tuple(kafka.servers))) as reader:
        with pytest.raises(TopicMissing, match="penstock topics create"):
            await clients.partitions(reader, "nobody-made-this")


def test_plain_settings_ask_for_no_credentials() -> None:
    settings = KafkaSettings(servers=("a:1", "b:2"))

    assert clients.client_options(settings) == {"bootstrap_servers": ["a:1", "b:2"], "security_protocol": "PLAINTEXT"}
    assert clients.faust_options(settings) == {"broker": ["kafka://a:1", "kafka://b:2"], "broker_credentials": None}


def test_faust_gets_the_same_credentials(tmp_path: Path) -> None:
    ca = Authority(tmp_path).ca
    settings = KafkaSettings(
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="me",
        sasl_password=SecretStr("hunter2"),
        ssl_ca_file=ca,
    )

    credentials = clients.faust_options(settings)["broker_credentials"]

    assert isinstance(credentials, faust.SASLCredentials)
    assert credentials.password == "hunter2"
    assert credentials.ssl_context is clients.client_options(settings)["ssl_context"]
    assert clients.client_options(settings)["ssl_context"].verify_mode == ssl.CERT_REQUIRED


def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    certificate = Authority(tmp_path).ca
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nothing")

    with pytest.raises(ConfigurationError, match=r"kafka\.ssl_ca_file is .*expected CA certificates in PEM form"):
        clients.client_options(KafkaSettings(security_protocol="SSL", ssl_ca_file=nonsense))
    with pytest.raises(ConfigurationError, match=r"kafka\.ssl_certificate_file is .*the key that belongs to it"):
        clients.client_options(
            KafkaSettings(security_protocol="SSL", ssl_certificate_file=certificate, ssl_key_file=nonsense)
        )
