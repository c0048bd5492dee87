"""What the demo breaks, and what it says of it."""

from __future__ import annotations

import dataclasses
import io

import msgspec
import numpy as np
from rich.console import Console

from penstock.schemas.alerts import Alert, Cause
from penstock.streams.demo import screen
from penstock.streams.demo.costs import costs, fault_behind, first_alert, named_at
from penstock.streams.demo.faults import (
    FAULTS,
    MISSING_FEATURES,
    UNIT_CHANGE,
    with_unit_change,
    without_trailing_delays,
)
from penstock.streams.demo.flights import HOUR_MS, Flights, utc
from penstock.streams.demo.lookups import Lookups
from penstock.streams.demo.report import AlertFound, Latency, Month, Report, Stretches

HOUR = Cause(
    "out_of_range:hour", "data_drift", "out_of_range", "cusum", 9.0, {"out_of_range": 0}, {"out_of_range": 0.6}
)
WIND = Cause("feature:wind_gust", "data_drift", "missing", "ecusum", 20.0, {"missing": 0.5}, {"missing": 0.9})


def told(*causes: Cause, first: int, last: int | None = None, id: str = "drift-1", family: str = "data_drift") -> Alert:
    last = first if last is None else last
    return Alert(id, "raised", "warning", "", "flights", family, first, last, last, 1, list(causes))


def test_both_faults_begin_and_end_at_midnight_in_new_york() -> None:
    days = np.array(["2013-05-06", "2013-05-14", "2013-10-07", "2013-10-14"], "datetime64[m]").astype(np.int64)
    midnights = utc(days, "America/New_York").tolist()
    assert [time for each in FAULTS for time in (each.start, each.end)] == midnights


def test_the_unit_changes_for_eight_days_and_in_one_feature(year: Flights) -> None:
    spoilt = with_unit_change(year)
    affected = UNIT_CHANGE.affects(year.time)
    assert (spoilt.hour == np.where(affected, 60 * year.hour, year.hour)).all()
    assert set(year.month[affected].tolist()) == {5}
    for field in dataclasses.fields(Flights):
        if field.name != "hour":
            assert getattr(spoilt, field.name) is getattr(year, field.name)


def test_trailing_delays_are_missing_for_a_week_and_as_ever_before_and_after(year: Flights, lookups: Lookups) -> None:
    before, after = lookups.found(year), without_trailing_delays(lookups).found(year)
    affected = MISSING_FEATURES.affects(year.time)
    for entity in ("origin_delays", "carrier_delays"):
        (table, rows), (left, still) = before[entity], after[entity]
        assert (still[affected] == -1).all()
        keys = [np.append(each.keys, "none")[found[~affected]] for each, found in ((table, rows), (left, still))]
        assert (keys[0] == keys[1]).all()
    assert after["weather"][0] is before["weather"][0]


def test_the_first_alert_is_the_first_alarm_about_a_spoilt_feature() -> None:
    start = UNIT_CHANGE.start
    lives = {
        "drift-1": [
            told(WIND, first=start - 5 * HOUR_MS),
            told(WIND, first=start - 5 * HOUR_MS, last=start + 2 * HOUR_MS),
            told(WIND, HOUR, first=start - 5 * HOUR_MS, last=start + 7 * HOUR_MS),
        ],
        "drift-2": [told(HOUR, first=start + 9 * HOUR_MS, id="drift-2")],
        "drift-3": [told(HOUR, first=start - 9 * HOUR_MS, id="drift-3")],
    }
    found = first_alert(UNIT_CHANGE, lives)
    assert found is lives["drift-1"][2]
    assert named_at(UNIT_CHANGE, lives["drift-1"]) == start + 7 * HOUR_MS
    assert first_alert(MISSING_FEATURES, lives) is None


def test_an_alert_is_put_down_to_a_fault_by_its_features_or_as_what_follows() -> None:
    within, long_after = UNIT_CHANGE.start + HOUR_MS, UNIT_CHANGE.end + 20 * 24 * HOUR_MS
    errors = Cause("errors:champion", "concept_drift", "errors", "bernoulli_cusum", 9.0)
    assert fault_behind(told(HOUR, first=within)) is UNIT_CHANGE
    assert fault_behind(told(errors, first=within, family="concept_drift")) is UNIT_CHANGE
    assert fault_behind(told(WIND, first=within)) is None
    assert fault_behind(told(HOUR, first=long_after)) is None


def test_a_cost_is_the_difference_that_the_fault_made(year: Flights) -> None:
    flights = year.months(5, 5).thinned(5_000)
    rng = np.random.default_rng(3)
    unspoilt = np.clip(np.nan_to_num(flights.late) * 0.3 + rng.uniform(0, 0.6, len(flights)), 0.01, 0.99)
    affected = UNIT_CHANGE.affects(flights.time)
    served = np.where(affected, 0.6, unspoilt)
    seen = UNIT_CHANGE.start + 7 * HOUR_MS

    unit_change, missing = costs(flights, served, unspoilt, {"drift-1": [told(HOUR, first=seen)]})

    assert unit_change.flights == affected.sum()
    assert unit_change.auc == 0.5
    assert unit_change.wrong == (flights.late[affected & flights.labelled] == 0).sum()
    assert (unit_change.log_loss or 0) > (unit_change.without["log_loss"] or 0)
    assert unit_change.alert is not None
    assert unit_change.alert.cause == "hour: out of range 0 % → 60 %"
    assert (unit_change.alert.hours, unit_change.errors_hours) == (7.0, None)
    assert unit_change.alert.flights == (affected & (flights.time <= seen)).sum()
    assert (missing.flights, missing.auc, missing.alert) == (0, None, None)


def test_the_tables_fit_a_terminal_of_eighty_columns(year: Flights) -> None:
    flights = year.months(5, 5).thinned(500)
    scores = np.full(len(flights), 0.4)
    alert = told(HOUR, first=UNIT_CHANGE.start + HOUR_MS)
    alert = msgspec.structs.replace(alert, title="hour: out of range 0 % → 60 %, and \x1b[2J; scores follow")
    report = Report(
        1, 1, 0, 0, 0, 46_707.0, Latency(43.3, 365.8), {5: 0.7}, 21.0, {5: 0.6}, 0.7, 0.6,
        {5: Month(0.7, 0.5, 0.97, 1)}, alerts=[AlertFound.of([alert])],
        faults=costs(flights, scores, scores, {"drift-1": [alert]}),
    )  # fmt: skip
    console = Console(file=io.StringIO(), width=80, highlight=False)

    screen.show(console, report, Stretches(0, "last 10,000 events at 5,000/s"), bad=8)

    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, said.splitlines())) <= 80
    assert "unit change" in said
    assert "\x1b[2J" not in said
