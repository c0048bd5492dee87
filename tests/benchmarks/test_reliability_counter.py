"""The reliability suite's own parts: a load whose every event can be found again, and a counter that misses nothing."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
import time
from collections import Counter as Tally
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from penstock.streams.embedded.testing import Kafka, MakeTopics

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from reliability_suite import counting, figures, load, results
from reliability_suite.children import BENCHMARKS
from reliability_suite.counter import Counter, Watch
from reliability_suite.load import Generator, Load, bad_events, is_bad, key_of
from soak_suite import verdicts

EVENTS, BAD_EVERY = 60, 7


@pytest.mark.parametrize("module", [counting, figures, load, results, verdicts], ids=lambda module: module.__name__)
def test_what_the_parts_say_of_themselves_is_so(module: object) -> None:
    found = doctest.testmod(module)  # type: ignore[arg-type]
    assert found.attempted
    assert not found.failed


def test_help_teaches_the_scenarios() -> None:
    command = [sys.executable, str(BENCHMARKS / "reliability.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    for name in ("kills", "kill-storm", "takeover", "rolling-restart", "broker-loss", "modes"):
        assert name in done.stdout


outputs = st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, EVENTS + 3), min_size=1)))


@given(outputs)
def test_it_counts_what_a_plain_tally_counts(batches: list[tuple[bool, list[int]]]) -> None:
    counts, tally, letters = counting.Counts(partitions=1), Tally[int](), set[int]()
    for time_ms, (is_prediction, numbers) in enumerate(batches):
        times = np.full(len(numbers), time_ms + 1)
        if is_prediction:
            counts.predictions(0, np.array(numbers), times)
        else:
            counts.dead_letters(0, np.array(numbers), times)
            letters |= set(numbers)
        tally.update(numbers)

    verdict = counts.verdict(EVENTS, bad_events(EVENTS, BAD_EVERY))

    sent = range(EVENTS)
    assert counts.seen == len(tally)
    assert verdict.predictions + verdict.dead_letters == tally.total()
    assert verdict.lost == sum(number not in tally for number in sent)
    assert verdict.doubled == sum(max(tally[number] - 1, 0) for number in sent)
    wrong = sum(number in tally and (number in letters) != is_bad(number, BAD_EVERY) for number in sent)
    assert verdict.misjudged == wrong + sum(tally[number] for number in tally if number >= EVENTS)
    assert sum(repeat.count for repeat in counts.repeats) == tally.total() - len(tally)


async def test_a_lost_one_and_a_doubled_one_are_found_among_committed_records(
    kafka: Kafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    predictions, dead_letters = await make_topics("predictions", "dead-letters", partitions=2)
    async with AIOKafkaProducer(bootstrap_servers=kafka.servers, transactional_id=predictions) as producer:
        async with producer.transaction():
            for number in range(20):
                topic = dead_letters if is_bad(number, BAD_EVERY) else predictions
                if number != 12:
                    await producer.send(topic, prediction(number), key_of(number), partition=number % 2)
            await producer.send(predictions, prediction(5), key_of(5), partition=1)
            await producer.send(predictions, prediction(4), key_of(6), partition=0)
        await producer.begin_transaction()
        await producer.send(predictions, prediction(12), key_of(12), partition=0)
        await producer.abort_transaction()

    watch = Watch(",".join(kafka.servers), predictions, dead_letters, partitions=2)
    with Counter(watch, tmp_path / "counter.log") as counter:
        until_at_end(counter)
        verdict = counter.verdict(events=20, bad_every=BAD_EVERY).verdict

    assert verdict is not None
    assert (verdict.lost, verdict.lost_numbers) == (1, [12])
    assert (verdict.doubled, verdict.doubled_numbers) == (1, [5])
    assert verdict.misjudged == 1, "one whose key and id are of different events"
    assert (verdict.disordered, verdict.dead_letters) == (1, 3)


async def test_the_load_is_steady_and_its_events_are_there_once_and_in_order(
    kafka: Kafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    [topic] = await make_topics("events", partitions=2)
    begun = time.monotonic()
    with Generator(Load(",".join(kafka.servers), topic, 2, rate=2000, bad_every=BAD_EVERY), tmp_path / "log") as load:
        while load.told.due < 2000:
            time.sleep(0.05)  # noqa: ASYNC251  (the load is another process)
        sent = load.finish().confirmed
    assert 2000 <= sent <= 2000 * (time.monotonic() - begun)

    async with AIOKafkaConsumer(bootstrap_servers=kafka.servers, auto_offset_reset="earliest") as consumer:
        places = [TopicPartition(topic, partition) for partition in range(2)]
        consumer.assign(places)
        found: dict[int, list[int]] = {0: [], 1: []}
        while sum(map(len, found.values())) < sent:
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                found[place.partition] += [int(record.key) for record in records]
                assert all(can_be_scored(record.value) != is_bad(int(record.key), BAD_EVERY) for record in records)
    assert found == {partition: list(range(partition, sent, 2)) for partition in range(2)}


def prediction(number: int) -> bytes:
    return b'{"id":"%b","score":0.5}' % key_of(number)


def can_be_scored(value: bytes) -> bool:
    try:
        event = json.loads(value)
    except ValueError:
        return False
    return isinstance(event, dict) and isinstance(event["f00"], float)


def until_at_end(counter: Counter, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not counter.told.at_end:
        assert time.monotonic() < deadline, counter.told
        time.sleep(0.05)
