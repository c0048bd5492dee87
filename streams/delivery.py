"""Outputs first, then the offset: what "delivered" means, in both modes.

The order of a block's life is always the same:

1. every output of the block (predictions, scored records, dead letters) is handed to Kafka;
2. Kafka confirms all of them;
3. the block's offset is committed;
4. the block is acknowledged to the transport, which may then fetch more.

At least once, 3 follows 2 within a commit interval: a crash in between scores those blocks again, and consumers can
tell repeats by the event's id and source offset. Exactly once, 1 to 3 are one transaction per input partition, and a
new owner of the partition fences the old one before it reads the offset.

Whatever fails here ends the process: a supervisor starts it anew, from the committed offset. Going on after a failed
output could commit past it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, Protocol

from aiokafka import AIOKafkaProducer, TopicPartition
from faust.types import TP
from mode import Service

IN_FLIGHT = 8
"""Groups that may wait for Kafka's confirmation at once; more would only grow memory."""

FAILED = 70
"""Exit code of a worker that stopped because going on could have lost or doubled events; a supervisor restarts it."""

log = logging.getLogger("penstock.delivery")


def fatal(error: BaseException) -> NoReturn:
    """End the process at once: after a failed output or a lost fence nothing more may be committed."""
    log.critical("Stopping, to go on from the last committed offset: %s: %s", type(error).__name__, error)
    sys.stderr.flush()
    os._exit(FAILED)


OutputRecord = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
"""A record to write: its key, value and headers. A plain tuple: there is one for every event."""


class Outputs(NamedTuple):
    """All that comes out of a run of one input partition.

    records       topic → its records, which go to the partition with the input's number, in this order
    next_offset   what to commit when they are written
    generation    of the consumer group in which the input was fetched
    acknowledge   called once, when the offset is committed (exactly once) or may be committed (at least once)
    """

    tp: TP
    records: dict[str, list[OutputRecord]]
    next_offset: int
    generation: int
    acknowledge: Callable[[], None]


class Delivery(Protocol):
    """How outputs and offsets get to Kafka."""

    async def deliver(self, outputs: Outputs) -> None:
        """Returns when there is room for more, usually before the outputs are confirmed."""
        ...


async def send(
    producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[OutputRecord], timestamp: int
) -> list[asyncio.Future[Any]]:
    """Write `records` in order as whole batches; the futures resolve when Kafka has confirmed them."""
    confirmations = []
    written = 0
    while written < len(records):
        batch = producer.create_batch()
        written += _fill(batch, records[written:] if written else records, timestamp)
        confirmations.append(await producer.send_batch(batch, topic, partition=partition))
    return confirmations


def _fill(batch: Any, records: Sequence[OutputRecord], timestamp: int) -> int:
    """Append records until the batch is full; a first one that is larger than it goes alone. Returns how many went.

    Speaks to the compiled builder itself: the method in between takes more time than the append.
    """
    append = batch._builder.append
    for position, (key, value, headers) in enumerate(records):
        if append(position, timestamp, key, value, headers) is None:
            batch._relative_offset = position
            return position
    batch._relative_offset = len(records)
    return len(records)


async def _send_all(producer: AIOKafkaProducer, outputs: Outputs) -> list[asyncio.Future[Any]]:
    now = time.time_ns() // 1_000_000
    confirmations = []
    for topic, records in outputs.records.items():
        confirmations += await send(producer, topic, outputs.tp.partition, records, now)
    return confirmations


class AtLeastOnce(Service):
    """One idempotent producer; blocks are acknowledged as Kafka confirms their outputs, in any order."""

    def __init__(
        self, producer: Callable[[], AIOKafkaProducer], fatal: Callable[[BaseException], None] = fatal
    ) -> None:
        super().__init__()
        self._producer = producer
        self._fatal = fatal
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._confirming: set[asyncio.Task[None]] = set()

    async def deliver(self, outputs: Outputs) -> None:
        await self._room.acquire()
        try:
            confirmations = await _send_all(self._producer(), outputs)
        except BaseException:
            self._room.release()
            raise
        task = asyncio.create_task(self._confirm(outputs, confirmations))
        self._confirming.add(task)
        task.add_done_callback(self._confirming.discard)

    async def _confirm(self, outputs: Outputs, confirmations: list[asyncio.Future[Any]]) -> None:
        try:
            await asyncio.gather(*confirmations)
            outputs.acknowledge()
        except Exception as error:
            self._fatal(error)
        finally:
            self._room.release()


class ExactlyOnce(Service):
    """A transactional producer per input partition: its lane.

    aiokafka sends no group generation with a transaction's offsets, so the producer's epoch is the only fence: a lane
    is started for every partition of an assignment before its offset is read, and a lane that finds itself fenced ends
    the process.
    """

    def __init__(
        self,
        *,
        group: str,
        new_producer: Callable[[str], AIOKafkaProducer],
        transaction_s: float,
        fatal: Callable[[BaseException], None] = fatal,
    ) -> None:
        super().__init__()
        self._group, self._new_producer, self._fatal, self._transaction_s = group, new_producer, fatal, transaction_s
        self._lanes: dict[TP, _Lane] = {}

    async def open(self, assigned: set[TP], generation: int) -> None:
        """Fence the former owners of `assigned` and take their place. Call before offsets are read."""
        await self.close()
        lanes = {
            tp: _Lane(
                tp, generation, self._group, self._new_producer(f"{self._group}-{tp.topic}-{tp.partition}"), self._fatal
            )
            for tp in assigned
        }
        try:
            await asyncio.gather(*(lane.start(self._transaction_s) for lane in lanes.values()))
        except Exception as error:
            self._fatal(error)  # aiokafka would log it and go on, with partitions that have no lane
            return
        self._lanes = lanes

    async def close(self) -> None:
        """End all lanes; what they have not committed is aborted and will be fetched again."""
        lanes, self._lanes = self._lanes, {}
        await asyncio.gather(*(lane.stop() for lane in lanes.values()))

    async def deliver(self, outputs: Outputs) -> None:
        lane = self._lanes.get(outputs.tp)
        if lane is None or lane.generation != outputs.generation:
            outputs.acknowledge()  # taken away meanwhile: whoever owns the partition now fetches the block again
            return
        await lane.deliver(outputs)

    async def on_stop(self) -> None:
        await self.close()


@dataclass
class _Lane:
    """Writes one input partition's outputs and offsets, transaction by transaction."""

    tp: TP
    generation: int
    group: str
    producer: AIOKafkaProducer
    fatal: Callable[[BaseException], None]

    async def start(self, transaction_s: float) -> None:
        await self.producer.start()  # InitProducerId: fences the former owner and ends its open transaction
        self._waiting: asyncio.Queue[Outputs] = asyncio.Queue(IN_FLIGHT)
        self._task = asyncio.create_task(self._run(transaction_s))

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        while not self._waiting.empty():
            self._waiting.get_nowait()  # so that whoever waits in `deliver` goes on: nobody takes anything any more
        await self.producer.stop()

    async def deliver(self, outputs: Outputs) -> None:
        await self._waiting.put(outputs)

    async def _run(self, transaction_s: float) -> None:
        try:
            while True:
                await self._transact(await self._waiting.get(), transaction_s)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fatal(error)

    async def _transact(self, first: Outputs, transaction_s: float) -> None:
        """Whatever arrives within `transaction_s` of the first outputs goes into one transaction."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + transaction_s
        await self.producer.begin_transaction()
        taken, confirmations = [first], await _send_all(self.producer, first)
        while (left := deadline - loop.time()) > 0:
            following = await _within(self._waiting.get(), left)
            if following is None:
                break
            taken.append(following)
            confirmations += await _send_all(self.producer, following)
        await asyncio.gather(*confirmations)
        offset = {TopicPartition(self.tp.topic, self.tp.partition): taken[-1].next_offset}
        await self.producer.send_offsets_to_transaction(offset, self.group)
        await self.producer.commit_transaction()
        for outputs in taken:
            outputs.acknowledge()


async def _within(awaitable: Awaitable[Outputs], timeout_s: float) -> Outputs | None:
    try:
        return await asyncio.wait_for(awaitable, timeout_s)
    except TimeoutError:
        return None
