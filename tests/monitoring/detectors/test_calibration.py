"""River's detectors under a budget: found on a reference, bounded in work, the same on every machine."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from penstock.monitoring.detectors import UnknownDetector, detector_names, make_detector, restore_detector
from penstock.monitoring.detectors.calibration import block_length, replay
from penstock.monitoring.detectors.river_detectors import RiverDetector


def autocorrelated(seed: int, count: int) -> list[float]:
    values = lfilter([1.0], [1.0, -0.9], np.random.default_rng(seed).normal(size=count + 500))
    return [float(value) for value in values[500:]]


def alarms(detector: RiverDetector, values: list[float]) -> int:
    count = 0
    for value in values:
        detector.update(value)
        count += detector.drift_detected
    return count


def test_adwin_as_it_comes_storms_on_autocorrelated_numbers_and_calibrated_keeps_its_budget() -> None:
    fresh = autocorrelated(1, 20_000)
    calibrated = RiverDetector.fit("adwin", 2_000, np.array(autocorrelated(2, 2_000)))
    assert calibrated.calibrated
    assert alarms(RiverDetector("adwin"), fresh) > 40
    assert alarms(calibrated, fresh) <= 10


def test_a_calibrated_detector_still_finds_drift() -> None:
    rng = np.random.default_rng(3)
    detector = RiverDetector.fit("page_hinkley", 2_000, rng.normal(1e6, 1e3, 500))
    assert alarms(detector, rng.normal(1e6, 1e3, 500).tolist()) == 0
    assert alarms(detector, rng.normal(1e6 + 2e3, 1e3, 100).tolist()) > 0


def test_only_rises_count_where_a_fall_is_good_news() -> None:
    rng = np.random.default_rng(4)
    falling = (rng.random(4_000) < np.repeat([0.5, 0.1], 2_000)).astype(float).tolist()
    assert alarms(RiverDetector("adwin"), falling) > 0
    assert alarms(RiverDetector("adwin_rises"), falling) == 0
    assert alarms(RiverDetector("adwin_rises"), falling[::-1]) > 0


@pytest.mark.parametrize("reference", [[], [1.0] * 50, [3.0] * 500, [np.nan] * 500])
def test_what_cannot_be_calibrated_only_gives_evidence(reference: list[float]) -> None:
    assert not make_detector("adwin", false_alarm_every=1_000, reference=reference).calibrated


def test_the_same_reference_gives_the_same_detector() -> None:
    reference = np.random.default_rng(5).normal(size=300)
    one, other = (RiverDetector.fit("page_hinkley", 1e4, reference) for _ in range(2))
    assert one.parameters == other.parameters
    restored = restore_detector(one.snapshot())
    assert isinstance(restored, RiverDetector)
    assert (restored.parameters, restored.calibrated) == (one.parameters, True)


def test_blocks_are_longer_than_the_memory_of_the_values() -> None:
    assert block_length(np.array(autocorrelated(6, 2_000))) > 5 * block_length(
        np.random.default_rng(6).normal(size=2_000)
    )
    values = np.arange(100.0)
    steps = np.diff(replay(values, 1_000, np.random.default_rng(0)))
    assert np.isin(steps, [1.0, -99.0]).mean() > 0.7


def test_every_drift_detector_of_river_has_a_name() -> None:
    from river import base, drift

    theirs = {
        name.lower()
        for module in (drift, drift.binary)
        for name in module.__all__
        if isinstance(kind := getattr(module, name, None), type)
        and issubclass(kind, base.DriftDetector | base.BinaryDriftDetector)
    }
    assert theirs <= {name.replace("_", "") for name in detector_names()}


def test_an_unknown_name_is_answered_with_the_names() -> None:
    with pytest.raises(UnknownDetector, match="Did you mean page_hinkley"):
        make_detector("page_hinkly", false_alarm_every=1_000)
