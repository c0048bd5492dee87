"""One number per segment: false alarms whatever it is like, seasons, sides."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from penstock.monitoring.detectors.numbers import NumberCUSUM
from penstock.schemas.seasons import DAY_MS, WEEK_MS

Values = Callable[[np.random.Generator, int], NDArray[np.float64]]
HOUR_MS = DAY_MS // 24


def autocorrelated(rho: float) -> Values:
    def drawn(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        values = lfilter([1.0], [1.0, -rho], rng.normal(size=count + 1_000))
        return np.asarray(values[1_000:] * math.sqrt(1 - rho * rho))

    return drawn


def alarms(detector: NumberCUSUM, values: NDArray[np.float64], times_ms: NDArray[np.int64] | None = None) -> list[int]:
    found = []
    times = np.zeros(len(values), np.int64) if times_ms is None else times_ms
    for place, (value, time_ms) in enumerate(zip(values.tolist(), times.tolist(), strict=True)):
        detector.update(value, time_ms)
        if detector.drift_detected:
            found.append(place)
    return found


def hourly(weeks: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A volume by the hour: days, quiet weekends, noise."""
    times = np.arange(0, weeks * WEEK_MS, HOUR_MS, dtype=np.int64)
    day = np.sin(2 * np.pi * (times % DAY_MS) / DAY_MS)
    weekend = (times % WEEK_MS) // DAY_MS >= 5
    return 100 + 30 * day - 20 * weekend + np.random.default_rng(seed).normal(0, 5, len(times)), times


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(lambda rng, count: rng.normal(size=count), id="normal"),
        pytest.param(lambda rng, count: rng.standard_cauchy(count), id="cauchy"),
        pytest.param(lambda rng, count: rng.lognormal(0, 2, count), id="lognormal"),
        pytest.param(lambda rng, count: rng.poisson(0.3, count).astype(float), id="counts"),
        pytest.param(autocorrelated(0.9), id="autocorrelated"),
        pytest.param(autocorrelated(0.99), id="nearly a random walk"),
    ],
)
def test_false_alarms_keep_to_the_budget(values: Values) -> None:
    rng = np.random.default_rng(1)
    found = [alarm for _ in range(3) for alarm in alarms(NumberCUSUM(1_000), values(rng, 6_000))]
    assert len(found) <= 18


def test_a_shift_is_found_on_the_side_that_counts() -> None:
    values = np.random.default_rng(2).normal(size=500)
    values[400:] += 2.0
    assert 400 <= alarms(NumberCUSUM(side="both"), values)[0] < 415
    assert 400 <= alarms(NumberCUSUM(side="rises"), values)[0] < 415
    assert alarms(NumberCUSUM(side="falls"), values) == []


def test_a_stopped_stream_is_found_within_a_few_values() -> None:
    values = np.random.default_rng(3).normal(1_000, 50, 320)
    values[300:] = 0.0
    assert 300 <= alarms(NumberCUSUM(side="falls"), values)[0] <= 306


def test_seasons_of_day_and_week_are_no_drift() -> None:
    values, times = hourly(8, seed=4)
    detector = NumberCUSUM(1_000, seasonal=True)
    detector.learn_from(values[: 4 * 168], times[: 4 * 168])
    assert alarms(detector, values[4 * 168 :], times[4 * 168 :]) == []


def test_a_night_at_the_level_of_the_day_is_drift() -> None:
    values, times = hourly(5, seed=5)
    detector = NumberCUSUM(1_000, seasonal=True)
    detector.learn_from(values[: 4 * 168], times[: 4 * 168])
    later = values[4 * 168 :]
    later[15:24] = 130.0
    assert 15 <= alarms(detector, later, times[4 * 168 :])[0] < 24


def test_it_judges_no_season_before_it_has_seen_two_days() -> None:
    values, times = hourly(1, seed=6)
    detector = NumberCUSUM(1_000, learn=20, seasonal=True)
    assert alarms(detector, values[:60], times[:60]) == []


def test_a_reference_saves_it_the_waiting() -> None:
    random = Random(7)
    detector = NumberCUSUM()
    detector.learn_from([random.gauss(0, 1) for _ in range(300)])
    assert alarms(detector, np.full(20, 2.5))


def test_a_short_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="3 finite values"):
        NumberCUSUM().learn_from([1.0, 2.0, 3.0, math.nan])


def test_a_season_survives_a_restart() -> None:
    values, times = hourly(6, seed=8)
    detector = NumberCUSUM(1_000, seasonal=True)
    alarms(detector, values[:500], times[:500])
    restored = NumberCUSUM.restore(detector.snapshot())
    values[800:] += 40.0
    expected = alarms(detector, values[500:], times[500:])
    assert expected
    assert alarms(restored, values[500:], times[500:]) == expected
    assert restored.snapshot() == detector.snapshot()
