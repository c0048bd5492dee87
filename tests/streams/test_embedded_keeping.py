"""Brokers that end by themselves are started again, the later the more often they did."""

from __future__ import annotations

import asyncio
import logging

import pytest

from penstock.streams.back_off import BackOff
from penstock.streams.embedded.keeping import keep_running


class DiskIsFull:
    """Its one broker ends at each start, until there is space."""

    def __init__(self, space_after: int) -> None:
        self.starts, self._space_after = 0, space_after
        self.has_space = asyncio.Event()

    def ended(self) -> dict[int, str]:
        return {} if self.has_space.is_set() else {0: "No space left on device"}

    def relaunch(self, broker: int) -> None:
        self.starts += 1
        if self.starts == self._space_after:
            self.has_space.set()


async def test_a_broker_whose_disk_is_full_is_started_again_until_there_is_space(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR, "penstock")
    broker = DiskIsFull(space_after=3)
    keeping = asyncio.create_task(keep_running(broker, back_off=BackOff(first_s=0.001), check_s=0.001))

    await asyncio.wait_for(broker.has_space.wait(), 10)
    keeping.cancel()

    assert caplog.messages == [
        f"Broker 0 of the embedded Kafka ended: No space left on device. Starting it again in {wait:g} s."
        for wait in (0.001, 0.002, 0.004)
    ]
