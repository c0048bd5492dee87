"""Kafka clients from the settings, and the one place where aiokafka's errors become sentences.

`consumer`, `producer` and `admin` are started clients as context managers: whatever goes wrong inside with reaching the
brokers, proving who we are or being allowed to do something is raised as an UnreachableError or AccessRefused.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn

from penstock.schemas.errors import ConfigurationError, PenstockError, UnreachableError

if TYPE_CHECKING:
    from penstock.streams.settings import KafkaSettings

START_DEADLINE_S = 15.0
"""How long a client of the command line tries to reach a broker."""

CLOSE_DEADLINE_S = 10.0
"""How long a client tries to hand over what it still holds when it is closed."""

_WHERE = "Start the brokers, correct kafka.servers, or run `penstock up --embedded` in another terminal."

_AUTHENTICATION = (
    errors.AuthenticationFailedError,
    errors.AuthenticationMethodNotSupported,
    errors.SaslAuthenticationFailed,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
)
_AUTHORISATION = {
    errors.TopicAuthorizationFailedError: "this operation on the topic",
    errors.GroupAuthorizationFailedError: "the use of the consumer group",
    errors.ClusterAuthorizationFailedError: "this operation on the cluster",
    errors.TransactionalIdAuthorizationFailed: "the use of the transactional id",
}
_UNREACHABLE = (
    errors.KafkaConnectionError,
    errors.KafkaTimeoutError,
    errors.RequestTimedOutError,
    errors.NoBrokersAvailable,
    errors.NodeNotReadyError,
    errors.BrokerNotAvailableError,
)


class AccessRefused(PenstockError):
    """The brokers answered, and refused who we are or what we want.

    >>> print(AccessRefused("localhost:9092", "the user name or password", "bad credentials", fix="Correct them."))
    Kafka at localhost:9092 refused the user name or password: bad credentials. Correct them.
    """

    exit_code = 7

    def __init__(self, address: str, what: str, reason: str, *, fix: str) -> None:
        self.address, self.what, self.reason, self.fix = address, what, reason, fix
        super().__init__(f"Kafka at {address} refused {what}: {reason}. {fix}")


class TopicMissing(PenstockError):
    """A topic that the command needs does not exist.

    >>> print(TopicMissing("flights.predictions"))
    The topic flights.predictions does not exist. Create it with `penstock topics create`.
    """

    exit_code = 3

    def __init__(self, topic: str) -> None:
        self.topic = topic
        super().__init__(f"The topic {topic} does not exist. Create it with `penstock topics create`.")


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Connection options that aiokafka's consumer, producer and admin client all take.

    Raises ConfigurationError when a certificate or key cannot be used.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": list(kafka.servers),
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.endswith("SSL"):
        options["ssl_context"] = ssl_context(kafka)
    if kafka.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.sasl_username
        options["sasl_plain_password"] = kafka.sasl_password.get_secret_value() if kafka.sasl_password else None
    return options


@lru_cache
def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """Built once for the same settings. Verifies the brokers' certificates and host names, with the system's
    authorities if none is given. Raises ConfigurationError when a file cannot be used.
    """
    authorities, certificate, key = kafka.ssl_ca_file, kafka.ssl_certificate_file, kafka.ssl_key_file
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise _unusable("kafka.ssl_ca_file", authorities, "CA certificates in PEM form", error) from error
    if certificate is not None:
        password = kafka.ssl_key_password.get_secret_value() if kafka.ssl_key_password else ""
        try:
            context.load_cert_chain(certificate, key, password)  # without any password OpenSSL would ask the terminal
        except OSError as error:
            expected = "a certificate and the key that belongs to it, both in PEM form"
            raise _unusable("kafka.ssl_certificate_file", certificate, expected, error) from error
    return context


def _unusable(key: str, path: Path | None, expected: str, error: OSError) -> ConfigurationError:
    reason = error.strerror or str(error) or type(error).__name__
    return ConfigurationError("the configuration", key, found=f"{str(path)!r} ({reason})", expected=expected)


def faust_options(kafka: KafkaSettings) -> dict[str, Any]:
    """The same for `faust.App`: its `broker` and `broker_credentials`."""
    import faust

    credentials: faust.auth.Credentials | None = None
    context = ssl_context(kafka) if kafka.security_protocol.endswith("SSL") else None
    if kafka.security_protocol.startswith("SASL"):
        credentials = faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password.get_secret_value() if kafka.sasl_password else None,
            ssl_context=context,
            mechanism=kafka.sasl_mechanism,
        )
    elif context is not None:
        credentials = faust.SSLCredentials(context)
    return {"broker": [f"kafka://{server}" for server in kafka.servers], "broker_credentials": credentials}


@asynccontextmanager
async def consumer(
    kafka: KafkaSettings, *topics: str, deadline_s: float = START_DEADLINE_S, **options: Any
) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer that reads committed records only; without `topics` it waits for `assign` or `subscribe`."""
    settings = {"isolation_level": "read_committed", "enable_auto_commit": False, "auto_offset_reset": "earliest"}
    client = AIOKafkaConsumer(*topics, **{**client_options(kafka), **settings, **options})
    async with _running(client, client.stop, kafka, deadline_s):
        yield client


@asynccontextmanager
async def producer(
    kafka: KafkaSettings, *, deadline_s: float = START_DEADLINE_S, **options: Any
) -> AsyncIterator[AIOKafkaProducer]:
    """A started idempotent producer; give `transactional_id` for transactions."""
    client = AIOKafkaProducer(**{**client_options(kafka), "acks": "all", "enable_idempotence": True, **options})
    async with _running(client, client.stop, kafka, deadline_s):
        yield client


@asynccontextmanager
async def admin(
    kafka: KafkaSettings, *, deadline_s: float = START_DEADLINE_S, **options: Any
) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client."""
    client = AIOKafkaAdminClient(**{**client_options(kafka), **options})
    async with _running(client, client.close, kafka, deadline_s):
        yield client


@asynccontextmanager
async def _running(
    client: Any, stop: Callable[[], Awaitable[None]], kafka: KafkaSettings, deadline_s: float
) -> AsyncIterator[None]:
    with translated(kafka):
        try:
            await _start(client, kafka, deadline_s)
            yield
        finally:
            # Without a deadline, an idempotent producer would wait for ever for a broker that has gone.
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_DEADLINE_S):
                    await stop()


async def _start(client: Any, kafka: KafkaSettings, deadline_s: float) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            await client.start()
    except errors.KafkaConnectionError as error:
        raise await _reason(kafka, deadline_s) or error from error
    except TimeoutError as error:
        raise _unreachable(kafka, f"no answer within {deadline_s:g} s") from error


async def _reason(kafka: KafkaSettings, deadline_s: float) -> PenstockError | None:
    """Why no broker could be used: aiokafka only logs that, so the first one is asked again."""
    host, _, port = kafka.servers[0].rpartition(":")
    options = {key: value for key, value in client_options(kafka).items() if key != "bootstrap_servers"}
    try:
        async with asyncio.timeout(deadline_s):
            connection = await create_conn(host.strip("[]"), int(port), **options)
    except (errors.KafkaError, OSError) as error:
        return sentence(error, kafka)
    connection.close()
    return None


@contextmanager
def translated(kafka: KafkaSettings) -> Iterator[None]:
    """Raises aiokafka's errors about reaching the brokers and being let in as PenstockErrors; others pass."""
    try:
        yield
    except errors.KafkaError as error:
        raise sentence(error, kafka) or error from error


def sentence(error: BaseException, kafka: KafkaSettings) -> PenstockError | None:
    """What `error` means to a person; None for an error that is not about reaching the brokers or being let in."""
    reason = str(error.args[0]) if error.args else ""
    if isinstance(error, _AUTHENTICATION):
        fix = "Correct kafka.sasl_mechanism, kafka.sasl_username and kafka.sasl_password."
        return AccessRefused(kafka.address, "our credentials", reason or type(error).__name__, fix=fix)
    if what := what_was_refused(error):
        fix = f"Allow it to {kafka.sasl_username or 'this client'} in the brokers' access control lists."
        return AccessRefused(kafka.address, what, "not authorised", fix=fix)
    if isinstance(error, ssl.SSLError):
        fix = "Correct kafka.security_protocol, kafka.ssl_ca_file and the host names in kafka.servers."
        return _unreachable(kafka, f"TLS failed ({error.reason or error})", fix)
    if isinstance(error, errors.KafkaConnectionError) and "closed" in reason.lower():
        fix = "Is kafka.security_protocol what this port speaks?"
        if kafka.security_protocol.endswith("SSL"):
            fix += " Does it ask for another kafka.ssl_certificate_file?"
        return _unreachable(kafka, "it closed the connection", fix)
    if isinstance(error, TimeoutError):
        return _unreachable(kafka, "no answer in time")
    if isinstance(error, OSError):
        return _unreachable(kafka, os.strerror(error.errno).lower() if error.errno else str(error))
    if isinstance(error, _UNREACHABLE):
        return _unreachable(kafka, reason or type(error).__name__)
    return None


def is_refusal(error: BaseException) -> bool:
    """Whether the brokers know us, and do not let us."""
    return isinstance(error, (AccessRefused, *_AUTHORISATION))


def what_was_refused(error: BaseException, *, of_the_topic: str | None = None) -> str:
    """What the brokers do not let us do, and with what; empty where `error` says nothing of the kind.

    aiokafka does not say what it wanted with a topic; who called it may (`of_the_topic`).
    """
    for kind, what in _AUTHORISATION.items():
        if isinstance(error, kind):
            told = of_the_topic if kind is errors.TopicAuthorizationFailedError else None
            return f"{told or what}{_names(error)}"
    return ""


def access_refused(error: BaseException, kafka: KafkaSettings) -> AccessRefused | None:
    """What the brokers refused, where `error`, or one that led to it, says that they did."""
    led_to, seen = [error], set[int]()
    while led_to:
        seen.add(id(error := led_to.pop()))
        if isinstance(found := sentence(error, kafka), AccessRefused):
            return found
        # mode raises an error from itself, which leaves what led to it in its context.
        causes = (error.__context__, error.__cause__)
        led_to += [cause for cause in causes if cause is not None and id(cause) not in seen]
    return None


def _names(error: BaseException) -> str:
    """Of the topics or groups that an error is about, where it says."""
    names = error.args[0] if error.args else ()
    found = [names] if isinstance(names, str) else sorted(map(str, names)) if isinstance(names, set | frozenset) else []
    return f" {', '.join(found)}" if found else ""


def _unreachable(kafka: KafkaSettings, reason: str, fix: str = _WHERE) -> UnreachableError:
    return UnreachableError("Kafka", kafka.address, reason, fix=fix)


async def partitions(client: AIOKafkaConsumer, topic: str, *, patience_s: float = 2.0) -> list[TopicPartition]:
    """All of the topic's partitions, in order. Raises TopicMissing; AccessRefused where we may not even know of it.

    A topic that was made a moment ago is not known to every broker yet: it is asked for again for `patience_s`.
    """
    client._client.add_topic(topic)  # or the metadata would not tell whether it exists
    give_up = asyncio.get_running_loop().time() + patience_s
    while True:
        await client._client.force_metadata_update()
        if numbers := client.partitions_for_topic(topic):
            return [TopicPartition(topic, number) for number in sorted(numbers)]
        if topic in client._client.cluster.unauthorized_topics:
            raise errors.TopicAuthorizationFailedError(topic)  # becomes AccessRefused
        if asyncio.get_running_loop().time() > give_up:
            raise TopicMissing(topic)
        await asyncio.sleep(0.1)


async def end_offsets(client: AIOKafkaConsumer, assigned: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Where each partition ends for this consumer: with read_committed, before the first open transaction."""
    offsets: dict[TopicPartition, int] = await client.end_offsets(list(assigned))
    return offsets


async def at_end(client: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    """Whether all that stood before `ends` has been read: positions also pass the markers of transactions."""
    return all([await client.position(partition) >= end for partition, end in ends.items()])
