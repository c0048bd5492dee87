"""The histogram monitor names what changed, stays silent while nothing does, and outlives whatever it is shown."""

from __future__ import annotations

import numpy as np
import pytest
from histogram_streams import ALL_INVALID, ALL_MISSING, ROWS, Feature, one_segment, watch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.histograms.monitor import HistogramMonitor
from penstock.monitoring.histograms.reference import fit_reference
from penstock.schemas.profile import SLOTS
from penstock.schemas.summaries import Signal, SignalCounts

Values = NDArray[np.float64]


def normal(seed: int, rows: int) -> Values:
    return np.random.default_rng(seed).normal(size=rows)


X = Feature("x", normal(1, 200 * ROWS))
CONSTANT = Feature("c", np.full(100 * ROWS, 3.25))
EMPTY = Feature("e", np.full(100 * ROWS, np.nan))


def segments(seed: int, count: int, feature: Feature = X) -> list[SignalCounts]:
    values = normal(seed, count * ROWS).reshape(count, ROWS)
    return [feature.counts(row) for row in values]


def run(monitor: HistogramMonitor, counts: list[SignalCounts], name: str = "feature:x") -> list[tuple[int, Alarm]]:
    return [
        (place, alarm)
        for place, one in enumerate(counts)
        for alarm in monitor.update({name: one}, rows=int(one.slots.sum()), time_ms=place)
    ]


def test_it_is_silent_while_nothing_changes() -> None:
    assert run(watch(X), segments(2, 400)) == []


def moved(values: Values) -> Values:
    return values + 0.5


def wider(values: Values) -> Values:
    return 2 * values


def two_humps(values: Values) -> Values:
    two: Values = np.sqrt(0.19) * values + 0.9 * np.sign(normal(9, len(values)))
    return two


def holes(values: Values) -> Values:
    return np.where(np.arange(len(values)) % 20 == 0, np.nan, values)


@pytest.mark.parametrize(
    ("change", "aspects", "within"),
    [(moved, {"location"}, 2), (wider, {"spread"}, 2), (two_humps, {"shape", "spread"}, 3), (holes, {"missing"}, 1)],
)
def test_it_says_what_changed(change: object, aspects: set[str], within: int) -> None:
    assert callable(change)
    monitor = watch(X)
    assert run(monitor, segments(3, 20)) == []
    changed = [X.counts(change(row)) for row in normal(4, within * ROWS).reshape(within, ROWS)]
    [(place, alarm)] = run(monitor, changed)[:1]
    assert (alarm.signal, alarm.family, alarm.detector) == ("feature:x", "data_drift", "ecusum")
    assert alarm.aspect in aspects
    assert alarm.statistic > alarm.threshold
    assert 0 < alarm.since <= (place + 2) * ROWS


def test_its_figures_are_of_the_rows_before_and_after() -> None:
    monitor = watch(X, segments_per_alarm=10_000)
    run(monitor, segments(3, 20))
    [(_, alarm)] = run(monitor, [X.counts(row) for row in (3 + normal(5, ROWS)).reshape(1, ROWS)])
    assert alarm.before["mean"] == pytest.approx(0, abs=0.02)
    assert alarm.before["deviation"] == pytest.approx(1, abs=0.02)
    assert alarm.after["mean"] == pytest.approx(3, abs=0.2)
    assert alarm.before["missing"] == alarm.after["missing"] == 0


def test_the_share_of_a_slot_comes_from_the_evidence_itself() -> None:
    monitor = watch(X)
    run(monitor, segments(3, 20))
    [(_, alarm)] = run(monitor, [X.counts(holes(row)) for row in normal(4, ROWS).reshape(1, ROWS)])
    assert alarm.after["share"] == pytest.approx(0.05, rel=1e-3)
    assert alarm.after["missing"] == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize(
    ("fault", "aspects"),
    [
        (ALL_MISSING, {"missing"}),
        (ALL_INVALID, {"invalid"}),
        (X.counts(1000 * normal(6, ROWS)), {"above", "below", "location", "spread"}),
        (X.counts(1000 + normal(6, ROWS)), {"above"}),
        (X.counts(-1000 + normal(6, ROWS)), {"below"}),
    ],
)
def test_a_fault_alarms_in_its_first_segment(fault: SignalCounts, aspects: set[str]) -> None:
    monitor = watch(X, segments_per_alarm=1e6)
    run(monitor, segments(3, 5))
    [(place, alarm)] = run(monitor, [fault])
    assert place == 0
    assert alarm.aspect in aspects


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1e30, -1e6])
def test_one_odd_value_is_no_drift(odd: float) -> None:
    monitor = watch(X)
    values = normal(7, 20 * ROWS)
    values[700] = odd
    assert run(monitor, [X.counts(row) for row in values.reshape(20, ROWS)]) == []


@pytest.mark.parametrize(("feature", "usual"), [(CONSTANT, 3.25), (EMPTY, np.nan)])
def test_a_feature_that_never_varied_is_watched_too(feature: Feature, usual: float) -> None:
    monitor, name = watch(feature), feature.signal.name
    assert run(monitor, [feature.counts(np.full(ROWS, usual))] * 100, name) == []
    assert len(run(monitor, [feature.counts(np.full(ROWS, 4.0))], name)) == 1


@pytest.mark.parametrize("count", [1, 3, 10, 30])
def test_a_short_reference_does_not_storm(count: int) -> None:
    feature = Feature("x", normal(11, count * ROWS))
    assert run(watch(feature), segments(12, 150, feature)) == []
    assert len(run(watch(feature), [ALL_MISSING])) == 1


def test_parts_of_any_size_count_by_their_rows() -> None:
    monitor, rows = watch(X), np.array([10, 1, 3, 250, 40, 0, 7] * 60)
    parts = np.split(normal(13, int(rows.sum())), rows.cumsum()[:-1])
    assert run(monitor, [X.counts(part) for part in parts]) == []
    late = run(monitor, [X.counts(0.5 + part) for part in parts[:60]])
    assert late[0][1].aspect == "location"


def test_after_an_alarm_that_signal_alone_gets_a_new_reference() -> None:
    other = Feature("y", normal(20, 200 * ROWS))
    monitor = watch(X, other)
    calm = normal(21, 900 * ROWS).reshape(900, ROWS)
    new = 1 + normal(22, 900 * ROWS).reshape(900, ROWS)
    alarms = [
        (place, alarm.signal)
        for place in range(900)
        for alarm in one_segment(monitor, (X, new[place]), (other, calm[place]))
    ]
    assert alarms == [(0, "feature:x")]
    again = one_segment(monitor, (X, 1 + new[0]), (other, calm[0]))
    assert [alarm.signal for alarm in again] == ["feature:x"]
    assert again[0].before["mean"] == pytest.approx(1, abs=0.02)


def test_after_a_fault_the_old_reference_serves_on() -> None:
    monitor = watch(X)
    assert [place for place, _ in run(monitor, [*[ALL_MISSING] * 12, *segments(23, 300)])] == [0]
    [(place, alarm)] = run(monitor, [ALL_MISSING])
    assert (place, alarm.before["missing"]) == (0, 0)
    assert len(monitor.snapshot()) < 4000


def test_values_are_news_to_a_feature_that_never_had_any() -> None:
    monitor = HistogramMonitor(
        {X.signal.name: X.signal}, {}, segments_per_alarm=1000, features=30, reference_segments=60
    )
    assert run(monitor, [ALL_MISSING] * 100) == []
    assert [place for place, _ in run(monitor, segments(24, 1))] == [0]


def test_without_a_reference_it_learns_one() -> None:
    signal = Signal("feature:colour", "categories", np.empty(0), values=("red", "blue"))
    monitor = HistogramMonitor({signal.name: signal}, {}, segments_per_alarm=1000, features=30, reference_segments=60)
    random = np.random.default_rng(5)

    def colours(red: float, other: float) -> SignalCounts:
        return SignalCounts(random.multinomial(ROWS, [red, 1 - red - other, other, 0.0]))

    assert run(monitor, [colours(0.5, 0.0) for _ in range(300)], signal.name) == []
    [(_, alarm)] = run(monitor, [colours(0.3, 0.0)], signal.name)
    assert alarm.aspect == "categories"
    assert set(alarm.before) - {"missing"} <= {"share of red", "share of blue"}
    assert run(monitor, [colours(0.3, 0.0) for _ in range(60)], signal.name) == []
    [(_, alarm)] = run(monitor, [colours(0.3, 0.1)], signal.name)
    assert alarm.aspect == "unseen"


def test_no_value_of_a_sensitive_signal_is_shown() -> None:
    signal = Signal("feature:colour", "categories", np.empty(0), values=("red", "blue"), sensitive=True)
    reference = fit_reference(np.array([[250, 250, 0, 0]] * 60), signal)
    monitor = HistogramMonitor({signal.name: signal}, {signal.name: reference}, segments_per_alarm=1000, features=1)
    [(_, alarm)] = run(monitor, [SignalCounts(np.array([100, 400, 0, 0]))], signal.name)
    assert sorted(alarm.after) == ["missing", "share"]


def test_the_strongest_of_several_comes_first() -> None:
    features = [Feature(f"f{place}", normal(30 + place, 200 * ROWS)) for place in range(4)]
    monitor = watch(*features)
    common = normal(40, ROWS)
    shifts = (0.4, 0.0, 0.9, 0.6)
    values = [
        (feature, np.sqrt(0.5) * (common + normal(50 + place, ROWS)) + shifts[place])
        for place, feature in enumerate(features)
    ]
    assert [alarm.signal for alarm in one_segment(monitor, *values)] == ["feature:f2", "feature:f3", "feature:f0"]


def test_a_budget_may_move_while_evidence_stays() -> None:
    changed = [X.counts(row) for row in 0.15 + normal(60, 4 * ROWS).reshape(4, ROWS)]
    strict, moved_late = watch(X, segments_per_alarm=1e12), watch(X, segments_per_alarm=1e12)
    assert run(strict, changed) == run(moved_late, changed[:3]) == []
    moved_late.set_budget(20, features=1)
    assert len(run(moved_late, changed[3:])) == 1


HISTORY = [
    *segments(70, 20),
    *[X.counts(row) for row in 0.7 + normal(71, 130 * ROWS).reshape(130, ROWS)],
    ALL_MISSING,
    *segments(72, 60),
    ALL_INVALID,
]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, len(HISTORY)), min_size=1, max_size=3))
def test_a_restart_anywhere_changes_no_alarm(restarts: list[int]) -> None:
    kept, restarted = watch(X), watch(X)
    expected = run(kept, HISTORY)
    assert len(expected) >= 3
    found = []
    for place, one in enumerate(HISTORY):
        if place in restarts:
            restarted = HistogramMonitor.restore(restarted.snapshot())
        found += [(place, alarm) for _, alarm in run(restarted, [one])]
    assert [(place, alarm) for place, alarm in found] == expected
    assert restarted.snapshot() == HistogramMonitor.restore(kept.snapshot()).snapshot()


def test_the_state_of_a_feature_is_small() -> None:
    features = [Feature(f"f{place}", normal(80 + place, 60 * ROWS)) for place in range(5)]
    monitor = watch(*features)
    for place in range(60):
        values = normal(90 + place, 5 * ROWS).reshape(5, ROWS)
        assert one_segment(monitor, *zip(features, values, strict=True)) == []
    assert len(monitor.snapshot()) / len(features) < 2500


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), min_size=SLOTS, max_size=SLOTS), min_size=1, max_size=8), st.data())
def test_it_lives_through_any_counts(rows: list[list[int]], data: st.DataObject) -> None:
    counts = [SignalCounts(np.array(row), finite=sum(row[:34])) for row in rows]
    signal = Signal("feature:x", "bins", X.signal.edges)
    reference = fit_reference(np.array(rows), signal) if data.draw(st.booleans()) else X.reference
    monitor = HistogramMonitor({signal.name: signal}, {signal.name: reference}, segments_per_alarm=1000, features=1)
    for _, alarm in run(monitor, counts * 3):
        assert np.isfinite([alarm.statistic, alarm.threshold, *alarm.before.values(), *alarm.after.values()]).all()
    HistogramMonitor.restore(monitor.snapshot())
