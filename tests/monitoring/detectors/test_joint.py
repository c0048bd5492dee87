"""Joint drift: false alarms, what no single column shows, and rows that are not whole."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock.monitoring.detectors.joint import ConformalDistance


def alarms(detector: ConformalDistance, rows: NDArray[np.float64]) -> list[int]:
    found = []
    for number, row in enumerate(rows):
        detector.update(row)
        if detector.drift_detected:
            found.append(number)
    return found


@pytest.mark.parametrize("tail", ["normal", "heavy"])
def test_false_alarms_keep_to_the_budget(tail: str) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(20_000, 4)) if tail == "normal" else rng.standard_t(2, size=(20_000, 4))
    assert len(alarms(ConformalDistance(1_000), rows)) <= 20


def test_a_turned_correlation_is_found_and_its_columns_are_named() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(4_000, 5))
    rows[:, 3] = 0.95 * rows[:, 1] + 0.3 * rows[:, 3]
    rows[3_000:, 3] *= -1
    detector = ConformalDistance(100_000)
    number = 0
    while not detector.drift_detected:
        detector.update(rows[number])
        number += 1
    assert 3_000 <= number < 3_020
    assert set(np.argsort(detector.contributions)[-2:]) == {1, 3}
    assert detector.after["distance"] > 1.5 * detector.before["distance"]
    assert detector.since <= number - 2_990


def test_units_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(2_000, 3))
    rows[1_700:] *= 2.0
    scaled = rows * [1e-6, 1.0, 1e6] + [0.0, 5.0, 1e7]
    assert alarms(ConformalDistance(10_000), rows) == alarms(ConformalDistance(10_000), scaled)


def test_missing_numbers_are_imputed_and_counted() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(8_000, 3))
    rows[rng.random(rows.shape) < 0.1] = np.nan
    rows[::500, 1] = np.inf
    rows[7] = np.nan
    detector = ConformalDistance(10_000)
    assert alarms(detector, rows) == []
    whole = np.isfinite(rows).all(1)
    empty = ~np.isfinite(rows).any(1)
    assert detector.skipped == empty.sum() > 0
    assert detector.imputed == (~whole & ~empty).sum()


def test_one_outlier_is_silent_also_while_the_reference_is_learnt() -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(2_600, 3))
    rows[[100, 2_000]] = 1e300, -1e300, 1e300
    rows[2_500:] += 2.0
    found = alarms(ConformalDistance(10_000), rows)
    assert found[:1]
    assert 2_500 <= found[0] < 2_520


def test_a_constant_column_that_begins_to_vary_is_found() -> None:
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(2_000, 2))
    rows[:, 1] = 3.0
    rows[1_900:, 1] += rng.normal(size=100)
    assert 1_900 <= alarms(ConformalDistance(10_000), rows)[0] < 1_910


def test_rows_of_another_length_are_refused() -> None:
    detector = ConformalDistance()
    detector.update([1.0, 2.0])
    with pytest.raises(ValueError, match="a row of 3 numbers; expected 2"):
        detector.update([1.0, 2.0, 3.0])
