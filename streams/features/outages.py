"""One line in the log when Redis is lost, one when it answers again: how long it took, and how many events it cost."""

from __future__ import annotations

import logging
from collections.abc import Callable

logger = logging.getLogger("penstock.features")

STEADY_S = 1.0
"""A server that answers, and fails again sooner than this, was not back."""


class OutageLog:
    """Follows the look-ups of one server, whose `address` its lines name. `clock` is monotonic, seconds.

    An outage ends with an answer that no failure has come shortly before: a server that is too slow for every second
    window has one outage, not thousands.
    """

    def __init__(self, address: str, clock: Callable[[], float]) -> None:
        self._address, self._clock = address, clock
        self._began: float | None = None
        self._failed = 0.0
        self._without = self._late = 0
        self._told_of_credentials = False

    def failed(self, reason: str, *, credentials: bool, without: int, late: int) -> None:
        """A window was not answered: so many of its events go `without` values, so many have `late` ones of the cache.

        `credentials` are refused until a person corrects them: during an outage that began otherwise, that is told too.
        """
        self._failed = self._clock()
        if self._began is None:
            self._began = self._failed
            logger.warning(
                "Redis at %s: %s; looked-up features are missing or come from the cache until it answers",
                self._address,
                reason,
            )
        elif credentials and not self._told_of_credentials:
            logger.warning("Redis at %s: %s", self._address, reason)
        self._told_of_credentials |= credentials
        self._without += without
        self._late += late

    def answered(self) -> None:
        """A window was answered."""
        if self._began is None or self._clock() - self._failed < STEADY_S:
            return
        logger.warning(
            "Redis at %s answers again after %.1f s; meanwhile %d events went without looked-up features, and %d had "
            "some from the cache past their time",
            self._address,
            self._failed - self._began,
            self._without,
            self._late,
        )
        self._began, self._without, self._late, self._told_of_credentials = None, 0, 0, False
