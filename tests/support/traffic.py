"""Events at a steady pace, what their scores must be, and what a witness may find afterwards."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

from aiokafka import AIOKafkaProducer, ConsumerRecord
from pipelines import FEATURES

Prediction = dict[str, Any]


def features(number: int) -> dict[str, float]:
    return {name: (number * (i + 1)) % 7 / 7 for i, name in enumerate(FEATURES)}


def event(number: int, **fields: object) -> bytes:
    return json.dumps({"id": f"e{number}", "features": features(number), **fields}).encode()


def score(number: int, factor: float = 1.0, more: float = 0.0) -> float:
    """What a version with `factor` gives event `number`, where looked-up features add `more`."""
    return 1 / (1 + math.exp(-factor * (sum(features(number).values()) + more)))


@asynccontextmanager
async def producing(servers: list[str], **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """A plain producer, nothing of Penstock in it."""
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, acks="all", enable_idempotence=True, max_request_size=30_000_000, **options
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


class Traffic:
    """The numbers of the events that Kafka has confirmed, growing while events flow."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    @property
    def ids(self) -> set[str]:
        return {f"e{number}" for number in self.sent}


@asynccontextmanager
async def flowing(
    servers: list[str],
    topic: str,
    *,
    partitions: int,
    per_second: int = 500,
    first: int = 0,
    key_of: Callable[[int], bytes] = b"e%d".__mod__,
    **fields: object,
) -> AsyncIterator[Traffic]:
    """Events from `first` on flow at a steady pace, over all partitions in turn, until the block is left."""
    traffic, ended = Traffic(), asyncio.Event()

    async def flow() -> None:
        # Brokers may go and come. A few requests a second: the machine's cores are for those that are tested.
        async with producing(servers, request_timeout_ms=300_000, linger_ms=10) as producer:
            begin = time.monotonic()
            while not ended.is_set():
                due = int((time.monotonic() - begin) * per_second)
                numbers = range(first + len(traffic.sent), first + due)
                confirmations = [
                    await producer.send(topic, event(n, **fields), key_of(n), partition=n % partitions) for n in numbers
                ]
                for confirmation in confirmations:
                    await confirmation
                traffic.sent += numbers
                await asyncio.sleep(0.05)

    task = asyncio.create_task(flow())
    try:
        yield traffic
    finally:
        ended.set()
        await task


def decoded(records: Iterable[ConsumerRecord]) -> list[Prediction]:
    return [json.loads(record.value) for record in records]


def repeats(predictions: Iterable[Prediction]) -> int:
    """How many predictions say again what another has said already."""
    counted = Counter(prediction["id"] for prediction in predictions)
    return counted.total() - len(counted)


def once(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Each partition's predictions, in its order, without repeats: by their source, as README.md tells consumers."""
    seen: dict[int, int] = defaultdict(lambda: -1)
    kept = []
    for prediction in predictions:
        source = prediction["source"]
        if source["offset"] > seen[source["partition"]]:
            seen[source["partition"]] = source["offset"]
            kept.append(prediction)
    return kept


def check_scores(predictions: Iterable[Prediction], factors: Mapping[int, float]) -> None:
    """Each score is what the version that it names gives by hand."""
    for prediction in predictions:
        expected = score(int(prediction["id"][1:]), factors[prediction["version"]])
        assert math.isclose(prediction["score"], expected, rel_tol=1e-5), prediction


def check_order(records: Iterable[ConsumerRecord]) -> None:
    """In each partition predictions stand in the order of their events, and the routing revision never goes back."""
    offsets: dict[int, int] = defaultdict(lambda: -1)
    revisions: dict[int, int] = defaultdict(int)
    for record in sorted(records, key=lambda record: (record.partition, record.offset)):
        prediction = json.loads(record.value)
        partition = prediction["source"]["partition"]
        assert partition == record.partition
        assert prediction["source"]["offset"] > offsets[partition], prediction
        assert prediction["routing_revision"] >= revisions[partition], prediction
        offsets[partition], revisions[partition] = prediction["source"]["offset"], prediction["routing_revision"]


def longest_pause_s(records: Iterable[ConsumerRecord]) -> float:
    """The longest time in which a partition got no prediction."""
    times: dict[int, list[int]] = defaultdict(list)
    for record in records:
        times[record.partition].append(record.timestamp)
    return max(after - before for moments in times.values() for before, after in pairwise(sorted(moments))) / 1000
