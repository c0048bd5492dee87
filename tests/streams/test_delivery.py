"""Outputs first, then the offset, against a producer that does what a test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalOperation, KafkaError, ProducerFenced
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.transaction_manager import TransactionManager
from faust.types import TP
from pipelines import until
from scored_rows import block_of

from penstock.schemas.scored import ScoredBlock
from penstock.streams.delivery import IN_FLIGHT, AtLeastOnce, OutputRecord, Outputs, send
from penstock.streams.transactions import ExactlyOnce
from penstock.streams.transport.producer import PRODUCER_BATCH_BYTES

EVENTS = TP("events", 3)


class ScriptedProducer:
    """Confirms what was sent when it is told to, and remembers all in order. Its batches are aiokafka's own."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.sent: list[tuple[str, int, int]] = []
        """Topic, partition and records of each batch."""
        self.unconfirmed: list[asyncio.Future[None]] = []
        self.confirms_at_once = True
        self.refuses: KafkaError | None = None

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(PRODUCER_BATCH_BYTES, compression_type=0)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[None]:
        if self.refuses is not None:
            raise self.refuses
        self.did.append(f"send {topic}")
        self.sent.append((topic, partition, batch.record_count()))
        confirmation = asyncio.get_running_loop().create_future()
        self.unconfirmed.append(confirmation)
        if self.confirms_at_once:
            self.confirm()
        return confirmation

    def confirm(self) -> None:
        for confirmation in self.unconfirmed:
            confirmation.set_result(None)
        self.unconfirmed.clear()

    def fail(self, error: KafkaError) -> None:
        for confirmation in self.unconfirmed:
            confirmation.set_exception(error)
        self.unconfirmed.clear()

    async def start(self) -> None:
        if self.refuses is not None:
            raise self.refuses
        self._txn_manager = TransactionManager("flights.score-events-3", 60_000)
        self._txn_manager.set_pid_and_epoch(1, 1)
        self.did.append("start")

    async def stop(self) -> None:
        self.did.append("stop")

    async def begin_transaction(self) -> None:
        self._txn_manager.begin_transaction()
        self.did.append("begin")

    async def send_offsets_to_transaction(self, offsets: dict[TopicPartition, int], group: str) -> None:
        [(partition, offset)] = offsets.items()
        self.did.append(f"offset {partition.topic}-{partition.partition}={offset} of {group}")

    async def commit_transaction(self) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.add_partitions()
        self._txn_manager.committing_transaction()
        self._txn_manager.complete_transaction()
        self.did.append("commit")

    def add_partitions(self) -> list[str]:
        """Kafka answers that the partitions that were to join the transaction have joined it."""
        joined = sorted(self._txn_manager.partitions_to_add())
        for place in joined:
            self._txn_manager.partition_added(place)
        return [f"{place.topic}-{place.partition}" for place in joined]


class Journal:
    """What was acknowledged, and what was fatal."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.fatal: list[BaseException] = []
        self.notes: list[tuple[int, str]] = []

    async def commit_note(self, tp: TP, offset: int, generation: int, note: str) -> bool:
        assert (tp, offset in self.acknowledged) == (EVENTS, True)
        self.notes.append((offset, note))
        return generation == 1

    def outputs(
        self,
        next_offset: int,
        *,
        generation: int = 1,
        topics: tuple[str, ...] = ("predictions",),
        scored: Sequence[int] = (),
    ) -> Outputs:
        """One record for each topic; rows for the log at the offsets `scored`."""
        records: dict[str, list[OutputRecord]] = {topic: [(b"key", b"value", [])] for topic in topics}
        rows = block_of(scored) if scored else None
        return Outputs(EVENTS, records, next_offset, generation, lambda: self.acknowledged.append(next_offset), rows)


@pytest.fixture
def journal() -> Journal:
    return Journal()


async def turns(condition: Callable[[], object] = lambda: False) -> None:
    """Let the event loop turn until `condition`, or as long as anything could still happen."""
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0)


# Batches.


async def test_more_records_than_a_batch_holds_go_out_in_order_and_complete() -> None:
    producer = ScriptedProducer()
    records: list[OutputRecord] = [(None, b"%06d" % number + b"x" * 100_000, []) for number in range(20)]
    await send(producer, "scored", 1, records, timestamp=0)
    assert sum(count for _, _, count in producer.sent) == 20
    assert len(producer.sent) > 1


async def test_a_record_larger_than_a_batch_goes_out_alone() -> None:
    producer = ScriptedProducer()
    records: list[OutputRecord] = [(None, b"small", []), (None, b"x" * 5_000_000, []), (None, b"small", [])]
    await send(producer, "dead-letters", 1, records, timestamp=0)
    assert [count for _, _, count in producer.sent] == [1, 1, 1]


async def test_nothing_is_sent_for_no_records() -> None:
    producer = ScriptedProducer()
    assert await send(producer, "scored", 1, [], timestamp=0) == []


# At least once.


@pytest.fixture
def producer() -> ScriptedProducer:
    return ScriptedProducer()


def delivering(producer: ScriptedProducer, journal: Journal, **options: Any) -> AtLeastOnce:
    return AtLeastOnce(lambda: producer, journal.fatal.append, commit_note=journal.commit_note, **options)


@pytest.fixture
def at_least_once(producer: ScriptedProducer, journal: Journal) -> AtLeastOnce:
    return delivering(producer, journal)


async def test_outputs_are_confirmed_before_they_are_acknowledged(
    at_least_once: AtLeastOnce, producer: ScriptedProducer, journal: Journal
) -> None:
    producer.confirms_at_once = False
    await at_least_once.deliver(journal.outputs(10, topics=("predictions", "scored")))
    await turns()
    assert producer.sent == [("predictions", 3, 1), ("scored", 3, 1)]
    producer.unconfirmed.pop(0).set_result(None)
    await turns()
    assert journal.acknowledged == [], "one of two topics is not confirmed yet"
    producer.confirm()
    await turns(lambda: journal.acknowledged)
    assert journal.acknowledged == [10]


async def test_a_failed_output_is_fatal_and_never_acknowledged(
    at_least_once: AtLeastOnce, producer: ScriptedProducer, journal: Journal
) -> None:
    producer.confirms_at_once = False
    await at_least_once.deliver(journal.outputs(10))
    error = KafkaError("the log directory is full")
    producer.fail(error)
    await turns(lambda: journal.fatal)
    assert (journal.fatal, journal.acknowledged) == ([error], [])


async def test_outputs_that_cannot_be_sent_raise_and_are_never_acknowledged(
    at_least_once: AtLeastOnce, producer: ScriptedProducer, journal: Journal
) -> None:
    producer.refuses = KafkaError("no such topic")
    for _ in range(2 * IN_FLIGHT):  # a failure leaves its room to others
        with pytest.raises(KafkaError, match="no such topic"):
            await at_least_once.deliver(journal.outputs(10))
    assert journal.acknowledged == []


async def test_deliver_waits_while_too_much_is_unconfirmed(
    at_least_once: AtLeastOnce, producer: ScriptedProducer, journal: Journal
) -> None:
    producer.confirms_at_once = False
    for number in range(IN_FLIGHT):
        await at_least_once.deliver(journal.outputs(number))
    one_more = asyncio.create_task(at_least_once.deliver(journal.outputs(IN_FLIGHT)))
    await turns()
    assert not one_more.done()
    assert len(producer.sent) == IN_FLIGHT
    producer.unconfirmed.pop(0).set_result(None)
    await turns(one_more.done)
    assert one_more.done()
    producer.confirm()
    await turns(lambda: len(journal.acknowledged) == IN_FLIGHT + 1)
    assert sorted(journal.acknowledged) == list(range(IN_FLIGHT + 1))


# The scored log, at least once.


class OffsetsOnly:
    """A log whose records tell the offsets of the rows that were gathered."""

    topic = "scored"

    def __init__(self) -> None:
        self.written: list[list[int]] = []

    def records(self, blocks: Sequence[ScoredBlock]) -> list[OutputRecord]:
        self.written.append([offset for block in blocks for offset in block.offsets.tolist()])
        return [(None, b"rows", [])]


@pytest.fixture
def log() -> OffsetsOnly:
    return OffsetsOnly()


async def test_rows_of_the_log_wait_for_others_and_predictions_do_not(
    producer: ScriptedProducer, journal: Journal, log: OffsetsOnly
) -> None:
    delivery = AtLeastOnce(
        lambda: producer, journal.fatal.append, commit_note=journal.commit_note, log=log, enough_rows=4, gather_s=60
    )
    await delivery.deliver(journal.outputs(2, scored=[0, 1]))
    await turns()
    assert [topic for topic, _, _ in producer.sent] == ["predictions"]
    assert journal.acknowledged == [], "its rows are not in the log yet"
    await delivery.deliver(journal.outputs(4, scored=[2, 3]))
    await turns(lambda: len(journal.acknowledged) == 2)
    assert log.written == [[0, 1, 2, 3]]
    assert journal.acknowledged == [2, 4]


async def test_rows_of_the_log_wait_for_a_moment_only(
    producer: ScriptedProducer, journal: Journal, log: OffsetsOnly
) -> None:
    delivery = AtLeastOnce(
        lambda: producer, journal.fatal.append, commit_note=journal.commit_note, log=log, gather_s=0.0
    )
    await delivery.deliver(journal.outputs(2, scored=[0, 1]))
    await until(lambda: journal.acknowledged == [2], "the rows were written")
    assert log.written == [[0, 1]]


async def test_what_has_arrived_goes_between_the_records_of_two_partitions(
    producer: ScriptedProducer, journal: Journal, log: OffsetsOnly
) -> None:
    """They fall due together, and each of them holds the event loop for a moment."""
    delivery = AtLeastOnce(lambda: producer, journal.fatal.append, commit_note=journal.commit_note, log=log, gather_s=0)
    seen: list[int] = []

    async def look() -> None:
        while len(log.written) < 2:
            seen.append(len(log.written))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    outputs = journal.outputs(10, scored=[9])
    for partition in (3, 4):
        await delivery.deliver(outputs._replace(tp=TP("events", partition)))
    async with asyncio.timeout(5):
        await looking
    assert 1 in seen


async def test_a_log_that_cannot_be_written_is_fatal_and_acknowledges_nothing(
    producer: ScriptedProducer, journal: Journal, log: OffsetsOnly
) -> None:
    delivery = AtLeastOnce(
        lambda: producer, journal.fatal.append, commit_note=journal.commit_note, log=log, enough_rows=4, gather_s=60
    )
    await delivery.deliver(journal.outputs(2, scored=[0, 1]))
    await turns()
    producer.confirms_at_once = False
    await delivery.deliver(journal.outputs(4, scored=[2, 3]))
    producer.unconfirmed.pop(0).set_result(None)  # the predictions
    await turns()
    error = KafkaError("the log directory is full")
    producer.fail(error)
    await turns(lambda: journal.fatal)
    assert (journal.fatal, journal.acknowledged) == ([error], [])


async def test_outputs_alone_are_committed_with_their_note_when_they_and_their_rows_are_confirmed(
    producer: ScriptedProducer, journal: Journal, log: OffsetsOnly
) -> None:
    delivery = delivering(producer, journal, log=log)
    producer.confirms_at_once = False
    alone = asyncio.create_task(delivery.deliver_alone(journal.outputs(4, scored=[2, 3]), "tried"))
    await turns(lambda: len(producer.sent) == 2)
    assert (journal.acknowledged, journal.notes) == ([], [])
    producer.confirm()
    assert await alone
    assert (journal.acknowledged, journal.notes, log.written) == ([4], [(4, "tried")], [[2, 3]])
    producer.confirms_at_once = True
    assert not await delivery.deliver_alone(journal.outputs(6, generation=2), ""), "another owner has the partition"


# Exactly once.


def exactly_once(
    journal: Journal, *producers: ScriptedProducer, transaction_s: float = 0.0, log: OffsetsOnly | None = None
) -> ExactlyOnce:
    """Lanes get these producers in turn."""
    waiting = list(producers)

    def new_producer(transactional_id: str) -> Any:
        assert transactional_id == "flights.score-events-3"
        return waiting.pop(0)

    return ExactlyOnce(
        group="flights.score",
        new_producer=new_producer,
        transaction_s=transaction_s,
        fatal=journal.fatal.append,
        log=log,
    )


async def test_rows_of_the_log_are_written_at_the_end_of_their_transaction(
    producer: ScriptedProducer, journal: Journal, log: OffsetsOnly
) -> None:
    delivery = exactly_once(journal, producer, transaction_s=60, log=log)
    await delivery.open({EVENTS}, generation=1)
    for end in (2, 4):
        await delivery.deliver(journal.outputs(end, scored=[end - 2, end - 1]))
    await turns()
    offset = "offset events-3=2 of flights.score"  # another one will replace it
    assert sorted(producer.did) == sorted(["start", "begin", "send predictions", offset, "send predictions"])
    await delivery.close()
    assert journal.acknowledged == [], "the transaction was not committed"

    delivery = exactly_once(journal, producer, log=log)
    await delivery.open({EVENTS}, generation=1)
    await delivery.deliver(journal.outputs(4, scored=[0, 1, 2, 3]))
    await turns(lambda: journal.acknowledged)
    await delivery.close()
    assert producer.did[-4:] == ["offset events-3=4 of flights.score", "send scored", "commit", "stop"]
    assert log.written == [[0, 1, 2, 3]]


async def test_the_log_and_the_offsets_join_a_transaction_at_its_beginning(
    producer: ScriptedProducer, journal: Journal, log: OffsetsOnly
) -> None:
    """At its end nobody should wait for Kafka's answer to that."""
    producer.confirms_at_once = False
    delivery = exactly_once(journal, producer, transaction_s=60, log=log)
    await delivery.open({EVENTS}, generation=1)
    await delivery.deliver(journal.outputs(2, scored=[0, 1]))
    await turns()
    assert producer.add_partitions() == ["scored-3"]
    assert producer.did == ["start", "begin", "send predictions"], "Kafka is asked one thing at a time"
    producer.confirm()
    await turns()
    assert producer.did[3:] == ["offset events-3=2 of flights.score"]
    await delivery.close()


async def test_the_last_offset_does_not_wait_for_the_log(
    producer: ScriptedProducer, journal: Journal, log: OffsetsOnly
) -> None:
    """And the commit waits for both."""
    delivery = exactly_once(journal, producer, transaction_s=0.05, log=log)
    await delivery.open({EVENTS}, generation=1)
    await delivery.deliver(journal.outputs(2, scored=[0, 1]))
    await turns(lambda: "offset events-3=2 of flights.score" in producer.did)
    await delivery.deliver(journal.outputs(4, scored=[2, 3]))
    await turns(lambda: len(producer.sent) == 2)
    producer.confirms_at_once = False
    await until(lambda: "offset events-3=4 of flights.score" in producer.did, "the transaction ends", timeout_s=10)
    await turns()
    assert producer.did[-2:] == ["send scored", "offset events-3=4 of flights.score"]
    producer.confirm()
    await turns(lambda: journal.acknowledged)
    assert producer.did[-1] == "commit"
    assert journal.acknowledged == [2, 4]
    await delivery.close()


async def test_transactions_are_short_where_commits_are_quick(producer: ScriptedProducer, journal: Journal) -> None:
    delivery = exactly_once(journal, producer, transaction_s=60)
    await delivery.open({EVENTS}, generation=1)
    await delivery.deliver(journal.outputs(10))
    assert await delivery.deliver_alone(journal.outputs(20), "ends the first one, as a minute would")
    await delivery.deliver(journal.outputs(30))
    await until(lambda: 30 in journal.acknowledged, "a second one ends soon", timeout_s=10)
    await delivery.close()


async def test_outputs_and_offset_go_into_one_transaction_before_the_acknowledgement(
    producer: ScriptedProducer, journal: Journal
) -> None:
    delivery = exactly_once(journal, producer)
    await delivery.open({EVENTS}, generation=1)
    await delivery.deliver(journal.outputs(10, topics=("predictions", "dead-letters")))
    await turns(lambda: journal.acknowledged)
    await delivery.close()
    assert producer.did == [
        "start", "begin", "send predictions", "send dead-letters", "offset events-3=10 of flights.score", "commit",
        "stop",
    ]  # fmt: skip
    assert journal.acknowledged == [10]


async def test_what_waits_goes_into_one_transaction_that_ends_with_the_last_offset(
    producer: ScriptedProducer, journal: Journal
) -> None:
    delivery = exactly_once(journal, producer, transaction_s=0.05)
    await delivery.open({EVENTS}, generation=1)
    for next_offset in (10, 20, 30):
        await delivery.deliver(journal.outputs(next_offset))
    await until(lambda: journal.acknowledged, "the transaction is committed", timeout_s=10)
    await delivery.close()
    assert producer.did.count("commit") == 1
    assert "offset events-3=30 of flights.score" in producer.did
    assert journal.acknowledged == [10, 20, 30]


async def test_a_fenced_lane_is_fatal_and_acknowledges_nothing(producer: ScriptedProducer, journal: Journal) -> None:
    delivery = exactly_once(journal, producer)
    await delivery.open({EVENTS}, generation=1)
    await delivery.deliver(journal.outputs(10))
    producer.refuses = fenced = ProducerFenced()
    await turns(lambda: journal.fatal)
    await delivery.close()
    assert (journal.fatal, journal.acknowledged) == ([fenced], [])


async def test_a_lane_that_was_fenced_while_it_waited_says_so(producer: ScriptedProducer, journal: Journal) -> None:
    """aiokafka hears of it by itself; to whoever writes next it only says that this is no time to."""
    delivery = exactly_once(journal, producer, transaction_s=60)
    await delivery.open({EVENTS}, generation=1)
    await delivery.deliver(journal.outputs(10))
    await turns(lambda: producer.sent)
    fenced = ProducerFenced()
    producer._txn_manager.fatal_error(fenced)
    producer.refuses = IllegalOperation("Can't send messages while not in transaction")
    await delivery.deliver(journal.outputs(20))
    await turns(lambda: journal.fatal)
    await delivery.close()
    assert (journal.fatal, journal.acknowledged) == ([fenced], [])


async def test_a_lane_that_cannot_be_started_is_fatal(producer: ScriptedProducer, journal: Journal) -> None:
    """aiokafka would only log it; the partition would then be read and nothing of it delivered."""
    producer.refuses = error = KafkaError("no coordinator")
    await exactly_once(journal, producer).open({EVENTS}, generation=1)
    assert journal.fatal == [error]


@pytest.mark.parametrize("generation", [1, 3])
async def test_outputs_of_another_generation_are_dropped(
    producer: ScriptedProducer, journal: Journal, generation: int
) -> None:
    delivery = exactly_once(journal, producer)
    await delivery.open({EVENTS}, generation=2)
    await delivery.deliver(journal.outputs(10, generation=generation))
    await turns()
    await delivery.close()
    assert producer.did == ["start", "stop"]
    assert journal.acknowledged == [10], "the transport may forget it: its new owner fetches it again"


async def test_a_lane_is_started_anew_for_every_assignment(journal: Journal) -> None:
    first, second = ScriptedProducer(), ScriptedProducer()
    delivery = exactly_once(journal, first, second)
    await delivery.open({EVENTS}, generation=1)
    await delivery.open({EVENTS}, generation=2)
    assert (first.did, second.did) == (["start", "stop"], ["start"])
    await delivery.deliver(journal.outputs(10, generation=2))
    await turns(lambda: journal.acknowledged)
    await delivery.close()
    assert first.sent == []
    assert len(second.sent) == 1


async def test_closing_lanes_ends_the_wait_of_whoever_delivers(producer: ScriptedProducer, journal: Journal) -> None:
    """A rebalance while Kafka is slow: the stage that delivers must not wait for ever for a lane that is gone."""
    producer.confirms_at_once = False
    delivery = exactly_once(journal, producer)
    await delivery.open({EVENTS}, generation=1)

    async def deliver_all() -> None:
        for number in range(IN_FLIGHT + 2):  # one in the transaction, a full queue, and one that waits
            await delivery.deliver(journal.outputs(number))

    delivering = asyncio.create_task(deliver_all())
    await turns()
    assert not delivering.done()
    await delivery.close()
    async with asyncio.timeout(5):
        await delivering
    await turns()
    assert [what for what in producer.did if what == "commit"] == []


async def test_outputs_alone_have_a_transaction_of_their_own_with_their_note(
    producer: ScriptedProducer, journal: Journal, log: OffsetsOnly
) -> None:
    delivery = exactly_once(journal, producer, transaction_s=60, log=log)
    await delivery.open({EVENTS}, generation=1)
    await delivery.deliver(journal.outputs(2, scored=[0, 1]))
    assert await delivery.deliver_alone(journal.outputs(4, scored=[2, 3]), "tried")
    assert producer.did == [
        *("start", "begin", "send predictions", "offset events-3=2 of flights.score", "send scored", "commit"),
        *("begin", "send predictions", "send scored", "offset events-3=(4, 'tried') of flights.score", "commit"),
    ]
    assert journal.acknowledged == [2, 4]
    await delivery.close()


async def test_who_waits_for_outputs_alone_is_told_that_the_partition_was_taken_away(
    producer: ScriptedProducer, journal: Journal
) -> None:
    delivery = exactly_once(journal, producer)
    await delivery.open({EVENTS}, generation=1)
    producer.confirms_at_once = False
    alone = asyncio.create_task(delivery.deliver_alone(journal.outputs(4), "tried"))
    await turns(lambda: producer.sent)
    await delivery.close()
    assert not await alone
    assert not await delivery.deliver_alone(journal.outputs(4), "tried"), "there is no lane"
    assert journal.acknowledged == []
