"""Embedded brokers that end by themselves, as when their disk is full, are started again."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from typing import Protocol

from penstock.streams.back_off import PATIENT, BackOff

log = logging.getLogger("penstock")

CHECK_S = 1.0


class Brokers(Protocol):
    """Those of an `EmbeddedKafka`."""

    def ended(self) -> dict[int, str]:
        """Brokers that ended by themselves, and why."""
        ...

    def relaunch(self, broker: int) -> None:
        """Start one of them again."""
        ...


async def keep_running(brokers: Brokers, *, back_off: BackOff = PATIENT, check_s: float = CHECK_S) -> None:
    """Start again what ended, after a while that doubles with each failure, until this is cancelled."""
    failures: Counter[int] = Counter()
    started: dict[int, float] = {}
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(check_s)
        for broker, why in brokers.ended().items():
            failures[broker] = back_off.failures(failures[broker], loop.time() - started.get(broker, -math.inf))
            delay_s = back_off.delay_s(failures[broker])
            log.error("Broker %d of the embedded Kafka ended: %s. Starting it again in %g s.", broker, why, delay_s)
            await asyncio.sleep(delay_s)
            await asyncio.to_thread(brokers.relaunch, broker)
            started[broker] = loop.time()
