"""Exactly once: a transaction per input partition holds its outputs and its offset.

The order is that of `penstock.streams.delivery`; here its first three steps are one.

An event is seen when its transaction ends, so its latency is that of a whole transaction. What can be done at its
beginning is not left for its end: the log's partition and the offsets join it with its first outputs; the offset that
joins is replaced by the last one. And a transaction lasts no longer than keeps commits a small part of the time: it is
short while there is little to do, and long under load.

One thing at a time: a broker asks the coordinator whether a producer's transaction has a partition when it is first
written to, the offsets' partition, too. Where two such questions of one transaction meet, the first is refused, and
aiokafka tries again after 100 ms.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer import sender
from faust.types import TP
from mode import Service

from penstock.schemas.scored import ScoredBlock
from penstock.streams.delivery import IN_FLIGHT, Log, Outputs, fatal, send, send_all

sender.BACKOFF_OVERRIDE = 0.002
"""Between two attempts to begin a transaction while the markers of the one before are being written, which takes some
milliseconds. aiokafka waits 20 ms."""

COMMITS_IN_A_TRANSACTION = 3
"""A transaction lasts as long as so many commits, and no longer than the settings say."""

SHORTEST_S = 0.02
"""However fast commits are: more transactions would only cost more."""


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
        log: Log | None = None,
    ) -> None:
        super().__init__()
        self._group, self._new_producer, self._fatal, self._transaction_s = group, new_producer, fatal, transaction_s
        self._log = log
        self._lanes: dict[TP, _Lane] = {}

    async def open(self, assigned: set[TP], generation: int) -> None:
        """Fence the former owners of `assigned` and take their place. Call before offsets are read."""
        await self.close()
        lanes = {
            tp: _Lane(
                tp,
                generation,
                self._group,
                self._new_producer(f"{self._group}-{tp.topic}-{tp.partition}"),
                self._fatal,
                self._log,
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

    async def deliver_alone(self, outputs: Outputs, note: str) -> bool:
        lane = self._lanes.get(outputs.tp)
        if lane is None or lane.generation != outputs.generation:
            return False
        return await lane.deliver_alone(_Alone(outputs, note))

    async def on_stop(self) -> None:
        await self.close()


@dataclass
class _Alone:
    """Outputs for a transaction of their own, the note beside their offset, and whether it is committed."""

    outputs: Outputs
    note: str
    committed: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass
class _Lane:
    """Writes one input partition's outputs and offsets, transaction by transaction."""

    tp: TP
    generation: int
    group: str
    producer: AIOKafkaProducer
    fatal: Callable[[BaseException], None]
    log: Log | None

    async def start(self, transaction_s: float) -> None:
        await self.producer.start()  # InitProducerId: fences the former owner and ends its open transaction
        self._pace = Pace(transaction_s)
        self._waiting: asyncio.Queue[Outputs | _Alone] = asyncio.Queue(IN_FLIGHT)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        while not self._waiting.empty():
            self._waiting.get_nowait()  # so that whoever waits in `deliver` goes on: nobody takes anything any more
        await self.producer.stop()

    async def deliver(self, outputs: Outputs) -> None:
        await self._waiting.put(outputs)

    async def deliver_alone(self, alone: _Alone) -> bool:
        await self._waiting.put(alone)
        ends: list[asyncio.Future[Any]] = [alone.committed, self._task]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        return alone.committed.done()

    async def _run(self) -> None:
        try:
            while True:
                waiting = await self._waiting.get()
                alone = await self._transact(waiting) if isinstance(waiting, Outputs) else waiting
                if alone is not None:
                    await self._transact_alone(alone)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fatal(cause_of(self.producer, error))

    async def _transact(self, first: Outputs) -> _Alone | None:
        """Whatever arrives within a transaction's time of the first outputs goes into one.

        Returns what ended it early: outputs that go alone.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._pace.transaction_s
        taken, confirmations = [first], await self._begin(first)
        joined = asyncio.create_task(self._join(first, confirmations[:]))
        try:
            alone: _Alone | None = None
            while loop.time() < deadline:
                following = await self._next(deadline)
                if not isinstance(following, Outputs):
                    alone = following
                    break
                taken.append(following)
                confirmations += await send_all(self.producer, following)
            ended = loop.time()
            await joined
            await self._commit(taken, confirmations, joined_with=first.next_offset)
        finally:
            joined.cancel()
        self._pace.committed(loop.time() - ended)
        return alone

    async def _begin(self, first: Outputs) -> list[asyncio.Future[Any]]:
        await self.producer.begin_transaction()
        if self.log is not None and first.scored is not None:  # its rows come last, and should not wait for this then
            place = TopicPartition(self.log.topic, self.tp.partition)
            self.producer._txn_manager.maybe_add_partition_to_txn(place)
        return await send_all(self.producer, first)

    async def _join(self, first: Outputs, confirmations: list[asyncio.Future[Any]]) -> None:
        """The offsets join when the first outputs have; the last one then takes a single answer."""
        await asyncio.gather(*confirmations)
        await self._send_offset(first.next_offset)

    async def _next(self, deadline: float) -> Outputs | _Alone | None:
        """What comes before `deadline`."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self._waiting.get()
        except TimeoutError:
            return None

    async def _transact_alone(self, alone: _Alone) -> None:
        confirmations = await self._begin(alone.outputs)
        await self._commit([alone.outputs], confirmations, note=alone.note)
        alone.committed.set_result(True)

    async def _commit(
        self,
        taken: list[Outputs],
        confirmations: list[asyncio.Future[Any]],
        *,
        joined_with: int | None = None,
        note: str = "",
    ) -> None:
        """The end of a transaction: the rows of the scored log, which were gathered until now, and the offset.

        joined_with   the offset that the transaction has already; None: the offsets have not joined it yet
        """
        confirmations += await self._write_log([outputs.scored for outputs in taken if outputs.scored is not None])
        last = taken[-1].next_offset
        if joined_with is None:
            await asyncio.gather(*confirmations)
            await self._send_offset(last, note)
        elif joined_with == last:
            await asyncio.gather(*confirmations)
        else:
            await asyncio.gather(*confirmations, self._send_offset(last))
        await self.producer.commit_transaction()
        for outputs in taken:
            outputs.acknowledge()

    async def _send_offset(self, offset: int, note: str = "") -> None:
        place = TopicPartition(self.tp.topic, self.tp.partition)
        await self.producer.send_offsets_to_transaction({place: (offset, note) if note else offset}, self.group)

    async def _write_log(self, blocks: list[ScoredBlock]) -> list[asyncio.Future[Any]]:
        if self.log is None or not blocks:
            return []
        now = time.time_ns() // 1_000_000
        return await send(self.producer, self.log.topic, self.tp.partition, self.log.records(blocks), now)


def cause_of(producer: AIOKafkaProducer, error: Exception) -> BaseException:
    """Why the producer's transaction failed, where `error` only says that it is over.

    aiokafka hears in a task of its own that the producer is fenced. Whoever writes next is told that this is no time to
    write; the reason stands in the future of the transaction.
    """
    ended = producer._txn_manager.wait_for_transaction_end()
    failed = ended is not None and ended.done() and not ended.cancelled()
    return (ended.exception() if failed else None) or error


class Pace:
    """How long a transaction lasts: `longest_s` until its commits are known to be quick.

    >>> pace = Pace(0.05)
    >>> pace.committed(0.008)
    >>> f"{pace.transaction_s:.3f}"
    '0.024'
    >>> for _ in range(20):
    ...     pace.committed(0.040)  # there is much to do: the fewer transactions, the better
    >>> pace.transaction_s
    0.05
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s, self._commit_s = longest_s, -1.0

    @property
    def transaction_s(self) -> float:
        if self._commit_s < 0:
            return self._longest_s
        return min(max(COMMITS_IN_A_TRANSACTION * self._commit_s, SHORTEST_S), self._longest_s)

    def committed(self, took_s: float) -> None:
        """A commit took so long; smoothed."""
        self._commit_s = took_s if self._commit_s < 0 else 0.8 * self._commit_s + 0.2 * took_s
