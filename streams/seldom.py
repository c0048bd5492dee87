"""Few lines about many records: whoever sends a million bad ones must not fill the log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

EVERY_S = 60.0


class Seldom:
    """Says the first thing at once, and then at most one every `EVERY_S`, with how many were left unsaid before it.

    How many there were in all is for a metric to say.

    >>> at, said = iter([0.0, 1.0, 2.0, 61.0, 62.0]), []
    >>> seldom = Seldom(said.append, clock=lambda: next(at))
    >>> for number in range(5):
    ...     seldom.say(f"Record {number} cannot be read.")
    >>> said
    ['Record 0 cannot be read.', 'Record 3 cannot be read. (2 more like it before)']
    """

    def __init__(self, log: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._last = -math.inf
        self._unsaid = 0

    def say(self, sentence: str) -> None:
        now = self._clock()
        if now - self._last < EVERY_S:
            self._unsaid += 1
            return
        more = f" ({self._unsaid} more like it before)" if self._unsaid else ""
        self._last, self._unsaid = now, 0
        self._log(f"{sentence}{more}")
