"""Replays the traffic: what becomes known goes to Redis before the events that may see it, arrivals become labels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner
from numpy.typing import NDArray

from penstock.schemas.labels import encode_label, encode_watermark
from penstock.schemas.records import Label
from penstock.schemas.topics import Topics
from penstock.streams.delivery import OutputRecord, send
from penstock.streams.demo.flights import HOUR_MS
from penstock.streams.demo.ledger import Ledger
from penstock.streams.demo.lookups import FeatureTable, Lookups
from penstock.streams.demo.traffic import BAD, Traffic
from penstock.streams.features.writer import FeatureWriter

PRODUCER_OPTIONS = {"max_batch_size": 512 * 1024, "linger_ms": 0}

_DAY_MS = 24 * HOUR_MS
_UNCONFIRMED = 64
_AHEAD_MS = 28 * _DAY_MS
_STEP_S = 0.02
"""A paced replay sends what is due about so often."""

Progress = Callable[[int], None]
Confirmations = list["asyncio.Future[Any]"]


class Slice(NamedTuple):
    """Records [start, stop) of the traffic, and the event time at which the slice ends, Unix ms."""

    start: int
    stop: int
    until: int


def slices(times: NDArray[np.int64], length_ms: int) -> Iterator[Slice]:
    """Cut ascending times where they pass multiples of `length_ms`; empty slices are left out.

    >>> list(slices(np.array([0, 5, 31]), 10))
    [Slice(start=0, stop=2, until=9), Slice(start=2, stop=3, until=39)]
    """
    numbers = times // length_ms
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 1))
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(times)], strict=True):
        yield Slice(start, stop, (int(numbers[start]) + 1) * length_ms - 1)


class Replay:
    """Sends records of the traffic, one stretch after the other.

    What may be looked up is written before the first event that may see it is sent. It lies under keys that contain its
    validity, so writing it before it was known, as is done where nothing waits for time to pass, changes no score.
    """

    def __init__(
        self,
        traffic: Traffic,
        labels: Sequence[Label],
        lookups: Lookups,
        *,
        topics: Topics,
        partitions: int,
        producer: AIOKafkaProducer,
        writer: FeatureWriter,
        ledger: Ledger,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._traffic, self._labels, self._lookups = traffic, labels, lookups
        self._topics, self._producer, self._writer, self._ledger = topics, producer, writer, ledger
        self._clock = clock
        partition_of = _partitioner(partitions)
        self._partitions = range(partitions)
        self._partition = np.array([partition_of(key) for key in traffic.keys], np.int64)
        self._label_times = np.array([label.time for label in labels], np.int64)
        self._label_partition = [partition_of((label.key or "").encode()) for label in labels]
        self._labels_sent = 0
        self._known_until = int(traffic.times[0]) - 2 * HOUR_MS  # no look-up of the first event reaches further back
        self._planes_written = False
        self._unconfirmed: list[Confirmations] = []

    async def run(self, start: int, stop: int, *, speed_up: float | None, progress: Progress) -> None:
        """Send records [start, stop): as fast as it goes, or one second of event time in 1 / `speed_up` seconds."""
        times = self._traffic.times[start:stop]
        length_ms = _DAY_MS if speed_up is None else min(_DAY_MS, max(1, int(speed_up * _STEP_S * 1000)))
        began, first = self._clock(), int(times[0])
        for piece in slices(times, length_ms):
            await self._write_lookups(piece.until, ahead_ms=_AHEAD_MS if speed_up is None else 0)
            if speed_up is not None:
                await self._wait_until(began + (int(times[piece.start]) - first) / 1000 / speed_up)
            await self._send_events(start + piece.start, start + piece.stop)
            await self._send_labels(piece.until)
            progress(piece.stop - piece.start)
        await self._confirm()

    async def run_at_rate(self, start: int, stop: int, *, events_per_s: float, progress: Progress) -> None:
        """Send records [start, stop) evenly, so that each meets an idle pipeline: for measuring latency."""
        await self._write_lookups(int(self._traffic.times[stop - 1]))
        rows = max(1, round(events_per_s * _STEP_S / 4))
        began = self._clock()
        for at in range(start, stop, rows):
            await self._wait_until(began + (at - start) / events_per_s)
            await self._send_events(at, min(at + rows, stop))
            progress(min(rows, stop - at))
        await self._send_labels(int(self._traffic.times[stop - 1]))
        await self._confirm()

    def newest(self, stop: int) -> list[int]:
        """Event time of the newest of records [0, stop) that can be scored, by partition that has some, Unix ms."""
        good, partition = self._traffic.rows[:stop] != BAD, self._partition[:stop]
        times = (self._traffic.times[:stop][good & (partition == number)] for number in self._partitions)
        return [int(found.max()) for found in times if len(found)]

    async def finish(self, *, maturity_ms: int) -> None:
        """The last flights land: send their labels, and that no more will come for any event so far."""
        complete = int(self._traffic.times[-1]) + maturity_ms
        await self._send_labels(max(complete, *self._label_times[-1:].tolist()))
        await self._confirm()

    async def _write_lookups(self, until: int, *, ahead_ms: int = 0) -> None:
        """What is known at `until`; where something of that is not written yet, also what follows within `ahead_ms`."""
        tables: list[FeatureTable] = []
        if not self._planes_written:
            tables, self._planes_written = [self._lookups.planes], True
        if until > self._known_until:
            until += ahead_ms
            changing = (self._lookups.weather, self._lookups.origin_delays, self._lookups.carrier_delays)
            tables += [table.known(self._known_until, until) for table in changing]
            self._known_until = until
        for table in tables:
            fields = {name: values.tolist() for name, values in table.fields.items()}
            await self._writer.write(table.prefix, table.keys.tolist(), fields, table.written.tolist())

    async def _send_events(self, start: int, stop: int) -> None:
        traffic, confirmations = self._traffic, Confirmations()
        here = self._partition[start:stop]
        for partition in self._partitions:
            rows: list[int] = (start + np.flatnonzero(here == partition)).tolist()
            if not rows:
                continue
            records: list[OutputRecord] = [(traffic.keys[row], traffic.values[row], []) for row in rows]
            self._ledger.sent(partition, rows, at=self._clock())
            confirmations += await send(self._producer, self._topics.events.name, partition, records, _unix_ms())
        await self._confirm(confirmations)

    async def _send_labels(self, until: int) -> None:
        """Labels of the flights that have landed, and the watermark that says so, to every partition."""
        first = self._labels_sent
        self._labels_sent = int(np.searchsorted(self._label_times, until, "right"))
        records: dict[int, list[OutputRecord]] = {partition: [] for partition in self._partitions}
        for position in range(first, self._labels_sent):
            label = self._labels[position]
            records[self._label_partition[position]].append(((label.key or "").encode(), *encode_label(label)))
        watermark: OutputRecord = (None, *encode_watermark(until))
        confirmations = Confirmations()
        for partition, labels in records.items():
            topic = self._topics.labels.name
            confirmations += await send(self._producer, topic, partition, [*labels, watermark], _unix_ms())
        await self._confirm(confirmations)

    async def _confirm(self, later: Confirmations | None = None) -> None:
        """Await what was sent before: all of it, or all but the last sends when there is more `later`."""
        keep = 0 if later is None else _UNCONFIRMED
        if later:
            self._unconfirmed.append(later)
        while len(self._unconfirmed) > keep:
            await asyncio.gather(*self._unconfirmed.pop(0))

    async def _wait_until(self, due: float) -> None:
        if (wait_s := due - self._clock()) > 0:
            await asyncio.sleep(wait_s)


def _partitioner(partitions: int) -> Callable[[bytes], int]:
    """Kafka's own: murmur2 of the key. Labels use it too, and so come to the partition of their events."""
    choose, every, known = DefaultPartitioner(), list(range(partitions)), dict[bytes, int]()

    def partition_of(key: bytes) -> int:
        if key not in known:
            known[key] = choose(key, every, every)
        return known[key]

    return partition_of


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
