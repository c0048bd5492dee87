"""Who hears of alerts beside the subscribers of the alert topic: the log, a webhook, a command.

Sinks are told after the transaction that wrote the alert has committed, so they never hear of an alert that is not on
the topic. A judge that dies in between tells them again, or not at all: receivers tell repeats by an alert's `id`,
`state` and `time`, and what must not be missed is read from the topic. What wakes nobody (suppressed or acknowledged)
goes to the log alone.

Telling never holds the judge up. Each sink has a queue of its own, in order, one alert at a time; where one cannot be
told, it is tried again after 1, 2, 4, … s, with jitter, and after five attempts given up, counted and logged in one
line. A full queue gives up its oldest alert: what is newer says more about now.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from penstock.monitoring.metrics.judge import Told
from penstock.schemas.alerts import Alert

if TYPE_CHECKING:
    from penstock.streams.settings import AlertsSettings

log = logging.getLogger("penstock.alerts")

QUEUE_LIMIT = 1000
CLOSE_DEADLINE_S = 5.0
"""How long a judge that stops waits for its sinks."""

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}


class NotTold(Exception):
    """A sink could not be told; `again` says whether another attempt may help."""

    def __init__(self, reason: str, *, again: bool) -> None:
        self.reason, self.again = reason, again
        super().__init__(reason)


class Sink(Protocol):
    """One way to tell somebody."""

    @property
    def name(self) -> str:
        """As metrics and log lines call it."""
        ...

    async def tell(self, alert: Alert) -> None:
        """One attempt, bounded in time. Raises NotTold."""
        ...

    async def close(self) -> None: ...


def log_alert(alert: Alert) -> None:
    """One line, at the level of the alert's severity; what wakes nobody at the level of information."""
    level = _LEVELS[alert.severity] if alert.wakes and alert.state != "cleared" else logging.INFO
    silent = f" (silent: {alert.suppressed})" if alert.suppressed else ""
    log.log(level, "%s, %s: %s%s [%s]", alert.state.capitalize(), alert.severity, alert.title, silent, alert.id)


def not_counted(sink: str, outcome: Told) -> None:
    """For who does not count."""


@dataclass(frozen=True)
class Retries:
    """How often a sink is tried, and the pauses in between: doubling up to a limit, with jitter.

    jitter   numbers in [0, 1): a pause is between half of itself and all of it
    sleep    waits so many seconds
    """

    attempts: int = 5
    pause_s: float = 1.0
    max_pause_s: float = 30.0
    jitter: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def wait(self, attempt: int) -> None:
        """The pause after attempt number `attempt`, counted from 1."""
        pause_s = min(self.max_pause_s, self.pause_s * 2.0 ** (attempt - 1))
        await self.sleep(pause_s * (0.5 + self.jitter() / 2))


class AlertSinks:
    """All sinks of a pipeline; `send` returns at once.

    sinks = AlertSinks.of(settings.alerts, count=metrics.count_told)
    await sinks.send(alert)
    await sinks.close()
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        logs: bool = True,
        count: Callable[[str, Told], None] = not_counted,
        retries: Retries | None = None,
        limit: int = QUEUE_LIMIT,
    ) -> None:
        self._logs = logs
        self._queues = [_Queue(sink, count, retries or Retries(), limit) for sink in sinks]

    @classmethod
    def of(cls, settings: AlertsSettings, *, count: Callable[[str, Told], None] = not_counted) -> AlertSinks:
        """The sinks of the table `[alerts]`; `count` hears how telling each of them ended."""
        from penstock.streams.sinks.command import Command
        from penstock.streams.sinks.webhook import Webhook

        sinks: list[Sink] = []
        if settings.webhook is not None:
            secret = settings.webhook_secret
            sinks.append(Webhook(settings.webhook, None if secret is None else secret.get_secret_value()))
        if settings.command:
            sinks.append(Command(settings.command))
        return cls(sinks, logs=settings.log, count=count)

    async def send(self, alert: Alert) -> None:
        """Have every sink told of this state of an alert."""
        if self._logs:
            log_alert(alert)
        if alert.wakes:
            for queue in self._queues:
                queue.put(alert)

    async def close(self, *, deadline_s: float = CLOSE_DEADLINE_S) -> None:
        """Tell what is left, for so long; what is left then is given up, counted and logged."""
        await asyncio.gather(*(queue.close(deadline_s) for queue in self._queues))


class _Queue:
    """One sink, what it has not been told yet, and the task that tells it."""

    def __init__(self, sink: Sink, count: Callable[[str, Told], None], retries: Retries, limit: int) -> None:
        self._sink, self._count, self._retries, self._limit = sink, count, retries, limit
        self._waiting: deque[Alert] = deque()
        self._in_hand: Alert | None = None
        self._telling: asyncio.Task[None] | None = None

    def put(self, alert: Alert) -> None:
        if len(self._waiting) >= self._limit:
            self._give_up(self._waiting.popleft(), "dropped", f"{self._limit} newer alerts wait for it")
        self._waiting.append(alert)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_all())

    async def close(self, deadline_s: float) -> None:
        if self._telling is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline_s):
                    await self._telling
        left = [*([] if self._in_hand is None else [self._in_hand]), *self._waiting]
        self._waiting.clear()
        for alert in left:
            self._give_up(alert, "dropped", "the judge stops")
        await self._sink.close()

    async def _tell_all(self) -> None:
        while self._waiting:
            self._in_hand = self._waiting.popleft()
            await self._tell(self._in_hand)
            self._in_hand = None

    async def _tell(self, alert: Alert) -> None:
        for attempt in range(1, self._retries.attempts + 1):
            try:
                await self._sink.tell(alert)
            except NotTold as error:
                if not error.again or attempt == self._retries.attempts:
                    self._give_up(alert, "failed", f"{error.reason}, at attempt {attempt}")
                    return
                await self._retries.wait(attempt)
            except Exception:
                log.exception("The %s failed in a way of its own", self._sink.name)
                self._give_up(alert, "failed", "see above")
                return
            else:
                self._count(self._sink.name, "told")
                return

    def _give_up(self, alert: Alert, outcome: Told, reason: str) -> None:
        self._count(self._sink.name, outcome)
        log.warning("The %s was not told that %s is %s: %s.", self._sink.name, alert.id, alert.state, reason)
