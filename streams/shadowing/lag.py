"""How far a reader of the scored log is behind its end, in events and in time."""

from __future__ import annotations

from collections.abc import Callable

_MEMORY = 0.98
"""Weight of the past, record by record, in how many rows there are to an offset of the log."""


class Lag:
    """One partition's. Offsets of the log count records, and the markers of transactions among them: how many rows wait
    is estimated from how many there were to an offset before.

    >>> lag = Lag()
    >>> lag.took(0, 1_000)
    >>> lag.took(2, 1_500, rows=512)
    >>> lag.measure(10, waits=True, age_ms=lambda timestamp: 9_500 - timestamp)
    >>> lag.events, lag.behind_ms
    (2048.0, 8000)
    """

    def __init__(self) -> None:
        self._next: int | None = None
        self._newest = 0
        self._rows = self._offsets = 0.0
        self.events, self.behind_ms = 0.0, 0

    def took(self, following: int, timestamp: int, *, rows: int = 0) -> None:
        """A record of `timestamp`, Unix ms, with so many rows (0: nobody counted); the log goes on at `following`."""
        if rows and self._next is not None:
            self._rows = _MEMORY * self._rows + rows
            self._offsets = _MEMORY * self._offsets + following - self._next
        self._next, self._newest = following, timestamp

    def measure(self, end: int, *, waits: bool, age_ms: Callable[[int], int]) -> None:
        """The log ends at `end` now; `waits` says whether what is left are records, `age_ms` how old a timestamp is."""
        left = 0 if self._next is None else end - self._next
        self.events = left * (self._rows / self._offsets if self._offsets else 1.0) if waits else 0.0
        self.behind_ms = age_ms(self._newest) if waits and self._newest else 0
