"""Where a model computes: in a thread of its own, or right here when that is quicker than handing it over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from penstock.models.runtime import Runtime
from penstock.streams.scoring.scoring import Scoring, Window

INLINE_S = 0.002
"""Calls that compute for less run in the event loop, which decoding a large window holds as long. In the thread, every
operation of the network would wait for the GIL."""
STALL_S = 0.02
"""A call that takes longer than this without computing is waiting: such a model must not hold the event loop."""
STALLS = 3
"""So many stalls in the event loop, and the model stays in the thread. The first ones may be the machine's."""


class Inference:
    """Scores windows with one model at a time, one after another.

    Calls of each size (within a factor of two) begin in the thread. Those that are over soon and need little processor
    time go on in the event loop, for as long as that holds.
    """

    def __init__(self, scoring: Scoring) -> None:
        self._scoring = scoring
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._computing: dict[int, float] = {}
        """By size: seconds of processor time of a call, smoothed."""
        self._stalls = 0

    async def score(self, window: Window, runtime: Runtime) -> Window:
        """The window with its scores; raises what the model raises when it fails on every row."""
        size = window.rows.bit_length()
        if self._computing.get(size, 1.0) <= INLINE_S and self._stalls < STALLS:
            took, computed = self._timed(window, runtime)
            self._stalls += took > STALL_S
        else:
            loop = asyncio.get_running_loop()
            took, computed = await loop.run_in_executor(self._thread, self._timed, window, runtime)
        if took <= STALL_S or size in self._computing:
            self._computing[size] = 0.8 * self._computing.get(size, computed) + 0.2 * computed
        return window

    def _timed(self, window: Window, runtime: Runtime) -> tuple[float, float]:
        """Seconds that the call took, and seconds of this thread's processor time."""
        started, computing = time.perf_counter(), time.thread_time()
        self._scoring.score(window, runtime)
        return time.perf_counter() - started, time.thread_time() - computing

    def retire(self, close: Callable[[], None]) -> None:
        """Close a model that serves no more, behind whatever it is scoring right now; the next one is timed anew."""
        self._computing.clear()
        self._stalls = 0
        self._thread.submit(close)

    def shutdown(self) -> None:
        self._thread.shutdown()
