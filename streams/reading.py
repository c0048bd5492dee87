"""Reading partitions as they stand now: to their ends, committed records only, without a group.

"The end" is judged by position against end offset, never by counting records: offsets have holes where transaction
markers and aborted or compacted records stand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from penstock.schemas.errors import UnreachableError
from penstock.streams.kafka import TopicMissing

CLOSE_DEADLINE_S = 10.0
"""No client takes longer to close: a broker that has gone must not hold up the end of a command."""


def unreachable(options: Mapping[str, Any], error: BaseException | str) -> UnreachableError:
    """The sentence for a broker that does not answer. Third-party errors are translated here and nowhere else."""
    servers = options.get("bootstrap_servers", "localhost")
    address = servers if isinstance(servers, str) else ",".join(servers)
    reason = error if isinstance(error, str) else (str(error) or type(error).__name__)
    return UnreachableError(
        "Kafka", address, reason.rstrip("."), fix="Start it, or correct kafka.servers; `penstock doctor` tells more."
    )


async def open_consumer(options: Mapping[str, Any], **settings: Any) -> AIOKafkaConsumer:
    """A started consumer of committed records, from the beginning unless told otherwise, in no group.

    Raises UnreachableError where no broker answers. Close it with `closed`.
    """
    consumer = AIOKafkaConsumer(
        **options,
        **{"isolation_level": "read_committed", "auto_offset_reset": "earliest", "fetch_max_wait_ms": 100, **settings},
    )
    try:
        await consumer.start()
    except (KafkaError, OSError) as error:
        await closed(consumer)
        raise unreachable(options, error) from error
    except BaseException:
        await closed(consumer)
        raise
    return consumer


@asynccontextmanager
async def opened(options: Mapping[str, Any], **settings: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """`open_consumer`, closed at the end of the block."""
    consumer = await open_consumer(options, **settings)
    try:
        yield consumer
    finally:
        await closed(consumer)


async def closed(client: Any) -> None:
    """Stop a consumer or producer, within CLOSE_DEADLINE_S."""
    try:
        async with asyncio.timeout(CLOSE_DEADLINE_S):
            await client.stop()
    except TimeoutError:
        return


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """The partitions of a topic, in order. Raises TopicMissing."""
    # aiokafka's own look-up of one topic would have the broker create it.
    try:
        cluster = await consumer._client.fetch_all_metadata()
    except KafkaError as error:
        raise unreachable({}, error) from error
    partitions = cluster.partitions_for_topic(topic)
    if not partitions:
        raise TopicMissing(topic)
    return [TopicPartition(topic, partition) for partition in sorted(partitions)]


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
