"""The promise: every event is predicted or a dead letter, whatever happens to the workers.

50,000 events, 1 % of them bad in every way an event can be bad, go through score workers that are stopped and started
twice, once with kill -9. Afterwards a consumer that shares no code with the service counts.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from pipelines import FEATURES, Kafka, MakeProject, Witness, Worker

EVENTS = 50_000
LARGE = 12_000_000

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]


def good(number: int) -> bytes:
    features = {name: (number * (i + 1)) % 7 / 7 for i, name in enumerate(FEATURES)}
    return json.dumps({"id": f"e{number}", "features": features}).encode()


def bad(number: int) -> bytes | None:
    """Bad events of every kind, in turn. None of them can say who it is, so they are known by their key."""
    ways: list[bytes | None] = [
        b"not JSON",
        b'{"id": "e%d"' % number,
        b'{"id": "e%d", "features": {"x0": "text", "x1": 1, "x2": 1, "x3": 1}}' % number,
        b'{"id": "e%d", "features": {"x0": 1, "x1": 1, "x2": 1}}' % number,
        b'{"id": "e%d", "features": {"x0": 1, "x1": null, "x2": 1, "x3": 1}}' % number,
        b'{"id": "e%d", "features": {"x0": 1e999, "x1": 1, "x2": 1, "x3": 1}}' % number,
        b'{"id": "e%d", "features": {"x0": 1e39, "x1": 1, "x2": 1, "x3": 1}}' % number,
        b'{"id": "e%d", "features": {"x0": NaN, "x1": 1, "x2": 1, "x3": 1}}' % number,
        good(number) + good(number + 1),
        good(number) + b",",
        b"",
        None,
        b"[]",
        b"\xff\xfe\x00",
        b'"text"',
    ]
    return ways[number % len(ways)]


NESTED = b'{"id": "nested", "features": ' + b"[" * 10_000_000


async def produce(servers: list[str], topic: str, partitions: int) -> tuple[dict[bytes, bytes | None], set[bytes]]:
    """Sends the events; returns key → value of all of them, and the keys of the bad ones."""
    sent: dict[bytes, bytes | None] = {}
    rejected: set[bytes] = set()
    producer = AIOKafkaProducer(
        bootstrap_servers=servers,
        acks="all",
        enable_idempotence=True,
        max_batch_size=500_000,
        max_request_size=2 * LARGE,
    )
    await producer.start()
    try:
        waiting = []
        for number in range(EVENTS):
            key = b"k%d" % number
            value = good(number)
            if number % 100 == 37:
                value = NESTED if number == 2037 else bad(number // 100)  # type: ignore[assignment]
                rejected.add(key)
            sent[key] = value
            headers = [("traceparent", b"00-%032x-%016x-01" % (number + 1, number + 1))]
            waiting.append(await producer.send(topic, value, key, partition=number % partitions, headers=headers))
        for future in waiting:
            await future
    finally:
        await producer.stop()
    return sent, rejected


@pytest.mark.parametrize("mode", ["at_least_once", "exactly_once"])
async def test_every_event_is_predicted_or_a_dead_letter_whatever_happens_to_the_workers(
    mode: str, kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    project = await project_named(f"delivery-{mode.replace('_', '-')}", mode=mode, max_bytes=LARGE)
    topics = project.settings.topics
    sent, rejected = await produce(kafka.servers, topics.events.name, project.settings.kafka.partitions)

    # Worker 1 is killed at its first predictions, worker 2 is stopped as soon as it scores, worker 3 does the rest.
    first = project.start_worker()
    await witness.read(topics.predictions.name, lambda seen: len(seen) > 0, timeout_s=90)
    first.kill()
    second = project.start_worker()
    second.wait_until_it_scores()
    assert second.stop() == 0, second.log.read_text()
    third = project.start_worker()
    third.wait_until_it_scores()
    predictions = await witness.read(
        topics.predictions.name, lambda seen: len({r.key for r in seen}) == EVENTS - len(rejected), timeout_s=90
    )
    dead_letters = await witness.read(
        topics.dead_letters.name, lambda seen: len({r.key for r in seen}) == len(rejected), timeout_s=90
    )
    assert third.stop() == 0, third.log.read_text()

    counted = Counter(record.key for record in predictions)
    assert set(counted) == sent.keys() - rejected, "predictions are those of the good events"
    assert {record.key for record in dead_letters} == rejected, "dead letters are the bad events"
    doubled = sum(counted.values()) - len(counted) + len(dead_letters) - len(rejected)
    if mode == "exactly_once":
        assert doubled == 0
    else:
        assert doubled <= scored_again(first, second, third), "repeats are counted by whoever makes them"
    print(f"{mode}: {len(predictions)} predictions, {len(dead_letters)} dead letters, lost 0, doubled {doubled}")

    for letter in dead_letters:
        assert letter.value == sent[letter.key], f"the bytes of {letter.key!r} are those that were sent"
    for record in predictions[:: max(1, len(predictions) // 500)]:
        check_prediction(record)


def scored_again(*workers: Worker) -> int:
    """What the workers said that they repeat."""
    return sum(
        int(events) for worker in workers for events in re.findall(r"(\d+) events are scored again", worker.said)
    )


def check_prediction(record: ConsumerRecord) -> None:
    """A prediction is its own event's: id, source, partition, trace, and the score that arithmetic gives."""
    prediction = json.loads(record.value)
    number = int(record.key[1:])
    assert prediction["id"] == f"e{number}"
    assert prediction["source"]["partition"] == record.partition
    assert (prediction["model"], prediction["version"], prediction["variant"]) == ("sum", 1, "champion")
    total = sum((number * (i + 1)) % 7 / 7 for i in range(len(FEATURES)))
    assert math.isclose(prediction["score"], 1 / (1 + math.exp(-total)), rel_tol=1e-5)
    headers = dict(record.headers)
    assert headers["traceparent"] == b"00-%032x-%016x-01" % (number + 1, number + 1)
    assert headers["penstock-schema"] == b"prediction/1"
