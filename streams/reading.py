"""Reading partitions as they stand now, to their ends.

"The end" is judged by position against end offset, never by counting records: offsets have holes where transaction
markers and aborted or compacted records stand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from penstock.streams import kafka as clients

if TYPE_CHECKING:
    from penstock.streams.settings import KafkaSettings


async def to_the_end(
    consumer: AIOKafkaConsumer,
    partitions: Iterable[TopicPartition],
    *,
    deadline_s: float = 30.0,
    poll_ms: int = 100,
) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """Runs of records of one partition each, until every partition stands at least where it ended at the call.

    What was written meanwhile may come too, so that nothing is lost to a reader that goes on afterwards. The partitions
    are assigned already. `deadline_s` is the longest wait without progress; a TimeoutError follows.
    """
    async with asyncio.timeout(deadline_s):
        ends: dict[TopicPartition, int] = await consumer.end_offsets(list(partitions))
        unfinished = {tp: end for tp, end in ends.items() if await consumer.position(tp) < end}
    stalled_at = time.monotonic() + deadline_s
    while unfinished:
        batches = await consumer.getmany(*unfinished, timeout_ms=poll_ms)
        before = {tp: end for tp, end in unfinished.items() if await consumer.position(tp) < end}
        for records in batches.values():
            yield records
        if batches or len(before) < len(unfinished):
            stalled_at = time.monotonic() + deadline_s
        elif time.monotonic() > stalled_at:
            raise TimeoutError(f"no record came within {deadline_s:g} s")
        unfinished = before


async def until_visible(
    consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int], *, deadline_s: float = 5.0
) -> bool:
    """Wait until readers of committed records get to see what stands at `offsets`; False when that takes too long.

    Kafka answers a commit when it is decided, and writes the markers that readers wait for a little later.
    """
    give_up = time.monotonic() + deadline_s
    while True:
        ends = await clients.end_offsets(consumer, list(offsets))
        if all(ends[partition] > offset for partition, offset in offsets.items()):
            return True
        if time.monotonic() > give_up:
            return False
        await asyncio.sleep(0.01)


async def records(kafka: KafkaSettings, topic: str) -> AsyncIterator[ConsumerRecord]:
    """Every record in the topic at the call, each partition in order. Raises UnreachableError, TopicMissing."""
    async with clients.consumer(kafka, fetch_max_wait_ms=100) as consumer:
        partitions = await clients.partitions(consumer, topic)
        consumer.assign(partitions)
        ends = await clients.end_offsets(consumer, partitions)
        async for run in to_the_end(consumer, partitions):
            for record in run:
                if record.offset < ends[TopicPartition(topic, record.partition)]:
                    yield record


async def since(
    kafka: KafkaSettings, topic: str, first_ms: int | None, *, last: int | None = None
) -> AsyncIterator[tuple[ConsumerRecord, int, int]]:
    """The topic's records that were written at `first_ms` or later, or the last so many offsets; with each how many
    offsets are done, of how many.
    """
    async with clients.consumer(kafka, fetch_max_wait_ms=100) as consumer:
        partitions = await clients.partitions(consumer, topic)
        consumer.assign(partitions)
        begins: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
        ends = await clients.end_offsets(consumer, partitions)
        if first_ms is not None:
            offsets = await consumer.offsets_for_times(dict.fromkeys(partitions, max(first_ms, 0)))
            begins = {tp: ends[tp] if found is None else found.offset for tp, found in offsets.items()}
        if last is not None:
            begins = {tp: max(begins[tp], ends[tp] - last) for tp in partitions}
        for tp, offset in begins.items():
            consumer.seek(tp, offset)
        total = sum(ends[tp] - begins[tp] for tp in partitions)
        done = 0
        async for run in to_the_end(consumer, partitions):
            for record in run:
                tp = TopicPartition(topic, record.partition)
                if record.offset < ends[tp]:
                    done += 1
                    yield record, done, total


async def newest_records(
    kafka: KafkaSettings, topic: str, *, span: int = 4
) -> dict[TopicPartition, tuple[ConsumerRecord, int]]:
    """The last record of each partition, and the partition's end; one without a record is left out.

    The markers of transactions take offsets, too: what has no record among its last `span` offsets is read from
    further and further back. Raises UnreachableError, TopicMissing.
    """
    async with clients.consumer(kafka, fetch_max_wait_ms=100, max_partition_fetch_bytes=4 << 20) as consumer:
        partitions = await clients.partitions(consumer, topic)
        consumer.assign(partitions)
        ends = await clients.end_offsets(consumer, partitions)
        return {tp: (record, ends[tp]) for tp, record in (await last_before(consumer, ends, span=span)).items()}


async def last_before(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], *, span: int = 4
) -> dict[TopicPartition, ConsumerRecord]:
    """The last record of each partition before an offset; one without is left out. The consumer is assigned anew."""
    begins: dict[TopicPartition, int] = await consumer.beginning_offsets(list(ends))
    found: dict[TopicPartition, ConsumerRecord] = {}
    searched = {tp: end for tp, end in ends.items() if begins[tp] < end}
    while searched:
        searched = {tp: max(begins[tp], ends[tp] - span) for tp in searched}
        consumer.assign(list(searched))
        for tp, offset in searched.items():
            consumer.seek(tp, offset)
        async for run in to_the_end(consumer, searched):
            for record in run:
                tp = TopicPartition(record.topic, record.partition)
                if record.offset < ends[tp]:
                    found[tp] = record
        searched = {tp: offset for tp, offset in searched.items() if tp not in found and offset > begins[tp]}
        span *= 8
    return found
