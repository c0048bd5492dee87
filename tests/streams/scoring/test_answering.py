"""Each row is answered by the variant that its key is routed to, or by the fallback, and says which."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from answering import CANARY_2, CHAMPION_1, SMALL, Model, control, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.models.routing import Routing
from penstock.models.row_failures import DOUBTED
from penstock.monitoring.metrics.score import ScoreMetrics
from penstock.schemas.columns import Columns, Layout
from penstock.schemas.control import Control
from penstock.schemas.events import DecodedEvents
from penstock.schemas.keys import hash_keys
from penstock.schemas.predictions import Answered
from penstock.streams.clocks import SteadyClock
from penstock.streams.scoring.answering import PATIENCE, Answering
from penstock.streams.scoring.inference import Inference
from penstock.streams.scoring.scoring import Run, Window

LAYOUT = Layout(floats=("x",))
SENT_MS = 1_700_000_000_000


class Sent:
    timestamp = SENT_MS


class Clock:
    """Unix time, and the time since some moment: both stand still until the test moves them."""

    now = SENT_MS / 1000

    def __call__(self) -> float:
        return self.now


def window_of(xs: Sequence[float], keys: Sequence[bytes] | None = None) -> Window:
    rows = len(xs)
    records: Any = [Sent()] * rows
    columns = Columns(LAYOUT, np.array(xs, np.float32).reshape(rows, 1), np.empty((rows, 0), np.int64), (), ())
    events = DecodedEvents(
        accepted=np.arange(rows),
        ids=[f"e{row}" for row in range(rows)],
        times=np.zeros(rows, np.int64),
        keys=list(keys or [b"e%d" % row for row in range(rows)]),
        columns=columns,
        key_parts={},
        rejected=[],
    )
    return Window(
        [Run("events", 0, 0, rows)], records, events, np.empty((rows, 0), np.float32), np.zeros((rows, 1), np.bool_), []
    )


def doubling(ref: Any = CHAMPION_1, **options: Any) -> Model:
    return Model(ref, lambda x: 2 * x, **options)


def tripling(**options: Any) -> Model:
    return Model(CANARY_2, lambda x: 3 * x, **options)


def negating(**options: Any) -> Model:
    return Model(SMALL, lambda x: -x, **options)


async def answered(
    window: Window,
    record: Control,
    *models: Model,
    metrics: ScoreMetrics | None = None,
    clock: Callable[[], float] | None = None,
) -> Window:
    clock = clock or Clock()
    inference = Inference()
    try:
        answering = Answering(
            inference, metrics or ScoreMetrics("test"), age_s=SteadyClock(clock, clock).age_s, clock=clock
        )
        return await answering.answer(window, serving(record, *models))
    finally:
        inference.shutdown()


def said(window: Window) -> list[tuple[float, str, str | None]]:
    """Of each row: its score, the variant, and why the fallback answered."""
    assert window.scores is not None
    answers = [window.answer_of(row) for row in range(window.rows)]
    return [
        (score, answer.variant, answer.fallback)
        for score, answer in zip(window.scores.score.tolist(), answers, strict=True)
    ]


async def test_the_champion_alone_is_one_call_on_the_rows_as_they_are() -> None:
    model = doubling()
    window = await answered(window_of([1, 2, 3]), control(7), model)
    assert said(window) == [(2, "champion", None), (4, "champion", None), (6, "champion", None)]
    assert (window.revision, window.codes, model.calls) == (7, None, [3])


@given(st.lists(st.integers(0, 999), max_size=200), st.floats(0, 1))
@settings(deadline=None)
async def test_every_row_is_answered_by_the_variant_of_its_key_in_order(numbers: list[int], share: float) -> None:
    keys = [b"key-%d" % number for number in numbers]
    record = control(canary=CANARY_2, share=share)
    window = await answered(window_of(numbers, keys), record, doubling(), tripling())
    routing = Routing(record)
    codes = routing.route(hash_keys(keys, len(keys)), window.events.columns)
    expected = [routing.variants[code] for code in codes]
    if numbers:
        assert said(window) == [
            (number * (2 if variant == "champion" else 3), variant, None)
            for number, variant in zip(numbers, expected, strict=True)
        ]
        assert [window.answer_of(row).model for row in range(window.rows)] == [
            CHAMPION_1 if variant == "champion" else CANARY_2 for variant in expected
        ]


async def test_vectors_are_joined_as_scores_are() -> None:
    record = control(canary=CANARY_2, share=0.5)
    window = await answered(window_of(range(50)), record, doubling(outputs=3), tripling(outputs=3))
    assert window.scores is not None
    assert window.scores.scores is not None
    assert np.array_equal(window.scores.scores, np.stack([window.scores.score] * 3, axis=1))


async def test_the_time_of_the_calls_is_shared_out_by_rows() -> None:
    metrics = ScoreMetrics("test")
    record = control(canary=CANARY_2, share=0.5)
    window = await answered(window_of(range(50)), record, doubling(), tripling(), metrics=metrics)
    reading = metrics.tally.reading(now=1)
    assert {name: reading.variants[name].model for name in reading.variants} == {"champion": "sum@1", "canary": "sum@2"}
    assert sum(one.rows for one in reading.variants.values()) == 50
    assert sum(one.took_us for one in reading.variants.values()) == pytest.approx(window.took_us(np.arange(50)), abs=2)


async def test_rows_without_a_number_are_given_to_the_fallback_which_says_why() -> None:
    metrics = ScoreMetrics("test")
    champion = Model(CHAMPION_1, lambda x: np.where(x < 0, np.nan, 2 * x))
    window = await answered(window_of([1, -2, 3]), control(fallback=SMALL), champion, negating(), metrics=metrics)
    assert said(window) == [(2, "champion", None), (2, "fallback", "not_finite"), (6, "champion", None)]
    reading = metrics.tally.reading(now=1)
    assert (reading.variants["champion"].rows, reading.variants["champion"].non_finite) == (3, 1)
    assert reading.variants["fallback"].rows == 1
    assert 'penstock_fallback_rows_total{pipeline="test",reason="not_finite"} 1.0' in metrics.exposition().decode()


@pytest.mark.parametrize("error", [ValueError("no"), MemoryError("no")])
async def test_a_model_that_fails_is_replaced_by_the_fallback(error: Exception) -> None:
    champion, fallback = doubling(fails=error), negating()
    window = await answered(window_of(range(1000)), control(fallback=SMALL), champion, fallback)
    assert said(window) == [(-x, "fallback", "failed") for x in range(1000)]
    assert window.failures == {}
    assert fallback.calls == [1000]
    assert len(champion.calls) <= 2 * PATIENCE + 11, "it is not asked about every row"


async def test_a_canary_that_fails_everywhere_costs_its_own_rows_alone() -> None:
    record = control(canary=CANARY_2, share=0.5)
    window = await answered(window_of(range(50)), record, doubling(), tripling(fails=ValueError("no")))
    assert window.scores is not None
    variants = np.array([variant for _, variant, _ in said(window)])
    assert np.array_equal(window.scores.finite, variants == "champion")
    assert sorted(window.failures) == np.flatnonzero(variants == "canary").tolist()


async def test_rows_are_to_blame_where_the_model_still_scores_its_golden_rows() -> None:
    for rows in (1, 2, 1000):
        window = await answered(window_of(range(rows)), control(), doubling(fails=ValueError("no"), sound=True))
        assert sorted(window.failures) == list(range(rows))
    models = doubling(fails=ValueError("no"), sound=True), negating(fails=ValueError("nor I"), sound=True)
    window = await answered(window_of(range(1000)), control(fallback=SMALL), *models)
    assert sorted(window.failures) == list(range(1000))
    assert len(models[0].calls) <= 2 * PATIENCE + 11


async def test_a_champion_that_fails_everywhere_with_nobody_to_ask_is_raised() -> None:
    for rows in (1, 2, 1000):
        champion = doubling(fails=ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            await answered(window_of(range(rows)), control(), champion)
        assert len(champion.calls) <= 2 * DOUBTED + 11, "it is asked about its golden rows before all of the others"
    models = doubling(fails=ValueError("no")), negating(fails=ValueError("nor I"))
    with pytest.raises(ValueError, match="no"):
        await answered(window_of([1, 2]), control(fallback=SMALL), *models)


async def test_rows_that_the_fallback_does_not_score_either_keep_their_first_failure() -> None:
    champion = Model(CHAMPION_1, lambda x: np.where(x < 0, np.nan, x))
    fallback = Model(SMALL, lambda x: np.where(x < -5, np.nan, x))
    window = await answered(window_of([1, -2, -9]), control(fallback=SMALL), champion, fallback)
    assert [reason for _, _, reason in said(window)] == [None, "not_finite", None]
    assert window.scores is not None
    assert window.scores.finite.tolist() == [True, True, False]
    assert (window.answer_of(2), window.tried) == (Answered("champion", CHAMPION_1), SMALL)


class Stream:
    """Windows of one worker, one after another, at times that the test says."""

    def __init__(self) -> None:
        self.clock, self.metrics, self.inference = Clock(), ScoreMetrics("test"), Inference()
        self.answering = Answering(
            self.inference, self.metrics, age_s=SteadyClock(self.clock, self.clock).age_s, clock=self.clock
        )

    async def at(self, seconds: float, *, waited_ms: float, champion: Model | None = None) -> str | None:
        """Why the fallback answered the window's first row."""
        self.clock.now = SENT_MS / 1000 + seconds
        window = window_of([1.0, 2.0])
        window.records = [type("Waited", (), {"timestamp": self.clock.now * 1000 - waited_ms})()] * 2
        await self.answering.answer(window, serving(control(fallback=SMALL), champion or doubling(), negating()))
        return said(window)[0][2]

    @property
    def active(self) -> list[str]:
        lines = self.metrics.exposition().decode().splitlines()
        return [line for line in lines if line.startswith("penstock_fallback_active") and line.endswith("1.0")]


async def test_the_fallback_answers_while_events_wait_too_long(caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream()
    with caplog.at_level(logging.WARNING):
        assert await stream.at(0.0, waited_ms=5_000) is None
        assert await stream.at(1.0, waited_ms=5_000) == "overload"
        assert len(stream.active) == 1
        assert await stream.at(2.0, waited_ms=500) == "overload"
        assert await stream.at(3.0, waited_ms=50) == "overload"
        assert await stream.at(4.0, waited_ms=50) is None
        assert stream.active == []
    stream.inference.shutdown()
    steps_in, steps_back = (record.message for record in caplog.records)
    assert steps_in == "small@1 answers every event from now on: the oldest event waited 5000 ms."
    assert steps_back == "small@1 steps back: the oldest event waited 50 ms."


async def test_a_failing_model_is_told_once_and_so_is_its_recovery(caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream()
    failing = doubling(fails=ValueError("no"))
    with caplog.at_level(logging.WARNING):
        for seconds in (0.0, 0.1, 0.2):
            assert await stream.at(seconds, waited_ms=5, champion=failing) == "failed"
        for seconds in (0.3, 0.8, 1.3, 1.8):
            assert await stream.at(seconds, waited_ms=5) is None
    stream.inference.shutdown()
    steps_in, steps_back = (record.message for record in caplog.records)
    assert steps_in == "small@1 answers from now on where other models fail: no."
    assert steps_back == "small@1 steps back: the other models score again."
