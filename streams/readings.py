"""Publishes what a worker says about itself, every few seconds, for the judge: on the topic that it reads anyway."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable

from aiokafka.errors import KafkaError
from mode import Service

from penstock.schemas.errors import PenstockError
from penstock.schemas.operations import OperationalReading, encode_reading
from penstock.streams import kafka as clients
from penstock.streams.settings import Settings

log = logging.getLogger("penstock.readings")

EVERY_S = 10.0
PARTITION = 0
"""The summaries topic has one."""


def worker_name() -> str:
    """Tells the workers of a role apart."""
    return f"{socket.gethostname()}:{os.getpid()}"


def now_ms() -> int:
    """Unix ms."""
    return time.time_ns() // 1_000_000


class Readings(Service):
    """Asks for a reading every few seconds and sends it. What cannot be sent is a line in the log, never a failure."""

    def __init__(self, settings: Settings, read: Callable[[], OperationalReading | None]) -> None:
        super().__init__()
        self._settings, self._read = settings, read
        self._heard = True

    @Service.task
    async def _publish(self) -> None:
        while not self.should_stop:
            try:
                await self._publish_until_it_fails()
            except (PenstockError, KafkaError, TimeoutError) as error:
                reason = str(error) or "no answer in time."
                if self._heard:
                    log.warning("The judge does not hear of this worker: %s Trying again every minute.", reason)
                self._heard = False
                await self.sleep(60.0)

    async def _publish_until_it_fails(self) -> None:
        topic = self._settings.topics.summaries.name
        async with clients.consumer(self._settings.kafka) as consumer:
            await clients.partitions(consumer, topic)  # or the producer would wait for a topic that nobody made
        async with clients.producer(self._settings.kafka) as producer:
            while not self.should_stop:
                await self.sleep(EVERY_S)
                if (reading := self._read()) is not None and not self.should_stop:
                    value, headers = encode_reading(reading)
                    async with asyncio.timeout(EVERY_S):
                        await producer.send_and_wait(topic, value, partition=PARTITION, headers=headers)
                    self._heard = True
