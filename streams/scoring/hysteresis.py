"""A switch that does not flutter."""

from __future__ import annotations

import time
from collections.abc import Callable


class Hysteresis:
    """On when a value has stayed above `above` for `on_s`, until it has stayed below `below` for `off_s`.

    >>> now = iter([0.0, 0.5, 1.0, 2.0, 2.5, 3.5])
    >>> slow = Hysteresis(above=1_000, below=200, on_s=1.0, off_s=1.0, clock=lambda: next(now))
    >>> [slow.observe(delay_ms) for delay_ms in (1_500, 1_500, 1_500, 500, 100, 100)]
    [False, False, True, True, True, False]
    """

    def __init__(
        self, *, above: float, below: float, on_s: float, off_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._above, self._below, self._on_s, self._off_s, self._clock = above, below, on_s, off_s, clock
        self.on = False
        self._since: float | None = None
        """When the value crossed the line that would turn the switch; None: it stands on this side of it."""

    def observe(self, value: float) -> bool:
        """Whether the switch is on, now that this value was seen."""
        now = self._clock()
        if not (value < self._below if self.on else value > self._above):
            self._since = None
        else:
            if self._since is None:
                self._since = now
            if now - self._since >= (self._off_s if self.on else self._on_s):
                self.on, self._since = not self.on, None
        return self.on

    def reset(self) -> None:
        """Off, whatever was seen."""
        self.on, self._since = False, None
