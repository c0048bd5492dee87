"""TLS, credentials and access control: clients and workers at a broker that lets nobody do what it was not told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from guarded_kafka import Guarded, connect, guarding
from kafka_users import add_scram_user, allow, allow_no_more
from pipelines import Project, Witness, Worker, make_project, until
from pydantic import SecretStr
from traffic import decoded, event, producing, repeats, score

from penstock.schemas.errors import UnreachableError
from penstock.streams import kafka as clients
from penstock.streams import topics
from penstock.streams.access import needed
from penstock.streams.kafka import AccessRefused
from penstock.streams.settings import KafkaSettings, Settings
from penstock.streams.settings.sections import Role

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SETTINGS = """
[automation]
level = "partial"
abstain = [0.86, 0.9]
[watch]
segment_rows = 64
segment_max_s = 1
max_out_of_order_s = 0
checkpoint_s = 0.3
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarding(tmp_path_factory.mktemp("guarded")) as broker:
        yield broker


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
def worker(guarded: Guarded, secure: KafkaSettings) -> KafkaSettings:
    """A worker's, who has what he was given."""
    add_scram_user(guarded.plain, "worker", "worker-secret")
    mechanism, password = "SCRAM-SHA-512", SecretStr("worker-secret")
    return but(secure, sasl_mechanism=mechanism, sasl_username="worker", sasl_password=password)


def but(settings: KafkaSettings, **changes: Any) -> KafkaSettings:
    return KafkaSettings(**{**dict(settings), **changes})


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


async def test_what_is_not_allowed_is_named_with_who_asked(secure: KafkaSettings) -> None:
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

    for refused in (None, expired):
        with pytest.raises(UnreachableError, match=r"kafka\.ssl_certificate_file"):
            await connect(but(settings, ssl_certificate_file=refused))
    assert await connect(settings) == 1


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


# aiokafka may leave the connection of a client that was refused to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <(socket|function _SelectorTransport):pytest.PytestUnraisableExceptionWarning"
)
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


@pytest.fixture
async def project(guarded: Guarded, tmp_path: Path) -> AsyncIterator[Project]:
    project = await make_project(
        tmp_path / "acl", [guarded.plain], "acl", mode="exactly_once", partitions=1, more=SETTINGS
    )
    yield project
    project.close()


def start(project: Project, guarded: Guarded, role: Role, user: str, mode: str = "exactly_once") -> Worker:
    """A worker that comes in by TLS as a user of its own, who has what the code's table gives its role, and no more."""
    add_scram_user(guarded.plain, user, f"{user}-secret")
    delivery = project.settings.delivery.model_copy(update={"mode": mode})
    access = needed(project.settings.model_copy(update={"delivery": delivery}), role)
    for topic in access.reads:
        allow(guarded.plain, user, "read", "topic", topic.name)
    for topic in access.writes:
        allow(guarded.plain, user, "write", "topic", topic.name)
    for begins in access.transactions:
        allow(guarded.plain, user, "write", "transactional id", begins)
    allow(guarded.plain, user, "read", "group", access.group)
    return project.start_worker(
        role,
        PENSTOCK_KAFKA__SERVERS=json.dumps(guarded.broker.addresses("SECURE")),
        PENSTOCK_KAFKA__SECURITY_PROTOCOL="SASL_SSL",
        PENSTOCK_KAFKA__SASL_MECHANISM="SCRAM-SHA-512",
        PENSTOCK_KAFKA__SASL_USERNAME=user,
        PENSTOCK_KAFKA__SASL_PASSWORD=f"{user}-secret",
        PENSTOCK_KAFKA__SSL_CA_FILE=str(guarded.authority.ca),
        PENSTOCK_DELIVERY__MODE=mode,
    )


def is_ready(worker: Worker) -> bool:
    return "Admin at" in worker.said and worker.get("/readyz")[0] == 200


async def test_workers_do_their_work_with_the_rights_that_the_readme_lists(guarded: Guarded, project: Project) -> None:
    """One that may write no more says so and ends; the next one, at least once, goes on where it stopped."""
    names, witness, sent = project.settings.topics, Witness([guarded.plain]), 0

    async def send(count: int = 50) -> None:
        nonlocal sent
        async with producing([guarded.plain], linger_ms=20) as producer:
            for n in range(sent, sent + count):
                await producer.send(names.events.name, event(n), b"e%d" % n)
            await producer.send(names.events.name, b"no event")
        sent += count

    exactly = start(project, guarded, "score", "exactly")
    watch = start(project, guarded, "watch", "watching")
    await send()
    await until(
        lambda: "Admin at" in exactly.said and exactly.metric("penstock_predictions_total") == sent, "it scores"
    )
    await until(lambda: "Admin at" in watch.said and watch.metric("penstock_watched_rows_total") == sent, "it watches")
    assert "not authorised" not in exactly.said + watch.said

    allow_no_more(guarded.plain, "exactly", "write", "topic", "acl.predictions")
    give_up = time.monotonic() + 60
    while exactly.process.poll() is None:  # its broker knows its newest rules in a moment
        assert time.monotonic() < give_up, exactly.said
        await send()
    assert exactly.process.returncode == AccessRefused.exit_code, exactly.said
    refusal = "Kafka refused to write to the topic acl.predictions: not authorised. Allow it in the brokers'"
    assert exactly.said.count(refusal) == 1, exactly.said
    assert "Traceback" not in exactly.said

    at_least = start(project, guarded, "score", "at-least", mode="at_least_once")
    others = [start(project, guarded, "judge", "judging"), start(project, guarded, "shadow", "shadowing")]
    at_least.wait_until_it_scores()
    await send()
    reviewed = sum(0.86 <= score(n) <= 0.9 for n in range(sent))
    acted = await witness.read(names.predictions.name, lambda seen: len(seen) >= sent - reviewed, timeout_s=30)
    asked = await witness.read(names.review.name, lambda seen: len(seen) >= reviewed, timeout_s=30)
    said = decoded([*acted, *asked])
    assert ({one["id"] for one in said}, repeats(said)) == ({f"e{n}" for n in range(sent)}, 0)
    assert 0 < reviewed < sent
    for other in others:
        await until(partial(is_ready, other), "it has its partitions")
    going_on = [at_least, watch, *others]
    assert [worker.stop() for worker in going_on] == [0] * len(going_on)
    for worker in going_on:
        assert "not authorised" not in worker.said, worker.said
        assert "is not counted" not in worker.said, worker.said
