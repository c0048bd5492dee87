"""Events that Kafka allows and nobody expects: each is a prediction or a dead letter, and none stops the worker."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.structs import RecordMetadata
from pipelines import Kafka, MakeProject, Witness
from traffic import event, producing, score

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

LARGE = 12_000_000
NULLS: list[tuple[str, Any]] = [("trace", None), ("", b""), ("trace", b"again")]


class Sent(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, Any]] = []  # noqa: RUF012  (nothing changes it)


EVENTS = {
    "plain": Sent(None, event(1)),
    "with an empty key": Sent(b"", event(2)),
    "with null headers": Sent(b"nulls", event(3), NULLS),
    "bad with null headers": Sent(b"bad", b"not JSON", NULLS),
    "tombstone": Sent(b"gone", None),
    "null all over": Sent(None, None, [("trace", None)]),
    "of 10 MB": Sent(b"large", event(4, padding="x" * 10_000_000)),
    "bad and of 10 MB": Sent(b"large", b"x" * 10_000_000),
    "with a key too large for its prediction": Sent(b"k" * 1_000_001, event(5)),
    "with headers too large for its prediction": Sent(b"h", event(6), [("padding", b"x" * 2_000_000)]),
    "last": Sent(b"last", event(7)),
}


class Outcomes(NamedTuple):
    """What became of each event, and at which offset it lay."""

    offsets: dict[str, int]
    timestamps: dict[str, int]
    predictions: dict[int, ConsumerRecord]
    dead_letters: dict[int, ConsumerRecord]

    def prediction(self, name: str) -> ConsumerRecord:
        assert self.offsets[name] not in self.dead_letters, self.dead_letters[self.offsets[name]]
        return self.predictions[self.offsets[name]]

    def dead_letter(self, name: str) -> ConsumerRecord:
        assert self.offsets[name] not in self.predictions, self.predictions[self.offsets[name]]
        return self.dead_letters[self.offsets[name]]


@pytest.fixture(scope="module")
def outcomes(kafka: Kafka, project_named: MakeProject) -> Outcomes:
    """The events, sent to a pipeline whose events have neither id nor time, and what a worker made of them."""
    return asyncio.run(outcomes_of(kafka, project_named))


async def outcomes_of(kafka: Kafka, project_named: MakeProject) -> Outcomes:
    project = await project_named("odd", mode="exactly_once", partitions=1, event_id=None, max_bytes=LARGE)
    topics, witness = project.settings.topics, Witness(kafka.servers)
    async with producing(kafka.servers) as producer:
        sent = {name: await send(producer, topics.events.name, *sent) for name, sent in EVENTS.items()}
    worker = project.start_worker()
    predictions = await witness.read(
        topics.predictions.name, lambda seen: any(record.key == b"last" for record in seen), timeout_s=60
    )
    dead_letters = await witness.read(
        topics.dead_letters.name, lambda seen: len(seen) + len(predictions) >= len(sent), timeout_s=30
    )
    assert worker.stop() == 0, worker.said
    assert len(predictions) + len(dead_letters) == len(sent)
    return Outcomes(
        {name: metadata.offset for name, metadata in sent.items()},
        {name: metadata.timestamp for name, metadata in sent.items()},
        {json.loads(record.value)["source"]["offset"]: record for record in predictions},
        {int(dict(record.headers)["penstock-offset"]): record for record in dead_letters},
    )


async def send(
    producer: AIOKafkaProducer, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, Any]]
) -> RecordMetadata:
    if key is not None or value is not None:
        return await producer.send_and_wait(topic, value, key, partition=0, headers=headers)
    batch = producer.create_batch()  # aiokafka's `send` refuses what Kafka allows
    batch.append(key=None, value=None, timestamp=None, headers=headers)
    return await (await producer.send_batch(batch, topic, partition=0))


def test_an_event_without_id_and_time_has_those_of_its_record(outcomes: Outcomes) -> None:
    record = outcomes.prediction("plain")
    prediction = json.loads(record.value)
    assert record.key is None
    assert prediction["id"] == f"0-{outcomes.offsets['plain']}"
    assert prediction["event_time"] == outcomes.timestamps["plain"]
    assert prediction["score"] == pytest.approx(score(1), rel=1e-5)


def test_an_empty_key_is_not_a_null_key(outcomes: Outcomes) -> None:
    assert outcomes.prediction("with an empty key").key == b""


def test_null_and_repeated_headers_go_with_the_prediction(outcomes: Outcomes) -> None:
    assert list(outcomes.prediction("with null headers").headers) == [*NULLS, ("penstock-schema", b"prediction/1")]


def test_null_headers_go_with_the_dead_letter(outcomes: Outcomes) -> None:
    letter = outcomes.dead_letter("bad with null headers")
    assert list(letter.headers[: len(NULLS)]) == NULLS
    assert (letter.key, letter.value) == (b"bad", b"not JSON")


@pytest.mark.parametrize("name", ["tombstone", "null all over"])
def test_a_tombstone_is_a_dead_letter_that_is_one_too(outcomes: Outcomes, name: str) -> None:
    letter = outcomes.dead_letter(name)
    assert (letter.key, letter.value) == (EVENTS[name].key, None)


def test_an_event_of_10_mb_is_predicted(outcomes: Outcomes) -> None:
    assert json.loads(outcomes.prediction("of 10 MB").value)["score"] == pytest.approx(score(4), rel=1e-5)


def test_a_bad_event_of_10_mb_is_kept_byte_for_byte(outcomes: Outcomes) -> None:
    assert outcomes.dead_letter("bad and of 10 MB").value == EVENTS["bad and of 10 MB"].value


@pytest.mark.parametrize(
    "name", ["with a key too large for its prediction", "with headers too large for its prediction"]
)
def test_an_event_whose_prediction_would_be_too_large_is_a_dead_letter(outcomes: Outcomes, name: str) -> None:
    letter = outcomes.dead_letter(name)
    headers = dict(letter.headers)
    assert (headers["penstock-stage"], headers["penstock-error"]) == (b"encode", b"too_large")
    assert (letter.key, letter.value) == (EVENTS[name].key, EVENTS[name].value)


def test_the_event_after_all_of_them_is_predicted(outcomes: Outcomes) -> None:
    assert json.loads(outcomes.prediction("last").value)["score"] == pytest.approx(score(7), rel=1e-5)
