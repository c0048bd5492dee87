"""The counter: a plain consumer of committed records in a process of its own, which knows nothing of the service.

    with Counter(Watch(servers, "flights.predictions", "flights.dead-letters", 4), log=Path("counter.log")) as counter:
        counter.told.seen                   # events that have an output by now
        verdict = counter.verdict(events=1000, bad_every=100)

It keeps two bytes for each event. Which event an output is of, its key says; a prediction's id must say the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from numpy.typing import NDArray
from reliability_suite.children import Child, order_of_this_process, tell, tell_until_the_end
from reliability_suite.counting import Counts, Pause, Repeat, Verdict
from reliability_suite.load import bad_events

DIGITS = 10
"""Of an event's number, in its key and id."""
ID = b'{"id":"'
"""How a prediction begins."""
LACKS = b'"defaulted":["'
"""What stands in one that names a feature which it lacked."""
QUIET_S = 1.0
FETCH_WAIT_MS = 250
FETCH_BYTES = 1 << 18
"""A fetch is answered when this much is there: the counter shares the cores with what it watches."""


class Watch(msgspec.Struct, frozen=True):
    """What to read."""

    servers: str
    """With commas between them."""
    predictions: str
    dead_letters: str
    partitions: int


class Counted(msgspec.Struct, frozen=True):
    """How far it is.

    seen     events that have a prediction or a dead letter
    times    of each partition's last prediction, Unix ms; 0 where there is none
    at_end   no committed record waits, and none has come for a while
    flagged  predictions that name features which they lacked
    whole    of each partition's last prediction that names none, Unix ms; 0 where there is none

    What follows comes with the verdict: see `Counts`.
    """

    seen: int
    predictions: int
    dead_letters: int
    times: list[int]
    at_end: bool
    cpu_s: float
    flagged: int = 0
    whole: list[int] = []
    pauses: list[Pause] = []
    repeats: list[Repeat] = []
    written: dict[int, int] = {}
    verdict: Verdict | None = None


class _Asked(msgspec.Struct, frozen=True):
    events: int
    bad_every: int


class Counter(Child[Counted]):
    """The counter as a process."""

    def __init__(self, watch: Watch, log: Path) -> None:
        super().__init__("reliability_suite.counter", watch, Counted, log)

    def verdict(self, events: int, bad_every: int, timeout_s: float = 60.0) -> Counted:
        """What became of the load's first `events`; it reads no further."""
        return self.finish(timeout_s, msgspec.json.encode(_Asked(events, bad_every)))


class Counting:
    """Reads both topics from their beginning."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._counts = Counts(watch.partitions)
        self._last_read = time.monotonic()
        self._behind = True
        self._flagged = 0
        self._whole = [0] * watch.partitions

    @property
    def told(self) -> Counted:
        counts = self._counts
        return Counted(
            seen=counts.seen,
            predictions=counts.predicted,
            dead_letters=counts.lettered,
            times=counts.last_times,
            at_end=not self._behind and time.monotonic() - self._last_read > QUIET_S,
            cpu_s=time.process_time(),
            flagged=self._flagged,
            whole=list(self._whole),
        )

    async def run(self) -> None:
        watch = self._watch
        consumer = AIOKafkaConsumer(
            bootstrap_servers=watch.servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_min_bytes=FETCH_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        await consumer.start()
        try:
            topics = (watch.predictions, watch.dead_letters)
            consumer.assign([TopicPartition(topic, p) for topic in topics for p in range(watch.partitions)])
            reading = asyncio.create_task(self._read(consumer))
            asking = asyncio.create_task(tell_until_the_end(lambda: self.told))
            await asyncio.wait([reading, asking], return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            if reading.done():
                reading.result()  # nothing ends it but an error
            asked = msgspec.json.decode(await asking, type=_Asked)
        finally:
            await consumer.stop()
        verdict = self._counts.verdict(asked.events, bad_events(asked.events, asked.bad_every))
        counts = self._counts
        everything = {"pauses": counts.pauses, "repeats": counts.repeats, "written": counts.written}
        tell(msgspec.structs.replace(self.told, verdict=verdict, **everything))

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            for place, records in (await consumer.getmany(timeout_ms=FETCH_WAIT_MS)).items():
                self._last_read = time.monotonic()
                if place.topic == self._watch.predictions:
                    self._counts.predictions(place.partition, *self._clear(records, with_id=True))
                    self._note_what_lacks(place.partition, records)
                else:
                    self._counts.dead_letters(place.partition, *self._clear(records, with_id=False))
            self._behind = False
            for place in consumer.assignment():
                end = consumer.last_stable_offset(place)
                self._behind |= end is None or await consumer.position(place) < end

    def _note_what_lacks(self, partition: int, records: Sequence[ConsumerRecord]) -> None:
        whole = [record.timestamp for record in records if LACKS not in (record.value or b"")]
        self._flagged += len(records) - len(whole)
        self._whole[partition] = whole[-1] if whole else self._whole[partition]

    def _clear(
        self, records: Sequence[ConsumerRecord], *, with_id: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of the events that records are of, and their times; what does not say so is counted as strange."""
        begin, end = len(ID), len(ID) + DIGITS
        clear = [
            record
            for record in records
            if record.key is not None
            and len(record.key) == DIGITS
            and record.key.isdigit()
            and (not with_id or (record.value or b"")[begin:end] == record.key)
        ]
        self._counts.strange(len(records) - len(clear))
        numbers = np.frombuffer(b"".join([record.key for record in clear]), f"S{DIGITS}").astype(np.int64)
        return numbers, np.array([record.timestamp for record in clear], np.int64)


if __name__ == "__main__":
    asyncio.run(Counting(order_of_this_process(Watch)).run())
