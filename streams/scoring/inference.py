"""Where a model computes: in a thread of its own, or right here when that is quicker than handing it over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from penstock.models.row_failures import score_apart
from penstock.models.runtime import Runtime, Scores
from penstock.schemas.columns import Columns
from penstock.schemas.records import ModelRef

INLINE_S = 0.002
"""Calls that compute for less run in the event loop, which decoding a large window holds as long. In the thread, every
operation of the network would wait for the GIL."""
STALL_S = 0.02
"""A call that takes longer than this without computing is waiting: such a model must not hold the event loop."""
STALLS = 3
"""So many stalls in the event loop, and the model stays in the thread. The first ones may be the machine's."""


class Call(NamedTuple):
    """What a model said of some rows.

    scores    [rows]; NaN where it failed
    failures  row → why
    unscored  rows: those, and the ones to which it gave NaN or an infinity
    error     it failed on all of them, and on its golden rows, too
    took_s    seconds
    """

    scores: Scores
    failures: dict[int, Exception]
    unscored: int
    error: Exception | None
    took_s: float


@dataclass(slots=True)
class _Pace:
    """Of one model: by size, seconds of processor time of a call, smoothed; and how often it held the event loop."""

    computing: dict[int, float] = field(default_factory=dict)
    stalls: int = 0


class Inference:
    """Asks models, one call after another.

    Calls of each size (within a factor of two) begin in the thread. Those that are over soon and need little processor
    time go on in the event loop, for as long as that holds. Each model is timed by itself.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._paces: dict[ModelRef, _Pace] = {}
        self._in_use = False
        self._retired: list[Callable[[], None]] = []

    async def ask(self, runtime: Runtime, columns: Columns, *, patience: int | None = None) -> Call:
        """What the model says of the rows, or why it fails; `patience` is that of `score_apart`."""
        if (pace := self._paces.get(runtime.model)) is None:
            pace = self._paces[runtime.model] = _Pace()
        size = columns.rows.bit_length()
        if pace.computing.get(size, 1.0) <= INLINE_S and pace.stalls < STALLS:
            call, computed = _timed(runtime, columns, patience)
            pace.stalls += call.took_s > STALL_S
        else:
            loop = asyncio.get_running_loop()
            call, computed = await loop.run_in_executor(self._thread, _timed, runtime, columns, patience)
        if call.took_s <= STALL_S or size in pace.computing:
            pace.computing[size] = 0.8 * pace.computing.get(size, computed) + 0.2 * computed
        return call

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """A window is being scored: what is retired meanwhile is closed behind it."""
        self._in_use = True
        try:
            yield
        finally:
            self._in_use = False
            retired, self._retired = self._retired, []
            for close in retired:
                self._thread.submit(close)

    def retire(self, model: ModelRef, close: Callable[[], None]) -> None:
        """Close a model that serves no more, behind the window that may still need it."""
        self._paces.pop(model, None)
        if self._in_use:
            self._retired.append(close)
        else:
            self._thread.submit(close)

    def shutdown(self) -> None:
        self._thread.shutdown()


def _timed(runtime: Runtime, columns: Columns, patience: int | None) -> tuple[Call, float]:
    """The call, and seconds of this thread's processor time that it took."""
    started, computing = time.perf_counter(), time.thread_time()
    error: Exception | None = None
    try:
        scores, failures = score_apart(runtime, columns, patience=patience)
    except Exception as raised:
        error, rows = raised, columns.rows
        scores = Scores(np.full(rows, np.nan, np.float32), None, np.zeros(rows, np.bool_))
        failures = dict.fromkeys(range(rows), raised)
    computed, took_s = time.thread_time() - computing, time.perf_counter() - started
    unscored = columns.rows - int(np.count_nonzero(scores.finite))
    return Call(scores, failures, unscored, error, took_s), computed
