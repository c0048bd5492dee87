"""Windows: what is ready becomes one inference call.

Blocks of any partitions gather while a window is being scored; the next window takes all of them up to its limits. So
windows are small when traffic is light, for latency, and large under load, for throughput, with nothing to tune.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What a window is made of."""

    @property
    def rows(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def followed(self) -> bool:
        """Whether another one comes right behind."""
        ...


T = TypeVar("T", bound=Sized)

ANNOUNCED_S = 0.005
"""A block that was announced comes within an event loop's turn; unless a rebalance has dropped it meanwhile."""


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """Limits of one window.

    max_rows, max_bytes  a window takes whole blocks up to these; a larger block is a window of its own
    max_wait_s           how long a window that is not full waits for more; 0 never waits
    """

    max_rows: int = 4096
    max_bytes: int = 8 << 20
    max_wait_s: float = 0.0


class Windows(Generic[T]):
    """A queue of blocks that gives out windows.

    At most two windows' worth of rows and bytes wait; `put` blocks beyond that, which holds back the fetching.
    """

    def __init__(self, limits: WindowLimits) -> None:
        self._limits = limits
        self._blocks: deque[T] = deque()
        self._rows = self._size = 0
        self._changed = asyncio.Condition()

    async def put(self, block: T) -> None:
        """Add a block; waits while there is enough for two windows."""
        async with self._changed:
            await self._changed.wait_for(self._has_room)
            self._blocks.append(block)
            self._rows += block.rows
            self._size += block.size
            self._changed.notify_all()

    async def next(self) -> list[T]:
        """The next window: at least one block, in the order in which they came."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._blocks))
            if not self._full():
                await self._gather()
            window = [self._take()]
            rows, size = window[0].rows, window[0].size
            while self._blocks:
                following = self._blocks[0]
                rows, size = rows + following.rows, size + following.size
                if rows > self._limits.max_rows or size > self._limits.max_bytes:
                    break
                window.append(self._take())
            self._changed.notify_all()
            return window

    def _take(self) -> T:
        block = self._blocks.popleft()
        self._rows -= block.rows
        self._size -= block.size
        return block

    def _has_room(self) -> bool:
        return self._rows < 2 * self._limits.max_rows and self._size < 2 * self._limits.max_bytes

    def _full(self) -> bool:
        return self._rows >= self._limits.max_rows or self._size >= self._limits.max_bytes

    async def _gather(self) -> None:
        """Wait for what is announced, or as long as the limits say for as much as there may come."""
        announced = self._blocks[-1].followed
        wait_s = self._limits.max_wait_s or (ANNOUNCED_S if announced else 0.0)
        if not wait_s:
            return
        try:
            async with asyncio.timeout(wait_s):
                await self._changed.wait_for(self._full if self._limits.max_wait_s else self._all_there)
        except TimeoutError:
            return  # the wait is over: what came is the window

    def _all_there(self) -> bool:
        return self._full() or not self._blocks[-1].followed
