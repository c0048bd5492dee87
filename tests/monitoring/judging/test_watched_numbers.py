"""Numbers and rates under detectors by name."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.judging.detector_choice import DetectorChoice
from penstock.monitoring.judging.watched_numbers import Watch, WatchedNumbers

NUMBER = Watch("freshness", "delay", "above", "s", rows=10)
RATE = Watch("data_drift", "out_of_range:x", "out_of_range", "out_of_range")


def watched(*names: str, every: float = 10_000.0) -> WatchedNumbers:
    choice = DetectorChoice({"*": names} if names else {})
    return WatchedNumbers(choice, lambda _: every, segment_rows=100, reference_segments=100, seasonal=False)


def run(numbers: WatchedNumbers, values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[tuple[int, Alarm]]:
    return [(place, alarm) for place, value in enumerate(values) for alarm in numbers.number(NUMBER, value, place)]


@pytest.mark.parametrize("name", ["number_cusum", "adwin", "page_hinkley"])
def test_every_detector_learns_from_the_stream_and_finds_a_shift(name: str) -> None:
    values = np.random.default_rng(0).normal(100, 5, 400)
    values[300:] += 20

    place, alarm = run(watched(name), values)[0]

    assert 300 <= place < 340
    assert (alarm.detector, alarm.signal) == (name, "delay")
    if alarm.after:
        assert alarm.after["s"] > alarm.before["s"]


def test_values_that_are_not_finite_are_no_values() -> None:
    numbers = watched()
    values = np.random.default_rng(0).normal(100, 5, 300)
    values[::3] = np.nan

    assert run(numbers, values) == []


def test_a_rate_that_begins_late_has_had_rows_without_any() -> None:
    numbers = watched()

    assert numbers.rate(RATE, 100, 0) == []
    alarms = [alarm for _ in range(5) for alarm in watched().rate(RATE, 100, 20, before=50_000)]

    assert alarms[0].before == {"out_of_range": 0.0}
    assert alarms[0].after == {"out_of_range": pytest.approx(0.2)}


@pytest.mark.parametrize("name", ["bernoulli_cusum", "hddm_w", "adwin"])
def test_detectors_of_rates_can_be_chosen_too(name: str) -> None:
    random, numbers = np.random.default_rng(1), watched(name)
    alarmed = [
        place for place in range(300) if numbers.rate(RATE, 100, int(random.binomial(100, 0.1 if place < 200 else 0.5)))
    ]

    assert alarmed
    assert 200 <= alarmed[0] < 230


def test_one_without_a_known_rate_of_false_alarms_speaks_only_with_another() -> None:
    numbers = watched("number_cusum", "adwin")
    values = np.random.default_rng(0).normal(100, 5, 400)
    values[300:] += 50
    uncalibrated = watched("adwin")
    for place, value in enumerate(values[:5]):
        uncalibrated.number(NUMBER, value, place)

    said = run(numbers, values)

    assert {alarm.detector for _, alarm in said} <= {"number_cusum", "adwin"}
    assert numbers.take_evidence([]) == []


def test_thresholds_follow_the_budget() -> None:
    every = [1e3]
    numbers = WatchedNumbers(
        DetectorChoice({}), lambda _: every[0], segment_rows=100, reference_segments=100, seasonal=False
    )
    random = np.random.default_rng(2)
    for place in range(150):
        numbers.number(NUMBER, random.normal(), place)
    every[0] = 1e9
    numbers.rebudget()
    strict = [alarm for _, alarm in run(numbers, random.normal(3.0, 1.0, 100))]

    assert np.exp(strict[0].threshold) == pytest.approx(8e9)
