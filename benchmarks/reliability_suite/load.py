"""The load: events at a steady rate by the wall clock, each with a number of its own, from a process of its own.

    with Generator(Load(servers, "events", partitions=4, rate=20_000), log=Path("load.log")) as generator:
        generator.told.confirmed    # how many are safe with the brokers by now
        sent = generator.finish().confirmed

Event `number` goes to partition `number % partitions`, with ten digits as its key and its id, so that its prediction
and its dead letter say which event they are of. The producer is idempotent and waits for all in-sync replicas; what
falls due while the brokers are away is sent when they are back. One event in `bad_every` is none that can be scored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from aiokafka import AIOKafkaProducer
from numpy.typing import NDArray
from reliability_suite.children import Child, order_of_this_process, tell, tell_until_the_end
from workload import FEATURES, feature_matrix

ROWS = 1000
"""Different features; they repeat from there on."""
TICK_S = 0.01
"""What has fallen due goes out this often; what is one partition's goes as one batch."""
BATCH_BYTES = 500_000
OUTAGE_MS = 600_000
"""So long a batch may wait for a broker to come back before it counts as failed."""


class Load(msgspec.Struct, frozen=True):
    """What to send, and where to."""

    servers: str
    """With commas between them."""
    topic: str
    partitions: int
    rate: int
    """Events per second, over all partitions."""
    bad_every: int = 999
    """0: all are good. Prime to the number of partitions, so that each gets some."""


class Sent(msgspec.Struct, frozen=True):
    """How far the load is. Events 0 … `confirmed` - 1 are confirmed once it has finished, and about so many before."""

    due: int
    confirmed: int
    cpu_s: float


class Generator(Child[Sent]):
    """The load as a process; it sends from now on until `finish`, which returns when all is confirmed."""

    def __init__(self, load: Load, log: Path) -> None:
        super().__init__("reliability_suite.load", load, Sent, log)

    def finish(self, timeout_s: float = 180.0, word: bytes = b"") -> Sent:
        return super().finish(timeout_s, word)


def key_of(number: int) -> bytes:
    """
    >>> key_of(42)
    b'0000000042'
    """
    return b"%010d" % number


def is_bad(number: int, bad_every: int) -> bool:
    """
    >>> [number for number in range(25) if is_bad(number, 10)]
    [5, 15]
    """
    return bad_every > 0 and number % bad_every == bad_every // 2


def bad_events(events: int, bad_every: int) -> NDArray[np.bool_]:
    """[events]: the same for events 0 … `events` - 1.

    >>> bad_events(25, 10).nonzero()[0].tolist()
    [5, 15]
    """
    bad = np.zeros(events, bool)
    if bad_every:
        bad[bad_every // 2 :: bad_every] = True
    return bad


class Values:
    """The events' bytes, encoded ahead but for number and time."""

    def __init__(self, bad_every: int = 0) -> None:
        self._bad_every = bad_every
        rows = feature_matrix(ROWS).tolist()
        self._rows = [msgspec.json.encode(dict(zip(FEATURES, row, strict=True)))[1:] for row in rows]

    def value(self, number: int, time_ms: int) -> bytes:
        good = b'{"id":"%010d","time":%d,%b' % (number, time_ms, self._rows[number % ROWS])
        if not is_bad(number, self._bad_every):
            return good
        ways = (good[:-1], good.replace(b'"f00":', b'"f00":"text","was":'), b"\xff" + good, b"[]")
        return ways[number // self._bad_every % len(ways)]


class Producing:
    """One partition is one line of batches, each sent when the one before it is confirmed."""

    def __init__(self, load: Load, clock: Callable[[], float] = time.monotonic) -> None:
        self._load, self._clock = load, clock
        self._values = Values(load.bad_every)
        self._confirmed = [0] * load.partitions
        self._last: int | None = None

    @property
    def told(self) -> Sent:
        return Sent(self._due(), sum(self._confirmed), time.process_time())

    async def run(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._load.servers,
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            max_request_size=BATCH_BYTES * (self._load.partitions + 1),
            request_timeout_ms=OUTAGE_MS,
        )
        await producer.start()
        self._begun = self._clock()
        try:
            async with asyncio.TaskGroup() as lines:
                for partition in range(self._load.partitions):
                    lines.create_task(self._send(producer, partition))
                await tell_until_the_end(lambda: self.told)
                self._last = self._due()
        finally:
            await producer.stop()
        tell(self.told)

    def _due(self) -> int:
        if self._last is not None:
            return self._last
        return int((self._clock() - self._begun) * self._load.rate)

    async def _send(self, producer: AIOKafkaProducer, partition: int) -> None:
        number, step = partition, self._load.partitions
        while True:
            finishing = self._last is not None
            if number < (due := self._due()):
                batch, now = producer.create_batch(), time.time_ns() // 1_000_000
                while number < due:
                    value = self._values.value(number, now)
                    if batch.append(timestamp=now, key=key_of(number), value=value) is None:
                        break  # full
                    number += step
                count = batch.record_count()
                await (await producer.send_batch(batch, self._load.topic, partition=partition))
                self._confirmed[partition] += count
            elif finishing:
                return
            await asyncio.sleep(TICK_S)


if __name__ == "__main__":
    asyncio.run(Producing(order_of_this_process(Load)).run())
