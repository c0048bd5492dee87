"""Whether the brokers answer and the role's topics are as they must be, asked all the time.

Kafka's clients wait for brokers and topics without end, and do not say for what. So a client of its own asks every two
seconds, and what it learns is said: a line in the log when something is lost and one when it is back, metrics, and a
reason why the worker is not ready. Brokers that are lost are waited for. A topic that is gone ends the process: what
was read of it, and the offsets that were committed for it, mean nothing in one that is made anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from faust.types import TP
from mode import Service

from penstock.monitoring.metrics.brokers import BrokerMetrics
from penstock.schemas.errors import PenstockError
from penstock.schemas.topics import Topic
from penstock.streams.kafka import START_DEADLINE_S, TopicMissing, client_options, translated
from penstock.streams.log_filters import ConnectionTrouble, connection_trouble
from penstock.streams.topics import TooFewPartitions, used_by

if TYPE_CHECKING:
    from penstock.streams.settings import KafkaSettings, Settings
    from penstock.streams.settings.sections import Role

log = logging.getLogger("penstock.kafka")

EVERY_S = 2.0
ANSWER_S = 6.0
"""How long one question may take; one that fails once is asked again before anybody hears of it."""
GONE_S = 6.0
"""A topic is missing when it was for so long: brokers that come back answer before they know their topics."""


class Answer(NamedTuple):
    """What the brokers say: addresses of those that live, and how many partitions each topic has (0: it is missing).

    A topic that we may not know of is left out.
    """

    brokers: frozenset[str]
    partitions: Mapping[str, int]


def end(error: PenstockError) -> NoReturn:
    """End the process at once, with a sentence: nothing in flight can be finished."""
    log.critical("%s", error)
    sys.stderr.flush()
    os._exit(error.exit_code)


@dataclass
class Health:
    """What is to be said of a run of answers: in words once, and in numbers all the time.

    source     the topic that the role reads; its partitions from `room` on wait for their outputs' topics
    outputs    those that must have as many partitions
    others     those that must be there
    """

    address: str
    source: str
    outputs: Sequence[str]
    others: Sequence[str]
    metrics: BrokerMetrics
    partitions: int = 0
    """So many the source had when it was asked last."""
    room: int | None = None
    """So many partitions of the source have a place for their outputs; None: all."""
    reason: str | None = None
    """Why the worker is not ready."""
    _known: frozenset[str] = frozenset()
    _gone: frozenset[str] = frozenset()
    _fewer_since: float = 0.0
    _failed_since: float | None = None
    _heard: float | None = None
    _lost: bool = False
    _missing_since: dict[str, float] = field(default_factory=dict)

    @property
    def is_lost(self) -> bool:
        """Whether nobody answers."""
        return self._lost

    def unanswered(self, now: float) -> None:
        """Nobody answered. Once is nothing."""
        if self._failed_since is None:
            self._failed_since = self._heard = now
            return
        if not self._lost:
            self._lost = True
            if self._known:
                self.reason = f"Kafka at {self.address} is lost: no broker answers"
                log.error("%s. Waiting for it; what is in flight stays there.", self.reason)
            else:
                self.reason = f"Kafka at {self.address} does not answer yet"
                log.error("%s. A worker that starts gives up after %g s.", self.reason, START_DEADLINE_S)
        self.metrics.lost_for(now - (self._heard or now))
        self._heard = now

    def answered(self, answer: Answer, now: float) -> None:
        """Raises TopicMissing when one of the topics is gone for good."""
        if self._lost and self._failed_since is not None:
            told = "is back" if self._known else "answers"
            log.info("Kafka at %s %s after %.0f s", self.address, told, now - self._failed_since)
        self._failed_since, self._lost = None, False
        self.reason = None
        self.metrics.up.set(1)
        self._count(answer.brokers, now)
        for topic in (self.source, *self.outputs, *self.others):
            if answer.partitions.get(topic, 1):
                self._missing_since.pop(topic, None)
            elif now - self._missing_since.setdefault(topic, now) >= GONE_S:
                raise TopicMissing(topic)
        if all(answer.partitions.get(topic) for topic in (self.source, *self.outputs)):
            self._make_room(answer.partitions)

    def _count(self, brokers: frozenset[str], now: float) -> None:
        self._known |= brokers
        before, self._gone = self._gone, self._known - brokers
        self.metrics.count.set(len(brokers))
        if not before:
            self._fewer_since = now
        if self._gone - before:
            names, all_ = ", ".join(sorted(self._gone)), len(self._known)
            log.warning("%d of %d brokers of Kafka are gone: %s. The others go on.", len(self._gone), all_, names)
        elif before and not self._gone:
            log.info("All %d brokers of Kafka are there again after %.0f s", len(brokers), now - self._fewer_since)

    def _make_room(self, partitions: Mapping[str, int]) -> None:
        expected = self.partitions = partitions[self.source]
        narrowest = min(self.outputs, key=partitions.__getitem__, default=self.source)
        found, before = partitions[narrowest], self.room
        self.room = found if found < expected else None
        self.metrics.held.set(0 if self.room is None else expected - self.room)
        if self.room is not None:
            error = TooFewPartitions(narrowest, found, self.source, expected)
            self.reason = f"{error} Until then the partitions from {found} on wait."
            if before != self.room:
                log.error("%s", self.reason)
        elif before is not None:
            log.info("All %d partitions of %s have a place for their outputs now", expected, self.source)


class Brokers(Service):
    """Asks the brokers for a role, until it stops. `trouble` is told when aiokafka need not complain as well."""

    def __init__(
        self,
        kafka: KafkaSettings,
        health: Health,
        *,
        trouble: ConnectionTrouble | None = None,
        end: Callable[[PenstockError], None] = end,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._kafka, self._health, self._end, self._clock = kafka, health, end, clock
        self._trouble = trouble
        self._client: AIOKafkaClient | None = None

    @classmethod
    def of(cls, settings: Settings, role: Role, metrics: BrokerMetrics) -> Brokers:
        source, *others = used_by(settings, role)
        health = Health(
            settings.kafka.address,
            source.name,
            [topic.name for topic in others if _follows(topic, source)],
            [topic.name for topic in others if not _follows(topic, source)],
            metrics,
        )
        return cls(settings.kafka, health, trouble=connection_trouble)

    def or_else(self, not_ready: Callable[[], str | None]) -> Callable[[], str | None]:
        """Why the worker is not ready: for the brokers' sake, or else for a reason of its role."""
        return lambda: self._health.reason or not_ready()

    def has_room(self, partition: int) -> bool:
        """Whether the outputs of an input partition have a place to go to."""
        return self._health.room is None or partition < self._health.room

    async def know_of(self, assigned: Iterable[TP]) -> None:
        """Ask again where the source has more partitions than when it was asked last."""
        if any(tp.partition >= self._health.partitions for tp in assigned):
            await self.ask()

    @Service.task
    async def _keep_asking(self) -> None:
        while not self.should_stop:
            await self.ask()
            await self.sleep(EVERY_S)

    async def ask(self) -> None:
        """Ask once, and say what is new."""
        try:
            answer = await self._answer()
        except (KafkaError, PenstockError, TimeoutError, OSError):
            self._health.unanswered(self._clock())
        else:
            try:
                self._health.answered(answer, self._clock())
            except TopicMissing as error:
                self._end(error)
        if self._trouble is not None:
            self._trouble.known = self._health.is_lost

    async def _answer(self) -> Answer:
        health = self._health
        async with asyncio.timeout(ANSWER_S):
            if self._client is None:
                client = AIOKafkaClient(**client_options(self._kafka), request_timeout_ms=int(ANSWER_S * 1000))
                client.set_topics([health.source, *health.outputs, *health.others])
                await client.bootstrap()
                self._client = client
            with translated(self._kafka):
                if not await self._client.force_metadata_update():
                    raise TimeoutError
        cluster = self._client.cluster
        return Answer(
            frozenset(f"{broker.host}:{broker.port}" for broker in cluster.brokers()),
            {
                topic: len(cluster.partitions_for_topic(topic) or ())
                for topic in (health.source, *health.outputs, *health.others)
                if topic not in cluster.unauthorized_topics
            },
        )

    async def on_stop(self) -> None:
        if self._client is not None:
            await self._client.close()


def _follows(topic: Topic, source: Topic) -> bool:
    return topic.partitions is None and source.partitions is None
