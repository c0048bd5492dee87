"""Seasons are found where day or week explain the values, and nowhere else; taken out, nothing of them is left."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter

from penstock.models.profiling import build_profile, profile_numbers
from penstock.schemas import seasons
from penstock.schemas.columns import Columns, Layout
from penstock.schemas.profile import NumericProfile, decode_profile, encode_profile
from penstock.schemas.seasons import DAY_MS, WEEK_MS

ROWS = 500
SEGMENTS = 200
Values = NDArray[np.float64]


def stretch(days: float) -> tuple[NDArray[np.int64], Values, Values]:
    """Times over so many days, the same in days, and noise."""
    times = np.linspace(0, days * DAY_MS, ROWS * SEGMENTS).astype(np.int64)
    return times, times / DAY_MS, np.random.default_rng(1).normal(size=len(times))


def slow(noise: Values, memory: float) -> Values:
    """Noise that remembers: as AR(1)."""
    remembered: Values = lfilter([np.sqrt(1 - memory**2)], [1, -memory], noise)
    return remembered


def left(profile: NumericProfile, values: Values, times: NDArray[np.int64]) -> tuple[float, float]:
    """How far the hours' means and deviations differ once the season is taken out."""
    assert profile.season is not None
    usual = seasons.at_the_average_hour(profile.season, values, times)
    hour = times % WEEK_MS // (DAY_MS // 8)
    parts = [usual[hour == each] for each in np.unique(hour)]
    return float(np.std([part.mean() for part in parts])), float(np.std([np.log(part.std()) for part in parts]))


def test_a_daily_season_is_taken_out() -> None:
    times, days, noise = stretch(7)
    values = 50 + noise * np.exp(0.5 * np.cos(2 * np.pi * days)) + 3 * np.sin(2 * np.pi * days)
    profile = profile_numbers(values, ROWS, times)
    mean, deviation = left(profile, values, times)
    assert mean < 0.05
    assert deviation < 0.05
    assert profile.moments.mean == pytest.approx(values.mean())
    assert profile.edges.mean() == pytest.approx(50, abs=1)


def test_weekends_are_a_season_of_the_week() -> None:
    times, days, noise = stretch(28)
    values = noise + 2.0 * (days % 7 >= 5)
    profile = profile_numbers(values, ROWS, times)
    assert left(profile, values, times)[0] < 0.4 < np.std(2.0 * (days % 7 >= 5))


@pytest.mark.parametrize("days", [1.0, 7.0, 28.0])
@pytest.mark.parametrize("memory", [0.0, 0.99, 0.9999])
def test_where_there_is_none_none_is_found(days: float, memory: float) -> None:
    times, _, noise = stretch(days)
    assert profile_numbers(slow(noise, memory), ROWS, times).season is None


def test_less_than_two_days_say_nothing_of_a_day() -> None:
    times, days, noise = stretch(1.5)
    assert profile_numbers(noise + np.sin(2 * np.pi * days), ROWS, times).season is None


def test_values_that_repeat_are_not_torn_apart() -> None:
    times, days, _ = stretch(7)
    counts = np.random.default_rng(2).poisson(1 + np.sin(2 * np.pi * days) ** 2).astype(np.float64)
    assert profile_numbers(counts, ROWS, times).season is None


@settings(max_examples=30)
@given(st.integers(-(10**13), 10**13), st.integers(0, 2**32 - 1))
def test_a_season_repeats_every_week(time: int, seed: int) -> None:
    season = np.random.default_rng(seed).normal(size=(2, seasons.WIDTH))
    less, by = seasons.shift(season, np.array([time, time + WEEK_MS]))
    np.testing.assert_allclose(less[0], less[1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(by[0], by[1], rtol=1e-9)


@pytest.mark.parametrize("deviation", [0.0, np.nan])
def test_a_column_that_never_varies_has_no_season(deviation: float) -> None:
    times = np.arange(300) * DAY_MS // 8
    assert seasons.fit(times, np.full(300, 3.25), np.full(300, deviation)) is None


def test_a_profile_without_seasons_reads_as_before() -> None:
    columns = Columns.missing(Layout(("a",)), 40)
    columns.floats[:, 0] = np.arange(40)
    document = msgspec.msgpack.decode(encode_profile(build_profile(columns)))
    document["schema_version"] = 1
    del document["features"]["a"]["season"]
    found = decode_profile(msgspec.msgpack.encode(document)).features["a"]
    assert isinstance(found, NumericProfile)
    assert found.season is None
