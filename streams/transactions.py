"""Exactly once: a transaction per input partition holds its outputs and its offset.

The order is that of `penstock.streams.delivery`; here its first three steps are one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from faust.types import TP
from mode import Service

from penstock.schemas.scored import ScoredBlock
from penstock.streams.delivery import IN_FLIGHT, Log, Outputs, fatal, send, send_all


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
        self._waiting: asyncio.Queue[Outputs | _Alone] = asyncio.Queue(IN_FLIGHT)
        self._task = asyncio.create_task(self._run(transaction_s))

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

    async def _run(self, transaction_s: float) -> None:
        try:
            while True:
                waiting = await self._waiting.get()
                alone = await self._transact(waiting, transaction_s) if isinstance(waiting, Outputs) else waiting
                if alone is not None:
                    await self._transact_alone(alone)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fatal(cause_of(self.producer, error))

    async def _transact(self, first: Outputs, transaction_s: float) -> _Alone | None:
        """Whatever arrives within `transaction_s` of the first outputs goes into one transaction.

        Returns what ended it early: outputs that go alone.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + transaction_s
        await self.producer.begin_transaction()
        taken, confirmations = [first], await send_all(self.producer, first)
        alone: _Alone | None = None
        while (left := deadline - loop.time()) > 0:
            following = await _within(self._waiting.get(), left)
            if not isinstance(following, Outputs):
                alone = following
                break
            taken.append(following)
            confirmations += await send_all(self.producer, following)
        await self._commit(taken, confirmations)
        return alone

    async def _transact_alone(self, alone: _Alone) -> None:
        await self.producer.begin_transaction()
        await self._commit([alone.outputs], await send_all(self.producer, alone.outputs), alone.note)
        alone.committed.set_result(True)

    async def _commit(self, taken: list[Outputs], confirmations: list[asyncio.Future[Any]], note: str = "") -> None:
        """The end of a transaction: the rows of the scored log, which were gathered until now, and the offset."""
        confirmations += await self._write_log([outputs.scored for outputs in taken if outputs.scored is not None])
        await asyncio.gather(*confirmations)
        last = taken[-1].next_offset
        offset = {TopicPartition(self.tp.topic, self.tp.partition): (last, note) if note else last}
        await self.producer.send_offsets_to_transaction(offset, self.group)
        await self.producer.commit_transaction()
        for outputs in taken:
            outputs.acknowledge()

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


async def _within(awaitable: Awaitable[Outputs | _Alone], timeout_s: float) -> Outputs | _Alone | None:
    try:
        return await asyncio.wait_for(awaitable, timeout_s)
    except TimeoutError:
        return None
