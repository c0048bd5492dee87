"""How fast events go."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """How many events may have gone after a time, and when the next one may go.

    >>> pace = Pace(rate=100.0)
    >>> pace.allowed(0.0), pace.allowed(0.025), pace.due_s(3)
    (1, 3, 0.03)
    """

    rate: float

    def allowed(self, elapsed_s: float) -> int:
        """Events that may have gone by `elapsed_s` seconds: the first at once, then one every 1 / rate seconds."""
        count = int(elapsed_s * self.rate) + 1
        while self.due_s(count) <= elapsed_s:  # rounding must not make the next one late
            count += 1
        return count

    def due_s(self, sent: int) -> float:
        """When event number `sent` (from 0) may go, in seconds from the start."""
        return sent / self.rate
