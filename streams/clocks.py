"""Time for workers whose wall clock may jump: a day ahead, an hour back, and again.

What is measured on one machine (pauses, back-offs, time limits) uses its monotonic clock. What travels is dated by the
brokers, who stamp every record of Penstock's topics when they append it. What is left is how old a record is: that
compares a broker's or a producer's time with this machine's, and `SteadyClock` answers it through a jump.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from mode import Service

from penstock.monitoring.metrics.clock import ClockMetrics, Direction

log = logging.getLogger("penstock.clock")

EVERY_S = 1.0
JUMP_S = 0.5
"""Less is how clocks are set right all the time."""


def steady_ms() -> int:
    """Milliseconds since some moment, of a clock that never jumps."""
    return time.monotonic_ns() // 1_000_000


class SteadyClock:
    """Says how old records are, by two clocks: the wall clock `wall`, and Unix time as `steady` has counted it since
    the start. They differ by the jumps since then, and nobody can say which one is right: the wall clock was set wrong,
    or it was wrong at the start and has been set right. So the smaller age is taken, as a record is mostly new; a real
    backlog is old by both.

    wall    Unix s
    steady  s, monotonic

    >>> wall, steady = [1000.0], [0.0]
    >>> clock = SteadyClock(lambda: wall[0], lambda: steady[0])
    >>> wall[0], steady[0] = 87_402.0, 2.0  # two seconds later it is a day ahead
    >>> clock.age_s(1_001_500), clock.jumped_s()
    (0.5, 86400.0)
    >>> clock.jumped_s()
    0.0
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._steady = wall, steady
        self._began = self._known = wall() - steady()

    def age_s(self, timestamp: int) -> float:
        """Of a record that a broker or a producer dated so, Unix ms; 0 for one from the future."""
        ages = self._wall() - timestamp / 1000, self._began + self._steady() - timestamp / 1000
        return max(min(ages, key=abs), 0.0)

    def age_ms(self, timestamp: int) -> int:
        """The same in ms."""
        return round(self.age_s(timestamp) * 1000)

    def jumped_s(self) -> float:
        """How far the wall clock has jumped since this was asked last: ahead, or back where it is negative."""
        difference = self._wall() - self._steady()
        jumped, self._known = difference - self._known, difference
        return jumped if abs(jumped) >= JUMP_S else 0.0


class ClockWatch(Service):
    """Says when the wall clock jumps, in the log and in `metrics`."""

    def __init__(self, metrics: ClockMetrics, clock: SteadyClock) -> None:
        super().__init__()
        self._metrics, self._clock = metrics, clock

    def look(self) -> None:
        """Has it jumped since the last look?"""
        if jumped_s := self._clock.jumped_s():
            direction: Direction = "ahead" if jumped_s > 0 else "back"
            log.warning(
                "The clock of this machine jumped %s by %.1f s; nothing waits for it, and the brokers date what is "
                "written",
                direction,
                abs(jumped_s),
            )
            self._metrics.count_jump(direction)

    @Service.task
    async def _watch(self) -> None:
        while not self.should_stop:
            await self.sleep(EVERY_S)
            self.look()
