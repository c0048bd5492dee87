from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faust
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from penstock.schemas.errors import ConfigurationError, UnreachableError
from penstock.streams import kafka as clients
from penstock.streams.embedded import EmbeddedKafka
from penstock.streams.embedded.testing import Kafka, MakeTopics
from penstock.streams.kafka import AccessRefused, TopicMissing
from penstock.streams.settings import KafkaSettings

pytestmark = pytest.mark.kafka


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and the same with its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "penstock-test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    ca, both = directory / "ca.pem", directory / "server.pem"
    ca.write_bytes(public)
    both.write_bytes(private + public)
    return ca, both


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    """A broker with TLS, passwords and access control lists, and the settings of its administrator."""
    directory = tmp_path_factory.mktemp("secure")
    ca, both = write_certificate(directory)
    listener = "listener.name.secure."
    extra = {
        "sasl.enabled.mechanisms": "PLAIN",
        listener + "plain.sasl.jaas.config": (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            'user_admin="admin-secret" user_guest="guest-secret";'
        ),
        listener + "ssl.keystore.type": "PEM",
        listener + "ssl.keystore.location": str(both),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin",
    }
    with EmbeddedKafka(directory / "kafka", listeners={"SECURE": "SASL_SSL"}, extra=extra) as broker:
        yield KafkaSettings(
            servers=tuple(broker.addresses("SECURE")),
            security_protocol="SASL_SSL",
            sasl_mechanism="PLAIN",
            sasl_username="admin",
            sasl_password=SecretStr("admin-secret"),
            ssl_ca_file=ca,
        )


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

    with pytest.raises(AccessRefused, match=r"the use of the transactional id: not authorised\. Allow it to guest"):
        async with clients.producer(guest, transactional_id="flights"):
            pass


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
    ca, _ = write_certificate(tmp_path)
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
    certificate, _ = write_certificate(tmp_path)
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nothing")

    with pytest.raises(ConfigurationError, match=r"kafka\.ssl_ca_file is .*expected CA certificates in PEM form"):
        clients.client_options(KafkaSettings(security_protocol="SSL", ssl_ca_file=nonsense))
    with pytest.raises(ConfigurationError, match=r"kafka\.ssl_certificate_file is .*the key that belongs to it"):
        clients.client_options(
            KafkaSettings(security_protocol="SSL", ssl_certificate_file=certificate, ssl_key_file=nonsense)
        )
