"""What every detector promises, by name: River's and Penstock's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from penstock.monitoring.detectors import Detector, detector_names, make_detector, restore_detector
from penstock.monitoring.detectors.joint import ConformalDistance
from penstock.monitoring.detectors.state import UnreadableState

NAMES = detector_names()
BLIND = {"no_drift", "dummy_drift_detector"}
FALLS = {"number_cusum_falls"}

few_examples = settings(
    max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow]
)
stretches = st.tuples(st.integers(0, 2**16), st.floats(0, 1), st.floats(0.5, 5.0))


def made(name: str) -> Detector:
    """As `make_detector` makes it, with a shorter reference for rows."""
    if name == "conformal_distance":
        return ConformalDistance(1_000, fit=50, calibration=100)
    return make_detector(name, false_alarm_every=1_000)


def stream(detector: Detector, seed: int, change: float, shift: float) -> list[Any]:
    """Values that a detector of this kind takes; from this share of them on they are others."""
    rng = np.random.default_rng(seed)
    rows = 160 if "kswin" in detector.name else 400  # which takes 200 µs for each
    late = np.arange(rows) >= change * rows
    if detector.takes == "binary":
        return list(rng.random(rows) < np.where(late, min(0.9, 0.1 + shift / 5.0), 0.1))
    shift = -shift if detector.name in FALLS else shift
    if detector.takes == "number":
        return [float(value) for value in rng.normal(size=rows) + shift * late]
    return list(rng.normal(size=(rows, 2)) + shift * late[:, None])


def nothing(detector: Detector, value: float) -> Any:
    return np.full(2, value) if detector.takes == "row" else value


def alarms(detector: Detector, values: Iterable[Any]) -> Iterator[tuple[bool, float, int]]:
    """After each value: whether it alarmed, its statistic, and since when."""
    for value in values:
        detector.update(value)
        yield detector.drift_detected, detector.statistic, detector.since


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_change_is_found(name: str) -> None:
    detector = made(name)
    values = stream(detector, 1, 0.7, 4.0)
    found = [alarm for alarm, *_ in alarms(detector, values)]
    assert any(found[len(values) * 7 // 10 :]) == (name not in BLIND)


def test_an_alarm_has_a_statistic_above_its_threshold_and_no_other_row_has(name: str) -> None:
    detector = made(name)
    for alarm, statistic, since in alarms(detector, stream(detector, 2, 0.6, 4.0)):
        assert math.isfinite(statistic)
        assert alarm == (statistic >= detector.threshold)
        assert since >= 0


@pytest.mark.parametrize("value", [0.0, 1.0, -3e9])
def test_a_constant_gives_no_alarm(name: str, value: float) -> None:
    detector = made(name)
    constant = abs(value) > 0.5 if detector.takes == "binary" else nothing(detector, value)
    assert not any(alarm for alarm, *_ in alarms(detector, [constant] * (160 if "kswin" in name else 400)))


def test_what_is_not_finite_is_counted_and_changes_nothing_else(name: str) -> None:
    clean, dirty = made(name), made(name)
    values = stream(clean, 3, 0.6, 4.0)
    expected = list(alarms(clean, values))
    found: list[tuple[bool, float, int]] = []
    for row, value in enumerate(values):
        if row % 40 == 0:
            for bad in (math.nan, math.inf, -math.inf):
                dirty.update(nothing(dirty, bad))
        found += alarms(dirty, [value])
    assert found == expected
    assert (clean.skipped, dirty.skipped) == (0, 3 * len(values) // 40)


@given(stretches, st.floats(0, 1))
@few_examples
@pytest.mark.parametrize("name", NAMES)
def test_a_restored_detector_goes_on_as_if_nothing_had_happened(
    name: str, stretch: tuple[int, float, float], cut: float
) -> None:
    detector = made(name)
    values = stream(detector, *stretch)
    detector.update(nothing(detector, math.nan))
    place = round(cut * len(values))
    list(alarms(detector, values[:place]))
    data = detector.snapshot()
    restored = restore_detector(data)
    assert restored.snapshot() == data
    assert list(alarms(restored, values[place:])) == list(alarms(detector, values[place:]))
    assert restored.snapshot() == detector.snapshot()


@given(stretches)
@few_examples
@pytest.mark.parametrize("name", NAMES)
def test_the_same_inputs_give_the_same_alarms(name: str, stretch: tuple[int, float, float]) -> None:
    detector = made(name)
    values = stream(detector, *stretch)
    first = list(alarms(detector, values))
    assert list(alarms(detector.clone(), values)) == first
    detector.reset()
    assert list(alarms(detector, values)) == first


@pytest.mark.parametrize("harm", [lambda data: data[:-3], lambda data: b"", lambda data: data[:40] + b"x" + data[41:]])
def test_a_damaged_snapshot_is_refused(name: str, harm: Callable[[bytes], bytes]) -> None:
    detector = made(name)
    list(alarms(detector, stream(detector, 4, 0.7, 4.0)[:60]))
    with pytest.raises(UnreadableState):
        restore_detector(harm(detector.snapshot()))
