"""A member's session in its consumer group: whether the group may have given its partitions to others by now.

A process that stands still (SIGSTOP, a virtual machine that is moved, a full disk of swap) does not know it when it
wakes up. The group does: a session in which nobody was heard has ended, and the partitions are somebody else's. What
was fetched must not be scored then, or all that came meanwhile would be scored twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any


class Session:
    """Begins when partitions are assigned and goes on with every heartbeat that is answered; `clock` gives seconds.

    >>> now = [0.0]
    >>> session = Session(6.0, lambda: now[0])
    >>> now[0] = 5.9
    >>> session.lapsed
    False
    >>> session.heard()
    >>> now[0] = 12.0
    >>> session.lapsed
    True
    """

    def __init__(self, timeout_s: float, clock: Callable[[], float]) -> None:
        self._timeout_s, self._clock = timeout_s, clock
        self.heard()

    def heard(self) -> None:
        """The group has just counted on this member."""
        self._heard = self._clock()

    @property
    def lapsed(self) -> bool:
        """Whether nobody knows whose the partitions are, until the group is heard again."""
        return self._clock() - self._heard > self._timeout_s

    def listen(self, coordinator: Any) -> None:
        """Hear the answers to the heartbeats of aiokafka's group coordinator."""
        beat: Callable[[], Awaitable[bool]] = coordinator._do_heartbeat

        async def beat_and_hear() -> bool:
            asked = self._clock()  # an answer may have waited for a process that stood still
            answered = await beat()
            if answered:
                self._heard = max(self._heard, asked)
            return answered

        coordinator._do_heartbeat = beat_and_hear
