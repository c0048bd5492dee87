"""Quick models run in the event loop, slow ones never do: neither those that compute long nor those that wait."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

from penstock.models.runtime import Runtime, Scores
from penstock.schemas.columns import Columns, Layout
from penstock.schemas.records import ModelRef
from penstock.streams.scoring import inference
from penstock.streams.scoring.inference import INLINE_S, STALL_S, STALLS, Inference

ROWS = Columns.missing(Layout(), 8)
TIMED = ModelRef("timed", 1)
HERE = threading.current_thread().name


class Clock:
    """Both clocks of a thread: what passes and what is computed."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def perf_counter(self) -> float:
        return self.wall

    def thread_time(self) -> float:
        return self.processor


@dataclass
class Model:
    """Takes the time that the test says; remembers in which threads it was called."""

    clock: Clock
    model: ModelRef = TIMED
    computes: float = 0.0
    waits: float = 0.0
    inline: list[bool] = field(default_factory=list)
    features: tuple[str, ...] = ()
    description: str = "test"
    bit_stable: bool = True
    closed: bool = False

    def score(self, columns: Columns) -> Scores:
        assert not self.closed
        self.inline.append(threading.current_thread().name == HERE)
        self.clock.processor += self.computes
        self.clock.wall += self.computes + self.waits
        return Scores(np.zeros(columns.rows, np.float32), None, np.ones(columns.rows, np.bool_))

    def check(self) -> None: ...

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(inference, "time", clock)
    return clock


async def called(model: Runtime, calls: int) -> None:
    asks = Inference()
    for _ in range(calls):
        await asks.ask(model, ROWS)
    asks.shutdown()


async def test_the_first_call_goes_to_the_thread_and_quick_ones_stay_in_the_loop(clock: Clock) -> None:
    model = Model(clock, computes=INLINE_S / 2)
    await called(model, 4)
    assert model.inline == [False, True, True, True]


async def test_a_model_that_computes_long_stays_in_the_thread(clock: Clock) -> None:
    model = Model(clock, computes=2 * INLINE_S)
    await called(model, 4)
    assert model.inline == [False] * 4


async def test_a_model_that_waits_long_stays_in_the_thread(clock: Clock) -> None:
    model = Model(clock, waits=5.0)
    await called(model, 4)
    assert model.inline == [False] * 4


async def test_a_model_that_begins_to_wait_leaves_the_loop(clock: Clock) -> None:
    model = Model(clock)
    asks = Inference()
    for waits in (0.0, 0.0, *[2 * STALL_S] * (STALLS + 2)):
        model.waits = waits
        await asks.ask(model, ROWS)
    asks.shutdown()
    assert model.inline == [False, True, *[True] * STALLS, False, False]


async def test_each_model_is_timed_by_itself(clock: Clock) -> None:
    quick, slow = Model(clock), Model(clock, ModelRef("timed", 2), computes=2 * INLINE_S)
    asks = Inference()
    for model in (quick, slow) * 3:
        await asks.ask(model, ROWS)
    asks.shutdown()
    assert quick.inline == [False, True, True]
    assert slow.inline == [False] * 3


async def test_a_model_that_comes_back_is_timed_anew(clock: Clock) -> None:
    model, asks = Model(clock), Inference()
    for _ in range(2):
        await asks.ask(model, ROWS)
    asks.retire(model.model, lambda: None)
    await asks.ask(model, ROWS)
    asks.shutdown()
    assert model.inline == [False, True, False]


async def test_a_model_is_closed_behind_the_window_that_may_still_need_it(clock: Clock) -> None:
    model, asks = Model(clock), Inference()
    with asks.in_use():
        asks.retire(model.model, model.close)
        await asks.ask(model, ROWS)
        assert not model.closed
    asks.shutdown()
    assert model.closed
