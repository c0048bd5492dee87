"""A running worker's view of the control record."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

from penstock.schemas.control import Control
from penstock.schemas.signing import ANYBODY, TrustedKeys
from penstock.streams import kafka as clients
from penstock.streams.control.records import READING, UnreadableControl, read_control_record, silent
from penstock.streams.reading import to_the_end

if TYPE_CHECKING:
    from penstock.streams.settings import KafkaSettings, Settings

log = logging.getLogger(__name__)


class ControlFollower:
    """The present state, then every change in order.

        follower = ControlFollower.of(settings)
        await follower.start()          # .current is what serves now (None: nothing decided yet)
        async for control in follower:  # ends with stop()
            ...

    One plain consumer in no group: the state is everybody's. A broker that goes away is waited for, with the last state
    kept. A record that cannot be read, or that no trusted key signed, is logged in one sentence and changes nothing; so
    is a revision that is not above the present one (a log that was read again, or made anew under a running worker).
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        pipeline: str,
        topic: str,
        *,
        trusted: TrustedKeys = ANYBODY,
        deadline_s: float = 30.0,
    ) -> None:
        self._kafka, self._pipeline, self._topic, self._trusted = kafka, pipeline, topic, trusted
        self._deadline_s = deadline_s
        self._clients = AsyncExitStack()
        self._consumer: AIOKafkaConsumer | None = None
        self._fetched: deque[ConsumerRecord] = deque()
        """Read and not applied yet: whoever iterates next goes on with it."""
        self.current: Control | None = None

    @classmethod
    def of(cls, settings: Settings) -> ControlFollower:
        topic = settings.topics.control.name
        return cls(settings.kafka, settings.pipeline.name, topic, trusted=settings.control_keys)

    async def start(self) -> None:
        """Read the topic to its end. Raises UnreachableError, TopicMissing."""
        async with AsyncExitStack() as stack:
            consumer = await stack.enter_async_context(clients.consumer(self._kafka, **READING))
            [partition, *_] = await clients.partitions(consumer, self._topic)
            consumer.assign([partition])
            try:
                async for records in to_the_end(consumer, [partition], deadline_s=self._deadline_s):
                    for record in records:
                        self._apply(record)
            except TimeoutError as error:
                raise silent(self._kafka, self._deadline_s) from error
            self._clients, self._consumer = stack.pop_all(), consumer

    async def __aiter__(self) -> AsyncIterator[Control]:
        while (consumer := self._consumer) is not None:
            while self._fetched:
                if (control := self._apply(self._fetched.popleft())) is not None:
                    yield control
            try:
                batches = await consumer.getmany(timeout_ms=1_000)
            except KafkaError as error:
                if self._consumer is None:
                    return
                reason = str(clients.sentence(error, self._kafka) or error).rstrip(".")
                log.warning("Following %s: %s. The last state stays; trying again.", self._topic, reason)
                await asyncio.sleep(1.0)
                continue
            for records in batches.values():
                self._fetched.extend(records)

    async def stop(self) -> None:
        """Stop following; what iterates ends. The last state stays in `.current`."""
        self._consumer = None
        self._fetched.clear()
        await self._clients.aclose()

    def _apply(self, record: ConsumerRecord) -> Control | None:
        """The new state, where the record brings one."""
        try:
            control = read_control_record(record, self._pipeline, self._trusted)
        except UnreadableControl as error:
            log.error("%s The state before it stays.", error)
            return None
        if control is None:
            return None
        if self.current is not None and control.revision <= self.current.revision:
            log.warning(
                "Record %d of %s holds revision %d; revision %d serves already. If the topic was made anew, restart "
                "this worker.",
                record.offset, self._topic, control.revision, self.current.revision,
            )  # fmt: skip
            return None
        self.current = control
        return control
