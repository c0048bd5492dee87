"""Control records under keys: who writes without one changes nothing, whatever he writes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin import NewTopic
from typer.testing import CliRunner

from penstock.schemas.control import Control
from penstock.schemas.errors import ConfigurationError
from penstock.schemas.records import CONTROL_SCHEMA, SCHEMA_HEADER, ModelRef
from penstock.schemas.signing import ANYBODY, PrivateKey, TrustedKeys
from penstock.streams import kafka as clients
from penstock.streams.cli import app
from penstock.streams.control import ControlFollower, ControlPlane, champion
from penstock.streams.control.records import UntrustedControl, read_control_record
from penstock.streams.control.signatures import SIGNATURE_HEADER, ControlSigner, signature_headers
from penstock.streams.judging.acting import Actor
from penstock.streams.key_files import KeyUnusable, create_signing_key, read_private_key
from penstock.streams.reading import to_the_end
from penstock.streams.settings import KafkaSettings, Settings

if TYPE_CHECKING:
    from penstock.streams.embedded.testing import Kafka, MakeTopics

KEY, OTHER = PrivateKey(bytes(32)), PrivateKey(bytes(range(32)))
TRUSTED = TrustedKeys((KEY.public("ada"),))
CONTROL = Control("flights", 7, ModelRef("delay", 2), "ada", "better", 0)
VALUE = msgspec.json.encode(CONTROL)


def record(**changes: Any) -> ConsumerRecord:
    signed = signature_headers(KEY, "flights.control", "flights", VALUE)
    fields: dict[str, Any] = {
        "topic": "flights.control", "partition": 0, "offset": 4, "timestamp": 0, "timestamp_type": 0,
        "key": b"flights", "value": VALUE, "checksum": None, "serialized_key_size": 0, "serialized_value_size": 0,
        "headers": (CONTROL_SCHEMA, *signed), **changes,
    }  # fmt: skip
    return ConsumerRecord(**fields)


def test_what_a_trusted_key_signed_is_read() -> None:
    assert read_control_record(record(), "flights", TRUSTED) == CONTROL
    assert read_control_record(record(headers=(CONTROL_SCHEMA,)), "flights") == CONTROL


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"headers": (CONTROL_SCHEMA,)}, r"it is not signed\. Where it is what should serve, sign it"),
        (
            {"headers": (CONTROL_SCHEMA, *signature_headers(OTHER, "flights.control", "flights", VALUE))},
            f"signed by {OTHER.public().id}, which is not trusted here",
        ),
        ({"value": msgspec.json.encode(msgspec.structs.replace(CONTROL, revision=8))}, r"\(ada\) does not verify"),
        ({"topic": "other.control"}, "does not verify"),
        ({"value": None}, "does not verify"),
        ({"headers": ((SCHEMA_HEADER, b"control/9"), *record().headers[1:])}, "does not verify"),
        ({"headers": (CONTROL_SCHEMA, (SIGNATURE_HEADER, b"\xff"))}, "its signature cannot be read"),
    ],
)
def test_everything_else_is_refused_whatever_it_holds(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(UntrustedControl, match=why) as caught:
        read_control_record(record(**changes), "flights", TRUSTED)
    assert not caught.value.newer  # or anybody could stop the writers


def test_a_writer_without_a_key_that_readers_believe_is_told_before_it_writes(tmp_path: Path) -> None:
    create_signing_key(tmp_path, "other")

    with pytest.raises(ConfigurationError, match=r"control_signing_key is missing; .*the judge in automatic mode too"):
        ControlSigner(None, TRUSTED).key()
    with pytest.raises(ConfigurationError, match=r"control_signing_key is the key [0-9a-f]{16}; expected the private"):
        ControlSigner(tmp_path / "other.pem", TRUSTED).key()
    with pytest.raises(KeyUnusable, match="No such file"):
        ControlSigner(tmp_path / "gone.pem", TRUSTED).key()
    assert ControlSigner().key() is None


@pytest.mark.parametrize("mode", ["automatic", "propose"])
def test_a_judge_that_is_to_act_needs_a_key_when_it_starts(mode: str) -> None:
    settings = Settings.of(
        {
            "pipeline": {"name": "flights"},
            "events": {"topic": "departures"},
            "features": {"distance": {"type": "float"}},
            "rollout": {"mode": mode},
            "security": {"control_keys": [str(KEY.public())]},
        }
    )

    if mode == "automatic":
        with pytest.raises(ConfigurationError, match=r"security\.control_signing_key"):
            Actor.of(settings, lambda control: None)
    else:
        Actor.of(settings, lambda control: None)


@pytest.fixture
async def plane(kafka: Kafka, make_topics: MakeTopics, tmp_path: Path) -> ControlPlane:
    control, decisions = await make_topics("control", "decisions", settings={"cleanup.policy": "compact"})
    public = create_signing_key(tmp_path, "ada")
    trusted, file = TrustedKeys((public,)), tmp_path / "ada.pem"
    kafka_settings = KafkaSettings(servers=tuple(kafka.servers))
    return ControlPlane(
        kafka_settings, "flights", control, decisions, trusted=trusted, signer=ControlSigner(file, trusted)
    )


@pytest.fixture
async def follower(plane: ControlPlane) -> AsyncIterator[ControlFollower]:
    follower = ControlFollower(plane.kafka, plane.pipeline, plane.control_topic, trusted=plane.trusted)
    yield follower
    await follower.stop()


async def use(plane: ControlPlane, version: int) -> Control:
    return await plane.change(champion("flights", ModelRef("delay", version)), command="use", reason="")


async def write_raw(plane: ControlPlane, value: bytes, *headers: tuple[str, bytes]) -> None:
    async with clients.producer(plane.kafka) as producer:
        await producer.send_and_wait(
            plane.control_topic, key=b"flights", value=value, headers=[CONTROL_SCHEMA, *headers], partition=0
        )


@pytest.mark.kafka
async def test_a_stranger_changes_nothing_for_writers_and_followers(
    plane: ControlPlane, follower: ControlFollower, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await use(plane, 1), await use(plane, 2)
    written = await records(plane)
    stranger = replace(plane, trusted=ANYBODY, signer=ControlSigner())
    forged = await use(stranger, 3)
    # What was signed once, and is past, comes again.
    await write_raw(plane, written[0].value, *written[0].headers[1:])

    with caplog.at_level(logging.ERROR):
        assert await plane.read() == second
        await follower.start()

    assert (first.revision, second.revision, forged.revision) == (1, 2, 3)
    assert follower.current == second
    assert any("it is not signed" in message and "The state before it stays" in message for message in caplog.messages)
    assert (await use(plane, 4)).revision == 3  # the next of those that count


@pytest.mark.kafka
async def test_a_record_from_before_the_keys_is_signed_once_somebody_has_looked_at_it(
    plane: ControlPlane, tmp_path: Path
) -> None:
    pipeline = plane.control_topic.removesuffix(".control")
    plane = replace(plane, pipeline=pipeline, decisions_topic=f"{pipeline}.decisions")
    async with clients.admin(plane.kafka) as admin:
        await admin.create_topics([NewTopic(plane.decisions_topic, 1, 1)])
    stranger = replace(plane, trusted=ANYBODY, signer=ControlSigner())
    await stranger.change(champion(pipeline, ModelRef("delay", 1)), command="use", reason="")
    config = tmp_path / "penstock.toml"
    config.write_text(
        f'[pipeline]\nname = "{pipeline}"\n[events]\ntopic = "e"\n[features.x]\ntype = "float"\n'
        f"[kafka]\nservers = {json.dumps(plane.kafka.servers)}\n"
        f'[security]\ncontrol_keys = ["ada.pub"]\ncontrol_signing_key = "ada.pem"\n'
    )
    arguments = ["keys", "sign-control", "--config", str(config)]
    assert await plane.read() is None

    refused = await asyncio.to_thread(CliRunner().invoke, app, arguments, input="n\n")
    assert refused.exit_code == 1
    assert '"delay@1"' in refused.stdout
    assert await plane.read() is None

    agreed = await asyncio.to_thread(CliRunner().invoke, app, arguments, input="y\n")
    signed = await plane.read()
    assert agreed.exit_code == 0, agreed.output
    assert signed is not None
    assert (str(signed.champion), signed.revision) == ("delay@1", 2)


async def records(plane: ControlPlane) -> list[ConsumerRecord]:
    found: list[ConsumerRecord] = []
    async with clients.consumer(plane.kafka) as consumer:
        partitions = await clients.partitions(consumer, plane.control_topic)
        consumer.assign(partitions)
        async for run in to_the_end(consumer, partitions):
            found += run
    assert read_private_key(plane.signer.file or Path()).public().id in str(found[0].headers)
    return found
