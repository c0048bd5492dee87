"""A night on call: what a person is told, and what they are spared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.alerts.book import AlertBook, Position
from penstock.monitoring.config import AlertsConfig
from penstock.schemas.alerts import Alert

MINUTE = 60_000
CONFIG = AlertsConfig(clear_after=10, clear_after_s=600.0, cool_down_s=3600.0, remind_s=1800.0)


def moved(feature: str, before: float, after: float, *, strength: float = 3.0) -> Alarm:
    return Alarm(
        "data_drift",
        f"feature:{feature}",
        "ecusum",
        "location",
        12.0 + strength,
        12.0,
        {"mean": before},
        {"mean": after},
    )


def gone(feature: str) -> Alarm:
    return Alarm(
        "data_drift", f"feature:{feature}", "ecusum", "missing", 90.0, 12.0, {"missing": 0.01}, {"missing": 1.0}
    )


SCORES = Alarm("score_drift", "score:champion", "ecusum", "location", 20.0, 12.0, {"mean": 0.2}, {"mean": 0.4})
ERRORS = Alarm("concept_drift", "errors:champion", "bernoulli", "errors", 9.0, 8.0, {"errors": 0.2}, {"errors": 0.35})
AUC = Alarm("quality", "auc:champion", "ecusum", "below", 9.0, 8.0, {"auc": 0.81}, {"auc": 0.66})
NOT_FINITE = Alarm("numerics", "score:champion", "rate", "fault", 9.0, 8.0, {"invalid": 0.0}, {"invalid": 0.02})


class Night:
    """A judge that sees one segment a minute, and writes down what people would be told."""

    def __init__(self, config: AlertsConfig = CONFIG, sensitive: tuple[str, ...] = ()) -> None:
        self.book = AlertBook(config, pipeline="flights", sensitive=sensitive)
        self.minute = 0
        self.told: list[Alert] = []

    def segment(self, *alarms: Alarm, model: str = "delay@3") -> list[Alert]:
        first = 512 * self.minute
        position = Position(0, self.minute, first, first + 511, self.minute * MINUTE, model, 7, ("AA1", "UA2"))
        told = self.book.observe(alarms, position=position)
        self.minute += 1
        self.told += told
        return told

    def quiet(self, segments: int) -> list[Alert]:
        return [alert for _ in range(segments) for alert in self.segment()]


@pytest.fixture
def night() -> Night:
    return Night()


def states(alerts: list[Alert]) -> list[str]:
    return [alert.state for alert in alerts]


def test_a_unit_change_is_one_alert_that_names_what_explains_the_rest(night: Night) -> None:
    night.quiet(3)
    [raised] = night.segment(moved("distance", 1040.0, 1_040_000.0, strength=9.0))
    assert (raised.state, raised.severity, raised.family) == ("raised", "warning", "data_drift")
    assert raised.title == "distance: mean 1,040 → 1,040,000 (location)"
    assert raised.evidence is not None
    assert (raised.evidence.first_offset, raised.evidence.last_offset, raised.evidence.ids) == (
        1536,
        2047,
        ["AA1", "UA2"],
    )

    assert night.segment(moved("duration", 100.0, 180.0)) == []
    assert night.segment(SCORES) == []
    [ongoing] = night.quiet(3)
    assert (ongoing.id, ongoing.state, ongoing.count) == (raised.id, "ongoing", 3)
    assert ongoing.title == "distance: mean 1,040 → 1,040,000 (location), and duration; scores follow"
    assert [cause.signal for cause in ongoing.causes] == ["feature:distance", "score:champion", "feature:duration"]
    assert (ongoing.first_seen, ongoing.last_seen) == (3 * MINUTE, 5 * MINUTE)

    [cleared] = night.quiet(20)
    assert (cleared.id, cleared.state, cleared.time) == (raised.id, "cleared", 15 * MINUTE)


def test_scores_that_move_first_are_explained_by_the_feature_that_follows(night: Night) -> None:
    [raised] = night.segment(SCORES)
    assert (raised.family, raised.title) == ("score_drift", "scores of champion: mean 0.2 → 0.4 (location)")
    night.segment(moved("distance", 1040.0, 1620.0))
    [ongoing] = night.quiet(5)
    assert (ongoing.id, ongoing.family) == (raised.id, "data_drift")
    assert ongoing.title == "distance: mean 1,040 → 1,620 (location); scores follow"


def test_errors_and_the_metrics_they_make_worse_are_one_alert_and_drift_is_another(night: Night) -> None:
    drift, quality = night.segment(AUC, ERRORS, moved("distance", 1.0, 2.0))
    assert (drift.family, quality.family) == ("data_drift", "concept_drift")
    assert quality.title == "errors of champion: 20 % → 35 %, and auc of champion"


def test_another_model_has_alerts_of_its_own(night: Night) -> None:
    [third], [fourth] = night.segment(SCORES), night.segment(SCORES, model="delay@4")
    assert third.id != fourth.id
    assert (third.model, fourth.model) == ("delay@3", "delay@4")


def test_a_feature_that_goes_missing_is_critical_at_once_even_in_an_alert_that_somebody_has(night: Night) -> None:
    [raised] = night.segment(moved("wind", 10.0, 14.0))
    [taken] = night.book.acknowledge(raised.id, "ada@lab", "storm, as forecast")
    assert (taken.state, taken.acknowledged_by, taken.note) == ("acknowledged", "ada@lab", "storm, as forecast")
    assert not taken.wakes
    [worse] = night.segment(gone("visibility"))
    assert (worse.id, worse.state, worse.severity) == (raised.id, "ongoing", "critical")
    assert worse.wakes
    assert worse.acknowledged_by is None
    assert worse.title == "visibility: missing 1 % → 100 %, and wind"


def test_an_acknowledged_alert_is_silent_until_it_is_cleared(night: Night) -> None:
    [raised] = night.segment(moved("wind", 10.0, 14.0))
    night.book.acknowledge(raised.id, "ada@lab")
    assert night.book.acknowledge(raised.id, "ada@lab") == []
    for _ in range(40):
        night.segment(moved("wind", 10.0, 14.0), moved("gust", 12.0, 19.0))
    assert set(states(night.told[1:])) == {"acknowledged"}
    [cleared] = night.quiet(10)
    assert (cleared.state, cleared.acknowledged_by, cleared.wakes) == ("cleared", "ada@lab", True)


def test_what_is_not_open_cannot_be_acknowledged(night: Night) -> None:
    assert night.book.acknowledge("drift-0000000000", "ada@lab") == []


def test_a_fault_that_goes_on_is_told_once_and_then_twice_an_hour(night: Night) -> None:
    for _ in range(121):
        night.segment(NOT_FINITE)
    assert states(night.told) == ["raised", "ongoing", "ongoing", "ongoing", "ongoing"]
    assert [alert.time // MINUTE for alert in night.told] == [0, 30, 60, 90, 120]
    assert night.told[-1].count == 121
    assert night.told[0].severity == "critical"


def test_an_alert_is_not_over_in_a_blink_where_segments_pass_quickly() -> None:
    night = Night(replace(CONFIG, clear_after=2, clear_after_s=300.0))
    night.segment(moved("wind", 10.0, 14.0))
    assert night.quiet(4) == []
    assert states(night.quiet(1)) == ["cleared"]


def test_ever_more_causes_are_told_ever_more_rarely(night: Night) -> None:
    for number in range(60):
        night.segment(moved(f"x{number}", 1.0, 2.0))
    assert [alert.time // MINUTE for alert in night.told] == [0, 5, 15, 25, 35, 45, 55]
    assert night.told[-1].title == "x0: mean 1 → 2 (location), and 55 more"
    assert (len(night.told[-1].causes), night.told[-1].more_causes) == (20, 36)


def test_values_that_come_back_are_said_to_be_back(night: Night) -> None:
    night.segment(moved("distance", 1040.0, 1_040_000.0))
    night.segment(moved("distance", 1_040_000.0, 1043.0))
    [cleared] = night.quiet(10)
    assert cleared.title == "distance: mean back at 1,043 after 1,040,000 (location)"


def test_in_its_cool_down_the_same_signal_wakes_nobody_but_another_does(night: Night) -> None:
    [raised] = night.segment(moved("wind", 10.0, 14.0))
    night.quiet(10)
    [silent] = night.segment(moved("wind", 10.0, 14.0))
    assert (silent.state, silent.suppressed) == ("raised", f"cool-down after {raised.id}")
    assert not silent.wakes
    [loud] = night.segment(moved("gust", 12.0, 19.0))
    assert (loud.id, loud.state, loud.suppressed) == (silent.id, "raised", None)


def test_in_its_cool_down_a_signal_that_got_worse_wakes_people(night: Night) -> None:
    night.segment(moved("wind", 10.0, 14.0))
    night.quiet(10)
    [raised] = night.segment(gone("wind"))
    assert (raised.severity, raised.suppressed) == ("critical", None)


def test_a_flapping_signal_is_told_once_per_cool_down(night: Night) -> None:
    for _ in range(20):
        night.segment(moved("wind", 10.0, 14.0))
        night.quiet(11)
    raised = [alert for alert in night.told if alert.state == "raised" and alert.wakes]
    assert [alert.time // MINUTE for alert in raised] == [0, 72, 144, 216]


def test_a_rollout_stage_keeps_moving_scores_silent_and_nothing_else(night: Night) -> None:
    night.book.suppress("canary of delay@4, 10 %")
    [silent] = night.segment(SCORES)
    assert (silent.suppressed, silent.wakes) == ("canary of delay@4, 10 %", False)
    [fault] = night.segment(NOT_FINITE)
    assert fault.wakes
    [loud] = night.segment(moved("distance", 1.0, 2.0))
    assert (loud.id, loud.state, loud.wakes) == (silent.id, "raised", True)


def test_after_a_rollout_stage_only_a_new_alarm_wakes_people(night: Night) -> None:
    night.book.suppress("canary of delay@4, 10 %")
    night.segment(SCORES)
    night.book.resume()
    assert night.quiet(3) == []
    [loud] = night.segment(SCORES)
    assert (loud.state, loud.wakes, loud.count) == ("raised", True, 2)


def test_a_stage_may_end_by_itself(night: Night) -> None:
    night.book.suppress("canary of delay@4, 10 %", until=2 * MINUTE)
    assert [night.segment(SCORES)[0].wakes, night.segment(), night.segment(SCORES)[0].wakes] == [False, [], True]


def test_two_of_three_segments_confirm_a_cause_and_faults_need_no_confirmation() -> None:
    night = Night(replace(CONFIG, confirm=(2, 3)))
    wind = moved("wind", 10.0, 14.0)
    assert night.segment(wind, wind) == []  # two detectors that see one segment are one witness
    assert night.quiet(2) == []
    assert night.segment(wind) == []
    assert night.segment() == []
    [raised] = night.segment(wind)
    assert (raised.count, raised.first_seen, raised.last_seen) == (2, 3 * MINUTE, 5 * MINUTE)
    assert states(night.segment(NOT_FINITE)) == ["raised"]
    sure = Night(replace(CONFIG, confirm=(2, 3)))
    assert states(sure.segment(moved("wind", 10.0, 900.0, strength=100.0))) == ["raised"]


@pytest.mark.parametrize(
    ("alarm", "overrides", "severity"),
    [
        (moved("wind", 1.0, 2.0), {}, "warning"),
        (moved("wind", 1.0, 2000.0, strength=400.0), {}, "critical"),
        (gone("wind"), {}, "critical"),
        (NOT_FINITE, {}, "critical"),
        (Alarm("quality", "auc:champion", "ecusum", "above", 9.0, 8.0), {}, "info"),
        (AUC, {}, "warning"),
        (AUC, {"quality": "critical"}, "critical"),
        (gone("wind"), {"data_drift": "info"}, "info"),
    ],
)
def test_severity(alarm: Alarm, overrides: Mapping[str, str], severity: str) -> None:
    [raised] = Night(replace(CONFIG, severity=dict(overrides))).segment(alarm)
    assert raised.severity == severity


def test_a_sensitive_feature_has_a_name_and_no_figures() -> None:
    night = Night(sensitive=("income", "sex"))
    gap = Alarm("fairness", "gap", "ecusum", "above", 9.0, 8.0, {"gap": 0.02}, {"gap": 0.2}, slice="sex=female")
    drift, fairness = night.segment(moved("income", 41_234.0, 65_432.0), gap)
    assert drift.title == "income: location changed"
    assert (drift.causes[0].before, drift.causes[0].after) == ({}, {})
    assert fairness.causes[0].slice == "sex=(not shown)"
    assert not any(secret in repr(night.book.snapshot()) for secret in ("female", "41234", "65432"))
