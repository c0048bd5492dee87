"""`penstock alerts`: what is wrong now, what was, and telling the judge that a person has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from penstock.schemas.alerts import Acknowledgement, Alert, UnreadableAlert, decode_alert, encode_acknowledgement
from penstock.schemas.errors import PenstockError
from penstock.streams import kafka as clients
from penstock.streams.reading import records

if TYPE_CHECKING:
    from penstock.schemas.topics import Topics
    from penstock.streams.settings import KafkaSettings

_BY_SEVERITY = {"critical": 0, "warning": 1, "info": 2}


class NoSuchAlert(PenstockError):
    """No alert has this id, or one that begins with it.

    >>> print(NoSuchAlert("drift-77", "flights.alerts"))
    No alert in flights.alerts has an id that begins with drift-77. `penstock alerts list --all` shows what there is.
    """

    def __init__(self, id: str, topic: str) -> None:
        self.id, self.topic = id, topic
        super().__init__(
            f"No alert in {topic} has an id that begins with {id}. `penstock alerts list --all` shows what there is."
        )


class SeveralAlerts(PenstockError):
    """The beginning of an id does not say which.

    >>> print(SeveralAlerts("drift-7", ["drift-77aa", "drift-7b01"]))
    drift-7 may be drift-77aa or drift-7b01. Give more of the id.
    """

    exit_code = 2

    def __init__(self, id: str, candidates: Sequence[str]) -> None:
        self.id, self.candidates = id, tuple(candidates)
        super().__init__(f"{id} may be {' or '.join(candidates[:5])}. Give more of the id.")


class AlreadyCleared(PenstockError):
    """There is nothing to acknowledge any more.

    >>> print(AlreadyCleared("drift-5f0c2ab917"))
    drift-5f0c2ab917 has been cleared: there is nothing to acknowledge.
    """

    def __init__(self, id: str) -> None:
        self.id = id
        super().__init__(f"{id} has been cleared: there is nothing to acknowledge.")


@dataclass(frozen=True)
class Told:
    """One state of an alert as it stands on the topic; `timestamp` is the broker's, Unix ms."""

    timestamp: int
    alert: Alert


@dataclass(frozen=True)
class AlertLog:
    """The alert topic as read: every alert's states in order, and what could not be read."""

    topic: str
    lives: Mapping[str, list[Told]] = field(default_factory=dict)
    unreadable: Sequence[UnreadableAlert] = ()

    @property
    def latest(self) -> list[Alert]:
        """Every alert as it is now: the worst first, then the newest."""
        alerts = [life[-1].alert for life in self.lives.values()]
        return sorted(alerts, key=lambda alert: (_BY_SEVERITY[alert.severity], -alert.first_seen, alert.id))

    def find(self, id: str) -> list[Told]:
        """The states of one alert; the beginning of its id is enough. Raises NoSuchAlert, SeveralAlerts."""
        if id in self.lives:
            return self.lives[id]
        candidates = sorted(each for each in self.lives if each.startswith(id))
        if not candidates:
            raise NoSuchAlert(id, self.topic)
        if len(candidates) > 1:
            raise SeveralAlerts(id, candidates)
        return self.lives[candidates[0]]


async def read_alerts(kafka: KafkaSettings, topics: Topics) -> AlertLog:
    """All that the alert topic holds. Raises UnreachableError, TopicMissing."""
    lives: dict[str, list[Told]] = {}
    unreadable: list[UnreadableAlert] = []
    async for record in records(kafka, topics.alerts.name):
        try:
            told = Told(record.timestamp, alert_of(record))
        except UnreadableAlert as error:
            unreadable.append(error)
            continue
        lives.setdefault(told.alert.id, []).append(told)
    return AlertLog(topics.alerts.name, lives, unreadable)


def alert_of(record: ConsumerRecord) -> Alert:
    """Raises UnreadableAlert."""
    return decode_alert(record.value, record.headers, f"{record.topic}, offset {record.offset}")


async def acknowledge(
    kafka: KafkaSettings,
    topics: Topics,
    id: str,
    *,
    by: str,
    note: str | None = None,
    wait_s: float = 10.0,
    clock: Callable[[], float] = time.time,
) -> tuple[Alert, bool]:
    """Say that a person has an alert: the alert as it is then, and whether the judge has applied it yet.

    The acknowledgement goes to the judge's only input, the summaries topic, where it waits for a judge if none runs: so
    it is applied once, in order, and a restarted judge knows of it. What `by` and `note` say already is not said again.
    Raises NoSuchAlert, SeveralAlerts, AlreadyCleared, UnreachableError, TopicMissing.
    """
    life = (await read_alerts(kafka, topics)).find(id)
    alert = life[-1].alert
    if alert.state == "cleared":
        raise AlreadyCleared(alert.id)
    if _has(alert, by, note):
        return alert, True
    async with clients.consumer(kafka, fetch_max_wait_ms=100) as consumer:
        [partition, *_] = await clients.partitions(consumer, topics.alerts.name)
        [summaries, *_] = await clients.partitions(consumer, topics.summaries.name)
        consumer.assign([partition])
        consumer.seek(partition, (await clients.end_offsets(consumer, [partition]))[partition])
        await _write(kafka, summaries, Acknowledgement(alert.id, by, int(clock() * 1000), note))
        try:
            async with asyncio.timeout(wait_s):
                return await _applied(consumer, partition, alert.id, by, note), True
        except TimeoutError:
            return alert, False


async def _write(kafka: KafkaSettings, summaries: TopicPartition, acknowledgement: Acknowledgement) -> None:
    key, value, headers = encode_acknowledgement(acknowledgement)
    async with clients.producer(kafka) as producer:
        await producer.send_and_wait(
            summaries.topic, key=key, value=value, headers=headers, partition=summaries.partition
        )


async def _applied(consumer: AIOKafkaConsumer, partition: TopicPartition, id: str, by: str, note: str | None) -> Alert:
    """Waits for the judge's answer: the alert with our acknowledgement, or cleared meanwhile."""
    while True:
        for record in (await consumer.getmany(partition, timeout_ms=200)).get(partition, []):
            try:
                alert = alert_of(record)
            except UnreadableAlert:
                continue  # `list` tells of it
            if alert.id == id and (_has(alert, by, note) or alert.state == "cleared"):
                return alert


def _has(alert: Alert, by: str, note: str | None) -> bool:
    return alert.state == "acknowledged" and (alert.acknowledged_by, alert.note) == (by, note)
