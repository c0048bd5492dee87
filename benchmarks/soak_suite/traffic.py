"""Steady traffic for as long as it takes, and a count of what came of it: each a process of its own.

Neither shares code with the service, and neither grows: both are librdkafka, the count keeps only what is missing.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from workload import FEATURES, feature_matrix

TICK_S = 0.005
"""The producer hands over what is due this often."""
TELL_S = 1.0
"""How often the count is told."""
POOL = 1000
"""Different rows; ids and times never repeat."""


class Counted(msgspec.Struct, frozen=True):
    """What an independent consumer of committed predictions has seen.

    next     partition → the offset after the highest event that has a prediction
    missing  events below that without a prediction
    doubled  predictions of events that had one already
    """

    next: dict[int, int]
    predictions: int = 0
    missing: int = 0
    doubled: int = 0


class _Source(msgspec.Struct):
    partition: int
    offset: int


class _Prediction(msgspec.Struct):
    source: _Source


def produce(servers: str, topic: str, partitions: int, rate: int, seconds: float) -> None:
    """`rate` events per second, evenly spaced, over all partitions in turn; what the broker delays is made up for."""
    producer = Producer(
        {"bootstrap.servers": servers, "linger.ms": 5, "acks": "all", "queue.buffering.max.messages": 1_000_000}
    )
    rows = [msgspec.json.encode(dict(zip(FEATURES, row, strict=True)))[1:] for row in feature_matrix(POOL).tolist()]
    begun, sent, count = time.monotonic(), 0, int(rate * seconds)
    while sent < count:
        due, now = min(count, int((time.monotonic() - begun) * rate) + 1), time.time_ns() // 1_000_000
        for number in range(sent, due):
            value = b'{"id":"%d","time":%d,' % (number, now) + rows[number % POOL]
            try:
                producer.produce(topic, value, b"key-%d" % (number % 1000), number % partitions)
            except BufferError:
                due = number
                break
        sent = due
        producer.poll(0)
        time.sleep(TICK_S)
    producer.flush()


class Count:
    """Which events have a prediction, by their offsets, in whatever order the predictions come.

    >>> count = Count([0])
    >>> for offset in (0, 1, 3, 1):
    ...     count.add(0, offset)
    >>> count.told()
    Counted(next={0: 4}, predictions=4, missing=1, doubled=1)
    """

    def __init__(self, partitions: list[int]) -> None:
        self._next = dict.fromkeys(partitions, 0)
        self._missing: set[tuple[int, int]] = set()
        self._predictions = self._doubled = 0

    def add(self, partition: int, offset: int) -> None:
        self._predictions += 1
        expected = self._next[partition]
        if offset >= expected:
            self._missing.update((partition, missed) for missed in range(expected, offset))
            self._next[partition] = offset + 1
        elif (partition, offset) in self._missing:
            self._missing.discard((partition, offset))
        else:
            self._doubled += 1

    def told(self) -> Counted:
        return Counted(dict(self._next), self._predictions, len(self._missing), self._doubled)


def count_predictions(servers: str, topic: str, partitions: int, tell: Any) -> None:
    """Read the topic from its beginning for ever, and tell the count."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"{topic}-count",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",  # what retention took before it was counted would seem to be lost
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    count, decode = Count(list(range(partitions))), msgspec.json.Decoder(_Prediction).decode
    told_at = time.monotonic()
    while True:
        for message in consumer.consume(10_000, 0.2):
            if message.error():
                raise KafkaException(message.error())
            source = decode(message.value()).source
            count.add(source.partition, source.offset)
        if time.monotonic() - told_at >= TELL_S:
            told_at = time.monotonic()
            tell.put(count.told())


class Counter:
    """What the counting process has told so far."""

    def __init__(self, process: Any, told: Any, partitions: int) -> None:
        self._process, self._told = process, told
        self._last = Counted(dict.fromkeys(range(partitions), 0))

    def newest(self) -> Counted:
        while not self._told.empty():
            self._last = self._told.get()
        if not self._process.is_alive():
            raise SystemExit("the count of the predictions has failed; see above")
        return self._last


@contextmanager
def counting(servers: str, topic: str, partitions: int) -> Iterator[Counter]:
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    process = context.Process(target=count_predictions, args=(servers, topic, partitions, told), daemon=True)
    process.start()
    try:
        yield Counter(process, told, partitions)
    finally:
        process.kill()
        process.join()


@contextmanager
def traffic(servers: str, topic: str, partitions: int, rate: int, seconds: float) -> Iterator[Any]:
    """The producing process; `is_alive` until all is sent."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=produce, args=(servers, topic, partitions, rate, seconds), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()
