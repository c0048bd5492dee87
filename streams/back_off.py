"""How long to wait before something that failed is tried again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BackOff:
    """Doubled with each failure, from the beginning again after a good while.

    >>> [BackOff().delay_s(failures) for failures in (1, 2, 3, 10)]
    [1.0, 2.0, 4.0, 30.0]
    """

    first_s: float = 1.0
    longest_s: float = 30.0
    healthy_s: float = 60.0
    """A process that ran this long did not fail at its start."""

    def failures(self, before: int, ran_s: float) -> int:
        """In a row, with this one of a process that ran so long.

        >>> BackOff().failures(3, 59.9), BackOff().failures(3, 60.0)
        (4, 1)
        """
        return 1 if ran_s >= self.healthy_s else before + 1

    def delay_s(self, failures: int) -> float:
        """After so many failures in a row."""
        return min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))


PATIENT = BackOff()
