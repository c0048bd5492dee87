from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import faust
import pytest
from aiokafka.errors import GroupAuthorizationFailedError
from certificates import Authority
from kafka_users import add_scram_user, allow
from pydantic import SecretStr

from penstock.schemas.errors import ConfigurationError, UnreachableError
from penstock.streams import kafka as clients
from penstock.streams import topics
from penstock.streams.embedded import EmbeddedKafka
from penstock.streams.embedded.testing import Kafka, MakeTopics
from penstock.streams.kafka import AccessRefused, TopicMissing
from penstock.streams.settings import KafkaSettings, Settings

pytestmark = pytest.mark.kafka


class Guarded(NamedTuple):
    """A broker that lets in who proves himself, and does what it allowed him; and its authority for certificates."""

    broker: EmbeddedKafka
    authority: Authority

    @property
    def plain(self) -> str:
        """Where whoever connects is a super user."""
        return self.broker.servers[0]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """TLS with passwords (PLAIN, SCRAM) at one listener, with client certificates at another, and access control."""
    directory = tmp_path_factory.mktemp("secure")
    authority = Authority(directory)
    server = authority.issue("broker")
    secure, certified = "listener.name.secure.", "listener.name.certified."
    extra = {
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        secure + "plain.sasl.jaas.config": (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            'user_admin="admin-secret" user_guest="guest-secret";'
        ),
        secure + "scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        certified + "ssl.client.auth": "required",
        certified + "ssl.truststore.type": "PEM",
        certified + "ssl.truststore.location": str(authority.ca),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin;User:CN=operator",
    }
    for listener in (secure, certified):
        extra |= {listener + "ssl.keystore.type": "PEM", listener + "ssl.keystore.location": str(server)}
    listeners = {"SECURE": "SASL_SSL", "CERTIFIED": "SSL"}
    with EmbeddedKafka(directory / "kafka", listeners=listeners, extra=extra) as broker:
        add_scram_user(broker.servers[0], "worker", "worker-secret")
        yield Guarded(broker, authority)


@pytest.fixture(scope="module")
def secure(guarded: Guarded) -> KafkaSettings:
    """An administrator's way in."""
    return KafkaSettings(
        servers=tuple(guarded.broker.addresses("SECURE")),
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_username="admin",
        sasl_password=SecretStr("admin-secret"),
        ssl_ca_file=guarded.authority.ca,
    )


@pytest.fixture(scope="module")
def worker(secure: KafkaSettings) -> KafkaSettings:
    """A worker's, who has what he was given."""
    mechanism, password = "SCRAM-SHA-512", SecretStr("worker-secret")
    return but(secure, sasl_mechanism=mechanism, sasl_username="worker", sasl_password=password)


def but(settings: KafkaSettings, **changes: Any) -> KafkaSettings:
    return KafkaSettings(**{**dict(settings), **changes})


async def connect(settings: KafkaSettings) -> int:
    async with clients.admin(settings, deadline_s=10) as admin:
        return len((await admin.describe_cluster())["brokers"])


async def test_tls_and_a_password_get_in(secure: KafkaSettings) -> None:
    assert await connect(secure) == 1


async def test_a_wrong_password_is_told_from_a_broker_that_is_down(secure: KafkaSettings) -> None:
    with pytest.raises(AccessRefused, match=r"refused our credentials: .*Correct kafka\.sasl_mechanism") as caught:
        await connect(but(secure, sasl_password=SecretStr("hunter2")))
    assert "hunter2" not in str(caught.value)


async def test_a_certificate_that_nobody_trusts_is_named(secure: KafkaSettings) -> None:
    with pytest.raises(UnreachableError, match=r"TLS failed .*kafka\.ssl_ca_file"):
        await connect(but(secure, ssl_ca_file=None))


async def test_the_wrong_protocol_is_suspected_where_the_broker_hangs_up(secure: KafkaSettings) -> None:
    plain = KafkaSettings(servers=secure.servers)

    with pytest.raises(UnreachableError, match=r"Is kafka\.security_protocol what this port speaks"):
        await connect(plain)


async def test_what_is_not_allowed_is_named_with_who_asked(secure: KafkaSettings, make_topics: MakeTopics) -> None:
    guest = but(secure, sasl_username="guest", sasl_password=SecretStr("guest-secret"))

    with pytest.raises(AccessRefused, match=r"transactional id flights: not authorised\. Allow it to guest"):
        async with clients.producer(guest, transactional_id="flights"):
            pass


async def test_a_salted_password_gets_in(worker: KafkaSettings) -> None:
    assert await connect(worker) == 1
    with pytest.raises(AccessRefused, match=r"refused our credentials: .*Correct kafka\.sasl_mechanism"):
        await connect(but(worker, sasl_password=SecretStr("hunter2")))


async def test_a_client_certificate_gets_in(guarded: Guarded) -> None:
    operator, expired = guarded.authority.issue("operator"), guarded.authority.issue("retired", ago=timedelta(hours=9))
    settings = KafkaSettings(
        servers=tuple(guarded.broker.addresses("CERTIFIED")),
        security_protocol="SSL",
        ssl_ca_file=guarded.authority.ca,
        ssl_certificate_file=operator,
    )

    assert await connect(settings) == 1
    for refused in (None, expired):
        with pytest.raises(UnreachableError, match=r"kafka\.ssl_certificate_file"):
            await connect(but(settings, ssl_certificate_file=refused))


async def test_a_certificate_for_another_name_is_refused(secure: KafkaSettings) -> None:
    port = secure.servers[0].rpartition(":")[2]

    with pytest.raises(UnreachableError, match=r"TLS failed .*the host names in kafka\.servers"):
        await connect(but(secure, servers=(f"localhost:{port}",)))


async def refused(what: Callable[[], Awaitable[object]], expected: str, *, deadline_s: float = 10.0) -> bool:
    """Whether `what` is refused because of this, once the broker knows its newest rules."""
    give_up = time.monotonic() + deadline_s
    while True:
        with pytest.raises(AccessRefused, match=r"not authorised\. Allow it to worker in the brokers'") as caught:
            await what()
        if caught.value.what == expected or time.monotonic() > give_up:
            return caught.value.what == expected
        await asyncio.sleep(0.05)


async def test_a_worker_is_told_what_he_may_not_use_thing_by_thing(
    guarded: Guarded, secure: KafkaSettings, worker: KafkaSettings
) -> None:
    """And of no topic that he may not see is it said that there is none."""
    tree = {"pipeline": {"name": "p"}, "events": {"topic": "p.events"}, "features": {"x": {"type": "float"}}}
    operators = Settings.of(tree).model_copy(update={"kafka": secure})
    settings = operators.model_copy(update={"kafka": worker})
    await topics.create(operators)

    async def write() -> None:
        async with clients.producer(worker) as producer:
            await producer.send_and_wait("p.alerts", b"x", partition=0)

    def start() -> Awaitable[int]:
        return topics.require(settings, "watch")

    assert await refused(start, "this operation on the topic p.scored")
    assert await refused(lambda: topics.create(settings), "this operation on the topic p.events")
    allow(guarded.plain, "worker", "describe", "topic", "p.")
    assert await refused(start, "the use of the consumer group p.watch")
    assert await refused(write, "this operation on the cluster")
    allow(guarded.plain, "worker", "write", "topic", "p.events")
    assert await refused(write, "this operation on the topic p.alerts")


async def test_a_refusal_is_found_behind_what_it_led_to(worker: KafkaSettings) -> None:
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
