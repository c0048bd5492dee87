"""Puts what comes from several partitions into the order of event time, as far as waiting a moment can."""

from __future__ import annotations

import heapq
from typing import Generic, NamedTuple, TypeVar

import msgspec

T = TypeVar("T")


class OrderState(msgspec.Struct):
    """What a restart must know: the rest comes again.

    newest    when the newest record was written, Unix ms
    heard     partition → when its last part was written, Unix ms
    reached   partition → event time that its released parts have reached, Unix ms
    released  partition → position of the last one
    """

    newest: int = 0
    heard: dict[int, int] = {}
    reached: dict[int, int] = {}
    released: dict[int, int] = {}


class _Held(NamedTuple):
    """Compared by its first three, which tell any two apart."""

    time: int
    partition: int
    position: int
    item: object


class EventTimeOrder(Generic[T]):
    """A reader that catches up takes many parts of one partition before the next one's: one month of it, then the same
    month of another. A detector would see the stream jump. So a part waits until every partition that was heard of
    lately has one that is waiting too, and the one with the earliest event time goes first.

    What is released depends on the records alone, their times of writing included; never on a clock. After a restart,
    with the state and the records from `resume` on, the same follows.

    hold_ms  the longest wait, by the times of writing; a partition that was silent for so long is not waited for
    limit    parts that wait at most

    >>> order = EventTimeOrder[str]()
    >>> order.put("a1", partition=0, time=10, written=0, position=0)  # who knows whether there is another partition?
    ['a1']
    >>> order.put("b1", partition=1, time=10, written=1, position=1)
    []
    >>> order.put("b2", partition=1, time=20, written=1, position=2)
    []
    >>> order.put("a2", partition=0, time=15, written=2, position=3)
    ['b1', 'a2']
    >>> order.resume
    2
    """

    def __init__(self, *, hold_ms: int = 5_000, limit: int = 2_048, state: OrderState | None = None) -> None:
        self._hold_ms, self._limit = hold_ms, limit
        self._state = state or OrderState()
        self._held: list[_Held] = []
        self._arrived: dict[int, int] = {}
        """Position → when it was written, of the parts that wait; in the order of both."""
        self._waiting: dict[int, int] = {}
        """Partition → parts that wait."""
        self._reached = dict(self._state.reached)
        """Partition → event time that all its parts have reached, those that wait too."""

    def put(self, item: T, *, partition: int, time: int, written: int, position: int) -> list[T]:
        """One more part, in the order of `position`; returns what may go now, in order.

        time      of its newest event, Unix ms
        written   Unix ms
        """
        state = self._state
        if position <= state.released.get(partition, -1):
            return []
        time = self._reached[partition] = max(time, self._reached.get(partition, time))
        state.heard[partition] = max(written, state.heard.get(partition, written))
        heapq.heappush(self._held, _Held(time, partition, position, item))
        self._arrived[position] = written
        self._waiting[partition] = self._waiting.get(partition, 0) + 1
        return self.pass_time(written)

    def pass_time(self, written: int) -> list[T]:
        """A record that is no part was written then: what may go by now."""
        self._state.newest = max(self._state.newest, written)
        released: list[T] = []
        while self._held and self._one_may_go():
            held = heapq.heappop(self._held)
            del self._arrived[held.position]
            self._state.released[held.partition], self._state.reached[held.partition] = held.position, held.time
            self._waiting[held.partition] -= 1
            if not self._waiting[held.partition]:
                del self._waiting[held.partition]
            released.append(held.item)  # type: ignore[arg-type]
        return released

    def _one_may_go(self) -> bool:
        """The earliest in event time, then. What may go among some of them may go among all: restarts rely on it."""
        state = self._state
        return (
            len(self._held) > self._limit
            or state.newest - next(iter(self._arrived.values())) >= self._hold_ms
            or all(
                partition in self._waiting or state.newest - heard >= self._hold_ms
                for partition, heard in state.heard.items()
            )
        )

    @property
    def resume(self) -> int | None:
        """The first position that is still needed; None where nothing waits."""
        return next(iter(self._arrived), None)

    @property
    def state(self) -> OrderState:
        """For `EventTimeOrder(state=…)`."""
        return self._state
