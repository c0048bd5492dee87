"""Numbers and times for people, whatever the numbers and times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.report.text import MAX_TICKS, duration, instant, number, percent, ticks
from penstock.monitoring.report.time import nice

YEAR_MS = 366 * 24 * 3600 * 1000
times = st.integers(0, 200 * YEAR_MS)


@given(times, st.integers(60_000, 50 * YEAR_MS))
def test_an_axis_has_few_round_moments_in_order(start_ms: int, length_ms: int) -> None:
    found = ticks(start_ms, start_ms + length_ms)
    assert len(found) <= MAX_TICKS + 1
    moments = [time_ms for time_ms, _ in found]
    assert moments == sorted(moments)
    assert all(start_ms <= time_ms <= start_ms + length_ms for time_ms in moments)
    assert all(time_ms % 60_000 == 0 for time_ms in moments)


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12))
def test_an_axis_of_values_holds_them(first: float, second: float) -> None:
    low, high = nice(min(first, second), max(first, second))
    tolerance = 1e-6 * (high - low)
    assert low - tolerance <= min(first, second) <= max(first, second) <= high + tolerance


@given(st.floats(), st.integers(-(2**63), 2**63 - 1))
def test_everything_has_a_text(value: float, unix_ms: int) -> None:
    assert number(value)
    assert percent(value)
    assert duration(value)
    assert instant(unix_ms)
