"""What Kafka does to a transactional producer once a newer one has started with the same transactional id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ConcurrentTransactions,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownError,
    UnknownProducerId,
)

_FENCES = (
    ProducerFenced, InvalidProducerEpoch, InvalidTxnState, InvalidProducerIdMapping, OutOfOrderSequenceNumber,
    UnknownProducerId, ConcurrentTransactions, UnknownError,
)  # fmt: skip
"""What a broker says to a producer that is no longer the newest; in a race of many, also that it does not know what is
wrong. In every case nothing of the transaction will be visible, and whoever reads again sees what is."""


class Fenced(Exception):
    """A newer producer uses our transactional id. Nothing of an uncommitted transaction will ever be visible."""


@contextmanager
def fences() -> Iterator[None]:
    """Raises Fenced for what a broker says to an overtaken producer, wherever aiokafka wraps it."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, _FENCES):
                raise Fenced from error
            cause = cause.__cause__
        raise


async def abandon(producer: AIOKafkaProducer) -> None:
    """End a failed transaction: left open, it would hold back the readers until it times out."""
    manager = producer._txn_manager
    try:
        if not manager.is_fatal_error():
            await producer.abort_transaction()
    finally:
        # Where we were fenced, aiokafka has set the reason in futures of its own that nobody awaits, and asyncio would
        # print each with its traceback: look at them here.
        waiting = [manager.wait_for_transaction_end()]
        for batches in producer._message_accumulator._batches.values():
            waiting += [batch._drain_waiter for batch in batches]
        for future in waiting:
            if future.done() and not future.cancelled():
                future.exception()
