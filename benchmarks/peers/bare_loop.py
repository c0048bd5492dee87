"""The limit: aiokafka, msgspec and torch in one loop, without any framework, written as well as one can.

fetch → decode event by event → one matrix → one forward pass → encode → one record batch → confirmed → committed.
Batches are sent without waiting for their confirmation; offsets are committed only as far as everything is confirmed.
It does not handle a bad event, a rebalance, a swap of the model or a look-up: what a service needs beyond this is what
the difference to Penstock pays for.
"""

from __future__ import annotations

import asyncio
import gc
import time
import zlib
from collections import deque
from typing import Any

import numpy as np
import pyarrow as pa
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from workload import FEATURES, HEADERS, WINDOW, Scorer, Task, Window

COMMIT_INTERVAL_S = 0.25
UNCONFIRMED_WINDOWS = 16


class Loop:
    def __init__(self, task: Task, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
        self.task, self.consumer, self.producer = task, consumer, producer
        self.scorer = Scorer(task.weights)
        self.unconfirmed: deque[tuple[TopicPartition, int, list[asyncio.Future[Any]]]] = deque()
        self.confirmed: dict[TopicPartition, int] = {}

    async def run(self) -> None:
        committed_at = time.monotonic()
        while True:
            fetched = await self.consumer.getmany(max_records=WINDOW, timeout_ms=100)
            for partition, records in fetched.items():
                sent = await self.score(partition.partition, records)
                self.unconfirmed.append((partition, records[-1].offset + 1, sent))
            await self.confirm()
            if self.confirmed and time.monotonic() - committed_at > COMMIT_INTERVAL_S:
                await self.consumer.commit(self.confirmed)
                self.confirmed, committed_at = {}, time.monotonic()

    async def score(self, partition: int, records: list[Any]) -> list[asyncio.Future[Any]]:
        window = self.scorer.score([record.value for record in records])
        values = window.predictions(partition, [record.offset for record in records])
        sent = []
        batch = self.producer.create_batch()
        for record, value in zip(records, values, strict=True):
            if batch.append(key=record.key, value=value, timestamp=record.timestamp, headers=HEADERS) is None:
                sent.append(await self.send(batch, self.task.predictions, partition))
                batch = self.producer.create_batch()
                batch.append(key=record.key, value=value, timestamp=record.timestamp, headers=HEADERS)
        sent.append(await self.send(batch, self.task.predictions, partition))
        if self.task.log:
            batch = self.producer.create_batch()
            block = scored_block(records, window)
            headers = [("penstock-schema", b"scored/1"), ("crc32", b"%08x" % zlib.crc32(block))]
            batch.append(key=None, value=block, timestamp=records[-1].timestamp, headers=headers)
            sent.append(await self.send(batch, self.task.scored, partition))
        return sent

    async def send(self, batch: Any, topic: str, partition: int) -> asyncio.Future[Any]:
        batch.close()
        sent: asyncio.Future[Any] = await self.producer.send_batch(batch, topic, partition=partition)
        return sent

    async def confirm(self) -> None:
        """Take confirmed windows off the front; wait only while too many are under way."""
        await asyncio.sleep(0)
        while self.unconfirmed:
            partition, offset, sent = self.unconfirmed[0]
            if len(self.unconfirmed) < UNCONFIRMED_WINDOWS and not all(future.done() for future in sent):
                return
            await asyncio.gather(*sent)
            self.confirmed[partition] = offset
            self.unconfirmed.popleft()


def scored_block(records: list[Any], window: Window) -> bytes:
    """One Arrow stream with every feature, score and source of the window: what Penstock's scored log holds."""
    rows = len(records)
    same = pa.array(np.zeros(rows, np.int8))
    batch = pa.record_batch(
        {
            "id": pa.array([event.id for event in window.events], pa.utf8()),
            "key": pa.array([record.key for record in records], pa.binary()),
            "offset": pa.array(np.fromiter((record.offset for record in records), np.int64, rows)),
            "time": pa.array(np.fromiter((event.time for event in window.events), np.int64, rows)),
            "floats": pa.FixedSizeListArray.from_arrays(pa.array(window.matrix.ravel()), len(FEATURES)),
            "score": pa.array(window.scores),
            "variant": pa.DictionaryArray.from_arrays(same, ["champion"]),
            "model": pa.DictionaryArray.from_arrays(same, ["mlp@1"]),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


async def main() -> None:
    task = Task.of_this_process()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=task.servers,
        group_id=task.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=4 << 20,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=task.servers, acks="all", enable_idempotence=True, max_batch_size=1 << 19
    )
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)  # each record is an object: by default they are searched for cycles all the time
    async with producer, consumer:
        partitions = await producer.partitions_for(task.events)
        consumer.assign([TopicPartition(task.events, partition) for partition in sorted(partitions)])
        await Loop(task, consumer, producer).run()


if __name__ == "__main__":
    asyncio.run(main())
