"""The rate of errors: false alarms, rises of every size, falls, segments."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from river.base import BinaryDriftDetector

from penstock.monitoring.detectors.errors import BernoulliCUSUM


def errors(seed: int, *stretches: tuple[int, float]) -> NDArray[np.bool_]:
    """Rows at a rate, then rows at another."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.random(rows) < rate for rows, rate in stretches])


def alarms(detector: BernoulliCUSUM, stream: NDArray[np.bool_]) -> list[int]:
    found = []
    for row, error in enumerate(stream.tolist()):
        detector.update(error)
        if detector.drift_detected:
            found.append(row)
    return found


def test_a_user_of_river_may_take_it_for_rivers() -> None:
    assert isinstance(BernoulliCUSUM(), BinaryDriftDetector)


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5])
def test_false_alarms_keep_to_the_budget(rate: float) -> None:
    assert len(alarms(BernoulliCUSUM(1_000), errors(1, (60_000, rate)))) <= 60


@pytest.mark.parametrize(("rows", "errors"), [(1, 1), (15, 15), (512, 512), (512, 511), (512, 0)])
def test_what_always_was_so_is_no_rise(rows: int, errors: int) -> None:
    detector = BernoulliCUSUM(1e5)
    for _ in range(20_000 // rows + 20):
        detector.update_counts(rows, errors)
        assert not detector.drift_detected


@pytest.mark.parametrize(("before", "after", "within"), [(0.1, 0.9, 40), (0.1, 0.2, 800), (0.02, 0.04, 5_000)])
def test_a_rise_is_found_and_described(before: float, after: float, within: int) -> None:
    detector = BernoulliCUSUM(1e6)
    assert alarms(detector, errors(2, (15_000, before))) == []
    for row, error in enumerate(errors(3, (within, after)).tolist()):
        detector.update(error)
        if detector.drift_detected:
            assert detector.before["rate"] == pytest.approx(before, abs=0.02)
            assert detector.after["rate"] == pytest.approx(after, rel=0.3)
            assert abs(detector.since - row) <= within / 2
            return
    pytest.fail(f"not found within {within} rows")


def test_a_fall_is_no_alarm_but_the_new_baseline() -> None:
    detector = BernoulliCUSUM(1e6)
    assert alarms(detector, errors(4, (10_000, 0.4), (3_000, 0.05))) == []
    assert alarms(detector, errors(5, (400, 0.2)))


def test_a_slow_rise_does_not_hide_in_its_own_baseline() -> None:
    rng = np.random.default_rng(6)
    rates = np.concatenate([np.full(10_000, 0.1), np.linspace(0.1, 0.3, 4_000)])
    assert alarms(BernoulliCUSUM(1e6), rng.random(len(rates)) < rates)


@pytest.mark.parametrize("rows", [50, 512])
def test_segments_are_found_no_later_than_the_end_of_the_second(rows: int) -> None:
    detector = BernoulliCUSUM(1e6)
    stream = errors(7, (40 * rows, 0.1), (40 * rows, 0.5)).reshape(-1, rows)
    found = []
    for segment, part in enumerate(stream):
        detector.update_counts(rows, int(part.sum()))
        if detector.drift_detected:
            found.append(segment)
    assert found[0] in (40, 41)
    assert found[1:] == []


def test_a_run_of_rows_weighs_as_much_as_its_rows() -> None:
    one, many = BernoulliCUSUM(1e6), BernoulliCUSUM(1e6)
    for detector in (one, many):
        detector.update_counts(1_000, 100)
    many.update_counts(3, 3)
    for _ in range(3):
        one.update(True)
    assert 0.0 < one.statistic < one.threshold
    assert one.statistic == pytest.approx(many.statistic)


def test_more_errors_than_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="3 errors in 2 rows"):
        BernoulliCUSUM().update_counts(2, 3)


def test_the_budget_may_move_while_it_runs() -> None:
    detector = BernoulliCUSUM(1e6)
    strict = detector.threshold
    detector.false_alarm_every = 1e3
    assert detector.threshold == pytest.approx(strict - np.log(1e3))


def wandering(seed: int, segments: int, rows: int = 512) -> list[int]:
    """Errors per segment at a rate of about 20 % that has good and bad segments, and good and bad times."""
    rng = np.random.default_rng(seed)
    mood, rates = 0.0, []
    for _ in range(segments):
        mood = 0.8 * mood + rng.normal(0, 0.12)
        rates.append(1.0 / (1.0 + np.exp(1.4 - mood - rng.normal(0, 0.2))))
    return [int(count) for count in rng.binomial(rows, rates)]


def test_counts_that_vary_more_than_chance_keep_to_the_budget() -> None:
    detector, found = BernoulliCUSUM(512 * 500), 0
    for count in wandering(8, 3_000):
        detector.update_counts(512, count)
        found += detector.drift_detected
    assert found <= 6


def test_what_is_known_of_their_variation_survives_a_restart() -> None:
    counts = [*wandering(9, 300), *[250] * 20]
    detector = BernoulliCUSUM(512 * 500)
    for count in counts[:150]:
        detector.update_counts(512, count)
    restored = BernoulliCUSUM.restore(detector.snapshot())
    for count in counts[150:]:
        for each in (detector, restored):
            each.update_counts(512, count)
        assert restored.snapshot() == detector.snapshot()
        assert restored.drift_detected == detector.drift_detected
