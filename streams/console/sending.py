"""`penstock send`: events from a file or a pipe into a topic, as fast as it goes or at a rate.

Records are appended to batches of this module's own and handed to the producer whole: an ordinary `send` costs tens of
microseconds an event. Every batch is acknowledged by all replicas; what is reported as confirmed is in the log, once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError, RecordTooLargeError
from aiokafka.partitioner import DefaultPartitioner

from penstock.schemas.errors import PenstockError
from penstock.streams import kafka as clients
from penstock.streams.console.event_files import Chunk, Event
from penstock.streams.console.pace import Pace

if TYPE_CHECKING:
    from penstock.streams.settings import KafkaSettings

BATCH_BYTES = 256 * 1024
IN_FLIGHT = 32
"""Batches that wait for their confirmation; more, and sending waits."""
STOP_DEADLINE_S = 10.0
"""After an interruption, the longest wait for what was handed over."""
LINGER_S = 0.01
"""At a rate, no event waits longer than this in a batch."""

Progress = Callable[["Sent"], None]


class BatchRefused(PenstockError):
    """The broker does not take batches of this size on the topic.

    >>> print(BatchRefused("departures", 262144))
    The topic departures refuses batches of 262144 bytes. Raise its max.message.bytes, or send with a smaller --batch.
    """

    def __init__(self, topic: str, batch_bytes: int) -> None:
        self.topic, self.batch_bytes = topic, batch_bytes
        super().__init__(
            f"The topic {topic} refuses batches of {batch_bytes} bytes. Raise its max.message.bytes, or send with a "
            "smaller --batch."
        )


@dataclass
class Sent:
    """How far the sending has come.

    `confirmed` events are in the topic; `unconfirmed` were handed over when the sending broke off, and may be;
    `too_large` lists (line, bytes) of events above the limit, which were left out. `read_bytes` of the source are done.
    """

    confirmed: int = 0
    unconfirmed: int = 0
    too_large: list[tuple[int, int]] = field(default_factory=list)
    read_bytes: int = 0
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def events_per_s(self) -> float:
        return self.confirmed / self.seconds if self.seconds else 0.0


class _Interrupted(Exception):
    """The person has had enough."""


class Sender:
    """Fills a batch per partition and counts what the brokers confirm.

    Keys choose partitions as Kafka's own clients do (murmur2); events without a key fill one partition's batch at a
    time, in turn.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        partitions: list[int],
        stop: asyncio.Event,
        *,
        max_bytes: int,
        batch_bytes: int,
    ) -> None:
        self._stop = stop
        self._producer, self._topic, self._partitions = producer, topic, partitions
        self._max_bytes, self._batch_bytes = max_bytes, batch_bytes
        self._batches: dict[int, Any] = {}
        self._in_flight: dict[asyncio.Future[Any], int] = {}
        self._failure: BaseException | None = None
        self._turn = 0
        partitioner = DefaultPartitioner()
        self._partition_of = lru_cache(1 << 16)(lambda key: partitioner(key, partitions, partitions))
        self.sent = Sent()

    async def send(self, events: Iterable[Event]) -> None:
        """Append events to their batches; full ones go out. Raises what made an earlier batch fail."""
        for event in events:
            key, value, line, headers, partition = event
            size = len(value) + len(key or b"")
            if size > self._max_bytes:
                self.sent.too_large.append((line, size))
                continue
            if partition is None:
                partition = self._partitions[self._turn] if key is None else self._partition_of(key)
            batch = self._batches.get(partition)
            if batch is None:
                batch = self._batches[partition] = self._producer.create_batch()
            if batch.append(timestamp=None, key=key, value=value, headers=list(headers)) is None:
                await self._hand_over(partition)
                batch = self._batches[partition] = self._producer.create_batch()
                batch.append(timestamp=None, key=key, value=value, headers=list(headers))

    async def flush(self) -> None:
        """Hand every open batch over."""
        for partition in list(self._batches):
            await self._hand_over(partition)

    async def close(self) -> None:
        """Hand everything over and wait for every confirmation, after an interruption only so long. Raises what made a
        batch fail.
        """
        if not self._stop.is_set():
            with suppress(_Interrupted):
                await self.flush()
                await self._until(lambda: not self._in_flight)
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=STOP_DEADLINE_S)
        self._raise_failure()

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for confirmations until `condition`. Raises _Interrupted, and what made a batch fail."""
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            while not condition():
                await asyncio.wait({*self._in_flight, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if self._stop.is_set():
                    raise _Interrupted
        finally:
            stopped.cancel()
        self._raise_failure()

    async def _hand_over(self, partition: int) -> None:
        await self._until(lambda: len(self._in_flight) < IN_FLIGHT)
        batch = self._batches.pop(partition)
        if partition == self._partitions[self._turn]:
            self._turn = (self._turn + 1) % len(self._partitions)
        count = batch.record_count()
        batch.close()
        confirmation = await self._producer.send_batch(batch, self._topic, partition=partition)
        self._in_flight[confirmation] = count
        self.sent.unconfirmed += count
        confirmation.add_done_callback(self._confirmed)

    def _confirmed(self, confirmation: asyncio.Future[Any]) -> None:
        count = self._in_flight.pop(confirmation)
        if confirmation.cancelled():
            return
        if (error := confirmation.exception()) is not None:
            self._failure = self._failure or error
            return
        self.sent.confirmed += count
        self.sent.unconfirmed -= count

    def _raise_failure(self) -> None:
        if isinstance(self._failure, MessageSizeTooLargeError | RecordTooLargeError):
            raise BatchRefused(self._topic, self._batch_bytes) from self._failure
        if self._failure is not None:
            raise self._failure


async def send(
    kafka: KafkaSettings,
    topic: str,
    chunks: Iterator[Chunk],
    *,
    rate: float | None = None,
    max_bytes: int = 1_048_576,
    batch_bytes: int = BATCH_BYTES,
    stop: asyncio.Event | None = None,
    progress: Progress = lambda sent: None,
    clock: Callable[[], float] = time.monotonic,
) -> Sent:
    """Send every event of `chunks` to `topic`; with `rate`, that many a second. `stop` ends it early and cleanly.

    `chunks` is iterated in a thread of its own, so that a pipe may be silent for as long as it likes. Raises
    UnreachableError, AccessRefused, TopicMissing, BatchRefused, and what `chunks` raises, after everything before it
    has been confirmed.
    """
    stop = stop or asyncio.Event()
    async with clients.consumer(kafka) as consumer:
        partitions = [tp.partition for tp in await clients.partitions(consumer, topic)]
    async with clients.producer(kafka, max_batch_size=batch_bytes) as producer:
        sender = Sender(producer, topic, partitions, stop, max_bytes=max_bytes, batch_bytes=batch_bytes)
        started = clock()
        try:
            async for chunk in _threaded(chunks, stop):
                if rate is None:
                    await sender.send(chunk.events)
                    if len(chunk.events) < _BUSY:
                        await sender.flush()
                else:
                    await _send_paced(sender, chunk.events, Pace(rate), stop, lambda: clock() - started, progress)
                sender.sent.read_bytes, sender.sent.seconds = chunk.read_bytes, clock() - started
                progress(sender.sent)
        except _Interrupted:
            pass
        finally:
            await sender.close()
            sender.sent.seconds = clock() - started
            sender.sent.interrupted = stop.is_set()
            progress(sender.sent)
    return sender.sent


_BUSY = 256
"""A chunk of fewer events comes from a source that has no more for now."""


async def _send_paced(
    sender: Sender,
    events: list[Event],
    pace: Pace,
    stop: asyncio.Event,
    elapsed_s: Callable[[], float],
    progress: Progress,
) -> None:
    done = 0
    while done < len(events) and not stop.is_set():
        before = sender.sent.confirmed + sender.sent.unconfirmed + len(sender.sent.too_large)
        now = elapsed_s()
        run = events[done : done + max(0, pace.allowed(now) - before)]
        await sender.send(run)
        await sender.flush()
        done += len(run)
        sender.sent.seconds = now
        progress(sender.sent)
        wait_s = max(pace.due_s(before + len(run)) - elapsed_s(), LINGER_S)
        if done < len(events):
            await _wait(stop, wait_s)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def _threaded(chunks: Iterator[Chunk], stop: asyncio.Event) -> AsyncIterator[Chunk]:
    """The chunks, iterated in a daemon thread: a pipe that never says anything again must not keep the process."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue(maxsize=8)
    abandoned = threading.Event()

    def put(item: Chunk | BaseException | None) -> bool:
        if abandoned.is_set():
            return False
        try:
            asyncio.run_coroutine_threadsafe(queue.put(item), loop).result()
        except RuntimeError:  # the loop has closed
            return False
        return True

    def read() -> None:
        try:
            for chunk in chunks:
                if not put(chunk):
                    return
            put(None)
        except BaseException as error:  # raised where the chunks are awaited
            put(error)

    threading.Thread(target=read, name="penstock-send-reader", daemon=True).start()
    stopped = asyncio.ensure_future(stop.wait())
    getting: asyncio.Task[Chunk | BaseException | None] | None = None
    try:
        while not stop.is_set():
            getting = asyncio.create_task(queue.get())
            await asyncio.wait({getting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                return
            item = getting.result()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        abandoned.set()
        for task in (stopped, getting):
            if task is not None:
                task.cancel()
        while not queue.empty():
            queue.get_nowait()
