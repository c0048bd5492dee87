"""Quick models run in the event loop, slow ones never do: neither those that compute long nor those that wait."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.streams.scoring import inference
from penstock.streams.scoring.inference import INLINE_S, STALL_S, STALLS, Inference


class Clock:
    """Both clocks of a thread: what passes and what is computed."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def perf_counter(self) -> float:
        return self.wall

    def thread_time(self) -> float:
        return self.processor


class Model:
    """Takes the time that the test says; remembers in which threads it was called."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.threads = clock, list[str]()
        self.computes = self.waits = 0.0

    def score(self, window: Any, runtime: Any) -> Any:
        self.threads.append(threading.current_thread().name)
        self.clock.processor += self.computes
        self.clock.wall += self.computes + self.waits
        return window


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(inference, "time", clock)
    return clock


async def called(model: Model, calls: int, *, rows: int = 8) -> list[bool]:
    """Whether each call ran in the event loop."""
    scores = Inference(model)  # type: ignore[arg-type]
    try:
        for _ in range(calls):
            await scores.score(SimpleNamespace(rows=rows), None)  # type: ignore[arg-type]
    finally:
        scores.shutdown()
    return [name == threading.current_thread().name for name in model.threads]


async def test_the_first_call_goes_to_the_thread_and_quick_ones_stay_in_the_loop(clock: Clock) -> None:
    model = Model(clock)
    model.computes = INLINE_S / 2
    assert await called(model, 4) == [False, True, True, True]


async def test_a_model_that_computes_long_stays_in_the_thread(clock: Clock) -> None:
    model = Model(clock)
    model.computes = 2 * INLINE_S
    assert await called(model, 4) == [False] * 4


async def test_a_model_that_waits_long_stays_in_the_thread(clock: Clock) -> None:
    model = Model(clock)
    model.waits = 5.0
    assert await called(model, 4) == [False] * 4


async def test_a_model_that_begins_to_wait_leaves_the_loop(clock: Clock) -> None:
    model = Model(clock)
    scores = Inference(model)  # type: ignore[arg-type]
    for waits in (0.0, 0.0, *[2 * STALL_S] * (STALLS + 2)):
        model.waits = waits
        await scores.score(SimpleNamespace(rows=8), None)  # type: ignore[arg-type]
    scores.shutdown()
    inline = [name == threading.current_thread().name for name in model.threads]
    assert inline == [False, True, *[True] * STALLS, False, False]


async def test_the_next_model_is_timed_anew(clock: Clock) -> None:
    model = Model(clock)
    scores = Inference(model)  # type: ignore[arg-type]
    closed: list[bool] = []
    for _ in range(2):
        await scores.score(SimpleNamespace(rows=8), None)  # type: ignore[arg-type]
    scores.retire(lambda: closed.append(True))
    await scores.score(SimpleNamespace(rows=8), None)  # type: ignore[arg-type]
    scores.shutdown()
    here = threading.current_thread().name
    assert [name == here for name in model.threads] == [False, True, False]
    assert closed == [True]
