"""A rate is kept: never too early, never late without cause."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.streams.console.pace import Pace

rates = st.floats(0.01, 1e7)


@given(rates, st.floats(0, 1e5))
def test_no_event_goes_before_it_is_due(rate: float, elapsed_s: float) -> None:
    pace = Pace(rate)
    allowed = pace.allowed(elapsed_s)
    assert pace.due_s(allowed) > elapsed_s
    assert pace.due_s(allowed - 1) <= elapsed_s * (1 + 1e-12)


@given(rates, st.integers(0, 10**9))
def test_an_event_that_is_due_may_go(rate: float, number: int) -> None:
    pace = Pace(rate)
    assert pace.allowed(pace.due_s(number)) > number
