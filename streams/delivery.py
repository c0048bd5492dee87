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
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError, KafkaTimeoutError, ProducerFenced
from faust.types import TP
from mode import Service

from penstock.schemas.errors import PenstockError
from penstock.schemas.scored import ScoredBlock
from penstock.streams.kafka import AccessRefused, is_refusal, what_was_refused

IN_FLIGHT = 8
"""Groups that may wait for Kafka's confirmation at once; more would only grow memory."""

ENOUGH_ROWS = 256
"""So many rows of the scored log are written at once: gathering more would save nothing."""

GATHER_S = 0.05
"""How long rows may wait for others: well below the commit interval, which waits for them. Each record holds the event
loop for a millisecond, and every event that comes meanwhile waits for it: few records mean a short tail."""

FAILED = 70
"""Exit code of a worker that stopped because going on could have lost or doubled events; a supervisor restarts it."""

log = logging.getLogger("penstock.delivery")


def fatal(error: BaseException) -> NoReturn:
    """End the process at once: after a failed output or a lost fence nothing more may be committed."""
    log.critical("Stopping, to go on from the last committed offset: %s", _why(error))
    sys.stderr.flush()
    os._exit(AccessRefused.exit_code if is_refusal(error) else FAILED)


def _why(error: BaseException) -> str:
    """In a sentence.

    >>> _why(ProducerFenced())
    'Another worker has its partitions now. This one stood still, or its transaction took longer than Kafka allows.'
    >>> from aiokafka.errors import TopicAuthorizationFailedError
    >>> print(_why(TopicAuthorizationFailedError({"flights.review"})))
    Kafka refused to write to the topic flights.review: not authorised. Allow it in the brokers' access control lists.
    """
    if isinstance(error, ProducerFenced):
        still = "This one stood still, or its transaction took longer than Kafka allows."
        return f"Another worker has its partitions now. {still}"
    if isinstance(error, PenstockError):
        return str(error)
    if refused := what_was_refused(error, of_the_topic="to write to the topic"):
        return f"Kafka refused {refused}: not authorised. Allow it in the brokers' access control lists."
    fix = ""
    if isinstance(error, InvalidTimestampError):
        fix = " Set this machine's clock, and message.timestamp.type as `penstock doctor` says."
    return f"{type(error).__name__}: {str(error).rstrip('.')}.{fix}"


OutputRecord = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
"""A record to write: its key, value and headers. A plain tuple: there is one for every event."""


def bytes_of(record: OutputRecord) -> int:
    """Of a record to write, with a little over for the lengths in between."""
    key, value, headers = record
    return len(key or b"") + len(value or b"") + sum(len(name) + len(text or b"") + 10 for name, text in headers)


class Outputs(NamedTuple):
    """All that comes out of a run of one input partition.

    records       topic → its records, which go to the partition with the input's number, in this order
    next_offset   what to commit when they are written
    generation    of the consumer group in which the input was fetched
    acknowledge   called once, when the offset is committed (exactly once) or may be committed (at least once)
    scored        rows for the scored log; they may be written with those of later runs
    """

    tp: TP
    records: dict[str, list[OutputRecord]]
    next_offset: int
    generation: int
    acknowledge: Callable[[], None]
    scored: ScoredBlock | None = None


class Log(Protocol):
    """Makes records of gathered rows."""

    topic: str

    def records(self, blocks: Sequence[ScoredBlock]) -> list[OutputRecord]:
        """Blocks of one partition in order, as few records."""
        ...


class Delivery(Protocol):
    """How outputs and offsets get to Kafka."""

    async def deliver(self, outputs: Outputs) -> None:
        """Returns when there is room for more, usually before the outputs are confirmed."""
        ...

    async def deliver_alone(self, outputs: Outputs, note: str) -> bool:
        """Outputs behind all that was delivered of their partition. They wait for no others, and a note is committed
        beside their offset, which the next commit removes.

        Returns True when they are committed; False when the partition has been taken away meanwhile.
        """
        ...


CommitNote = Callable[[TP, int, int, str], Awaitable[bool]]
"""Commits a partition's offset, in a generation of the group, with a note beside it; False in a later generation."""


async def send(
    producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[OutputRecord], timestamp: int
) -> list[asyncio.Future[Any]]:
    """Write `records` in order as whole batches; the futures resolve when Kafka has confirmed them."""
    confirmations = []
    written = 0
    while written < len(records):
        batch = producer.create_batch()
        written += _fill(batch, records[written:] if written else records, timestamp)
        confirmations.append(await _hand_over(producer, batch, topic, partition))
    return confirmations


async def _hand_over(producer: AIOKafkaProducer, batch: Any, topic: str, partition: int) -> asyncio.Future[Any]:
    """As long as it takes: aiokafka gives up when brokers that are lost have not taken the batch before for 40 s."""
    while True:
        with suppress(KafkaTimeoutError):  # nothing was handed over
            confirmation: asyncio.Future[Any] = await producer.send_batch(batch, topic, partition=partition)
            return confirmation


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


async def send_all(producer: AIOKafkaProducer, outputs: Outputs) -> list[asyncio.Future[Any]]:
    """Write all records of `outputs`; those for the scored log are another matter."""
    now = time.time_ns() // 1_000_000
    confirmations = []
    for topic, records in outputs.records.items():
        confirmations += await send(producer, topic, outputs.tp.partition, records, now)
    return confirmations


@dataclass
class _Gathered:
    """Rows of one partition that wait to be written, and the future of their confirmation."""

    written: asyncio.Future[None]
    blocks: list[ScoredBlock] = field(default_factory=list)
    rows: int = 0


class AtLeastOnce(Service):
    """One idempotent producer; blocks are acknowledged as Kafka confirms their outputs, in any order.

    Predictions go out at once; rows of the scored log wait for others for `gather_s` at most, and their blocks are
    acknowledged when both are confirmed.
    """

    def __init__(
        self,
        producer: Callable[[], AIOKafkaProducer],
        fatal: Callable[[BaseException], None] = fatal,
        *,
        commit_note: CommitNote,
        log: Log | None = None,
        enough_rows: int = ENOUGH_ROWS,
        gather_s: float = GATHER_S,
    ) -> None:
        super().__init__()
        self._producer, self._fatal, self._log, self._commit_note = producer, fatal, log, commit_note
        self._enough_rows, self._gather_s = enough_rows, gather_s
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._gathered: dict[TP, _Gathered] = {}
        self._in_turn = asyncio.Lock()

    async def deliver(self, outputs: Outputs) -> None:
        await self._room.acquire()
        try:
            confirmations = await send_all(self._producer(), outputs)
        except BaseException:
            self._room.release()
            raise
        self._confirm(outputs, confirmations, self._gather(outputs))
        if (gathered := self._gathered.get(outputs.tp)) is not None and gathered.rows >= self._enough_rows:
            await self._write(outputs.tp, gathered)

    async def deliver_alone(self, outputs: Outputs, note: str) -> bool:
        try:
            confirmations = await send_all(self._producer(), outputs)
            if outputs.scored is not None:
                confirmations += await self._send_log(outputs.tp, [outputs.scored])
            await asyncio.gather(*confirmations)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._fatal(error)
            return False
        outputs.acknowledge()
        return await self._commit_note(outputs.tp, outputs.next_offset, outputs.generation, note)

    def _gather(self, outputs: Outputs) -> asyncio.Future[None] | None:
        if outputs.scored is None:
            return None
        if (gathered := self._gathered.get(outputs.tp)) is None:
            loop = asyncio.get_running_loop()
            gathered = self._gathered[outputs.tp] = _Gathered(loop.create_future())
            loop.call_later(self._gather_s, lambda: self._start(self._write(outputs.tp, gathered)))
        gathered.blocks.append(outputs.scored)
        gathered.rows += outputs.scored.rows
        return gathered.written

    async def _write(self, tp: TP, gathered: _Gathered) -> None:
        if self._gathered.get(tp) is not gathered:
            return  # written already
        del self._gathered[tp]
        try:
            confirmations = await self._send_log(tp, gathered.blocks)
        except Exception as error:
            self._fatal(error)
            return
        self._when_confirmed(confirmations, lambda: gathered.written.set_result(None))

    async def _send_log(self, tp: TP, blocks: Sequence[ScoredBlock]) -> list[asyncio.Future[Any]]:
        if self._log is None:
            return []
        async with self._in_turn:  # the log keeps the order of offsets
            # Partitions mostly come to this together; what has arrived meanwhile goes between two of their records.
            await asyncio.sleep(0)
            now = time.time_ns() // 1_000_000
            return await send(self._producer(), self._log.topic, tp.partition, self._log.records(blocks), now)

    def _confirm(
        self, outputs: Outputs, confirmations: list[asyncio.Future[Any]], log: asyncio.Future[None] | None
    ) -> None:
        """Make room when the outputs are confirmed; acknowledge them when their rows are, too."""

        def confirmed() -> None:
            self._room.release()
            if log is None or log.done():
                outputs.acknowledge()
            else:
                log.add_done_callback(lambda _: outputs.acknowledge())

        self._when_confirmed(confirmations, confirmed)

    def _when_confirmed(self, confirmations: list[asyncio.Future[Any]], then: Callable[[], None]) -> None:
        """Callbacks: a task for each would cost small windows as much as their model."""
        left = len(confirmations)

        def one_less(confirmation: asyncio.Future[Any]) -> None:
            nonlocal left
            if confirmation.cancelled():
                return  # the worker is being stopped
            if (error := confirmation.exception()) is not None:
                self._fatal(error)
                return
            left -= 1
            if not left:
                then()

        if not left:
            then()
        for confirmation in confirmations:
            confirmation.add_done_callback(one_less)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
