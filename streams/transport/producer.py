"""Producers for whole batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import aiokafka
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError
from faust.transport.drivers import aiokafka as driver

if TYPE_CHECKING:
    from penstock.streams.transport.app import BlockApp

PRODUCER_BATCH_BYTES = 900_000
"""Holds a block's predictions and stays below Kafka's default limit; aiokafka's 16 KiB would cut them to pieces."""

PRODUCER_REQUEST_BYTES = 32 * 1024 * 1024
"""No limit of our own: sizes are bounded where records are made, and by the broker."""


class BlockProducer(driver.Producer):
    """Faust's producer: idempotent, acknowledged by all in-sync replicas, with batches that hold a block."""

    app: BlockApp

    def _new_producer(self, transactional_id: str | None = None) -> aiokafka.AIOKafkaProducer:
        return new_producer(self.app.blocks.kafka, client_id=self.client_id, transactional_id=transactional_id)


def new_producer(
    kafka: Mapping[str, Any], *, client_id: str, transactional_id: str | None = None, linger_ms: int = 0
) -> aiokafka.AIOKafkaProducer:
    """A producer for whole batches; with `transactional_id` its batches go out in transactions."""
    producer = aiokafka.AIOKafkaProducer(
        **kafka,
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        linger_ms=linger_ms,
        max_batch_size=PRODUCER_BATCH_BYTES,
        max_request_size=PRODUCER_REQUEST_BYTES,
        transactional_id=transactional_id,
    )
    look_up = producer.client.coordinator_lookup

    async def look_up_again(kind: Any, key: str) -> Any:
        """A connection that breaks while it is asked would end aiokafka's sender; one that is not ready does not."""
        try:
            return await look_up(kind, key)
        except KafkaConnectionError as error:
            raise NodeNotReadyError(str(error)) from error

    producer.client.coordinator_lookup = look_up_again
    return producer
