"""A broker that asks for TLS and credentials, and allows nobody anything but what it was told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from certificates import Authority

from penstock.streams import kafka as clients
from penstock.streams.embedded import EmbeddedKafka
from penstock.streams.settings import KafkaSettings


class Guarded(NamedTuple):
    """A broker that lets in who proves himself, and does what it allowed him; and its authority for certificates."""

    broker: EmbeddedKafka
    authority: Authority

    @property
    def plain(self) -> str:
        """Where whoever connects is a super user."""
        return self.broker.servers[0]


@contextmanager
def guarding(directory: Path) -> Iterator[Guarded]:
    """TLS with passwords (PLAIN, SCRAM) at one listener, with client certificates at another, and access control."""
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
        yield Guarded(broker, authority)


async def connect(settings: KafkaSettings) -> int:
    """How many brokers it finds there."""
    async with clients.admin(settings, deadline_s=10) as admin:
        return len((await admin.describe_cluster())["brokers"])
