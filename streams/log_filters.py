"""What a worker's log leaves out."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    KafkaConnectionError,
    NodeNotReadyError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    StaleMetadata,
)

_ELECTIONS = (GroupCoordinatorNotAvailableError, NotLeaderForPartitionError)
_BROKEN = (KafkaConnectionError, NodeNotReadyError, RequestTimedOutError, StaleMetadata, OSError)
_ABOUT_CONNECTIONS = ("Unable to update metadata", "Marking the coordinator dead", "Heartbeat session expired")


def no_election(record: logging.LogRecord) -> bool:
    """Not a coordinator or leader that is just being elected: aiokafka asks again by itself, and calls it an error."""
    return not _names(record, _ELECTIONS)


def _names(record: logging.LogRecord, errors: tuple[type[BaseException], ...]) -> bool:
    """Whether one of the errors, or its class, is an argument of the record."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    return any(
        isinstance(argument, errors) or (isinstance(argument, type) and issubclass(argument, errors))
        for argument in arguments
    )


class ConnectionTrouble(logging.Filter):
    """Holds back what aiokafka says of broken connections: while an outage is `known`, and for the first `patience_s`
    of any trouble, in which it ends or becomes known. Trouble that goes on although the brokers answer is heard.
    """

    def __init__(self, *, patience_s: float = 15.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("aiokafka")
        self.known = False
        self._patience_s, self._clock = patience_s, clock
        self._since = self._last = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        told = _names(record, _BROKEN) or str(record.msg).startswith(_ABOUT_CONNECTIONS)
        if not super().filter(record) or not told:
            return True
        now = self._clock()
        if self.known or now - self._last > self._patience_s:
            self._since = now
        self._last = now
        return now - self._since >= self._patience_s


connection_trouble = ConnectionTrouble()
"""The process has one log."""


def no_crash_twice(record: logging.LogRecord) -> bool:
    """Mode tells a crash at once and again at the end; its traceback comes from `run_worker`, when all is stopped."""
    if "Crashed reason=" in str(record.msg):
        record.exc_info = record.exc_text = None
    return "We experienced a crash" not in str(record.msg)


class Repeats(logging.Filter):
    """Lets a message of `library` pass at most every `pause_s`, and then says how many like it were held back.

    Without it aiokafka writes 400 lines a second for as long as a broker is away. Messages are alike when they differ
    in their arguments only.
    """

    def __init__(self, library: str, *, pause_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(library)
        self._pause_s, self._clock = pause_s, clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}
        """By logger and message: when one passed last, and how many were held back since."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not super().filter(record):
            return True  # of somebody else
        kind, now = (record.name, str(record.msg)), self._clock()
        passed, held_back = self._seen.get(kind, (-math.inf, 0))
        if now - passed < self._pause_s:
            self._seen[kind] = passed, held_back + 1
            return False
        self._seen[kind] = now, 0
        if held_back:
            record.msg, record.args = f"{record.getMessage()} ({held_back} more like it before)", ()
        return True
