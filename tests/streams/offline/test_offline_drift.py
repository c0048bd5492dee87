"""`drift` over small tables with a change at a known row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from penstock.schemas.errors import ConfigurationError
from penstock.streams.offline.drift import DriftReport, drift

ROWS, REFERENCE, CHANGE = 8_000, 5_000, 7_000


def table(seed: int = 7, rows: int = ROWS) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(seed)
    return {
        "price": random.normal(40, 5, rows),
        "distance": random.gamma(2, 300, rows),
        "airport": random.choice(["JFK", "LGA", "EWR"], rows),
        "weekend": random.random(rows) < 2 / 7,
    }


def causes(report: DriftReport) -> dict[str, str]:
    return {cause.signal: cause.aspect for found in report.findings for cause in found.alert.causes}


def test_a_calm_table_has_no_alert() -> None:
    report = drift(table(), reference=REFERENCE)

    assert report.findings == []
    assert (report.rows, report.reference_rows, report.segment_rows) == (3_000, 5_000, 50)
    assert report.watched == ("price", "distance", "airport", "weekend")


def test_a_change_of_unit_is_told_in_its_segment_with_its_figures() -> None:
    changed = table()
    changed["distance"][CHANGE:] *= 1_000

    [found] = drift(changed, reference=REFERENCE).findings

    assert CHANGE < found.began <= found.row <= CHANGE + 50
    cause = found.alert.causes[0]
    assert cause.signal == "feature:distance"
    assert cause.after["mean"] > 2 * cause.before["mean"]


def test_a_feature_that_goes_missing_is_told_as_missing() -> None:
    changed = table()
    changed["price"][CHANGE:][::10] = np.nan

    [found] = drift(changed, reference=REFERENCE).findings

    assert found.alert.causes[0].signal == "feature:price"
    assert found.alert.causes[0].aspect == "missing"
    assert CHANGE < found.row <= CHANGE + 200


def test_a_category_that_was_never_seen_is_told() -> None:
    changed = table()
    changed["airport"][CHANGE:][::5] = "BOS"

    assert "feature:airport" in causes(drift(changed, reference=REFERENCE))


def test_errors_that_rise_are_told_at_their_row() -> None:
    changed = table()
    random = np.random.default_rng(1)
    label = random.random(ROWS) < 0.4
    wrong = random.random(ROWS) < np.where(np.arange(ROWS) < CHANGE, 0.1, 0.5)
    changed |= {"label": label, "prediction": label ^ wrong}

    report = drift(changed, reference=REFERENCE, label="label", prediction="prediction")

    [found] = [found for found in report.findings if found.alert.family == "concept_drift"]
    assert CHANGE < found.row <= CHANGE + 60
    assert abs(found.began - CHANGE) < 100
    assert found.alert.causes[0].after["errors"] > found.alert.causes[0].before["errors"]


def test_errors_of_values_are_told_too() -> None:
    changed = table()
    random = np.random.default_rng(1)
    noise = random.normal(0, np.where(np.arange(ROWS) < CHANGE, 1.0, 4.0))
    changed |= {"delay": changed["price"] + noise, "forecast": changed["price"]}

    report = drift(changed, reference=REFERENCE, label="delay", prediction="forecast")

    assert any(found.alert.family == "concept_drift" and found.row > CHANGE for found in report.findings)
    assert "forecast" in report.watched


def test_a_change_that_no_single_column_shows_is_told_at_its_row() -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=ROWS)
    y = np.where(np.arange(ROWS) < CHANGE, x, -x) + 0.3 * random.normal(size=ROWS)

    report = drift({"x": x, "y": y}, reference=REFERENCE)

    assert report.joint_by_row
    [found] = report.findings
    assert found.alert.family == "joint_drift"
    assert CHANGE < found.row <= CHANGE + 40


def test_rows_that_depend_on_each_other_are_not_judged_as_if_they_did_not() -> None:
    random = np.random.default_rng(3)
    walk = np.zeros((20_000, 2))
    for row in range(1, len(walk)):
        walk[row] = 0.9 * walk[row - 1] + random.normal(size=2)

    report = drift({"x": walk[:, 0], "y": walk[:, 1]}, reference=15_000)

    assert not report.joint_by_row
    assert report.findings == []


def test_a_season_is_expected_where_times_are_given() -> None:
    random = np.random.default_rng(4)
    minutes = np.arange(0, 28 * 24 * 60, 2)
    day = 2 * np.pi * minutes / (24 * 60)
    changed = {"time": 1_357_034_400 + 60 * minutes, "load": 3 * np.sin(day) + random.normal(size=len(minutes))}

    report = drift(changed, reference=len(minutes) // 2, time="time")

    assert report.findings == []
    assert report.watched == ("load",)


def test_a_table_of_its_own_can_be_the_reference() -> None:
    changed = table(seed=8, rows=2_000)
    changed["price"][1_500:] += 10

    [found] = drift(changed, reference=table(rows=5_000)).findings

    assert 1_500 < found.row <= 1_550


def test_a_column_that_the_reference_lacks_is_left_out() -> None:
    report = drift({**table(), "new": np.arange(ROWS) % 7}, reference=table())

    assert report.left_out == {"new": "the reference does not have it"}


def test_times_tell_a_burst_of_rows() -> None:
    seconds = np.arange(40_000)
    times = np.where(seconds < 35_000, seconds * 60, 35_000 * 60 + (seconds - 35_000) * 6)
    random = np.random.default_rng(5)
    changed = {"time": 1_357_034_400 + times + random.integers(0, 60, 40_000), "price": random.normal(size=40_000)}

    report = drift(changed, reference=30_000, time="time")

    assert {found.alert.family for found in report.findings} == {"volume"}


def test_one_outlier_of_any_kind_is_no_drift() -> None:
    changed = table()
    changed["price"][CHANGE : CHANGE + 3] = np.inf, 1e300, np.nan

    assert drift(changed, reference=REFERENCE).findings == []


def test_a_pandas_frame_and_an_arrow_table_say_the_same() -> None:
    changed = table()
    changed["price"][CHANGE:] += 10
    arrow = pa.table(changed)

    assert drift(arrow, reference=REFERENCE).findings == drift(arrow.to_pandas(), reference=REFERENCE).findings


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"reference": ROWS}, "reference is 8000 rows; expected fewer than its 8000"),
        ({"reference": 700}, "expected 800 or more"),
        ({"reference": REFERENCE, "segment_rows": 512}, "expected 16 to 100"),
        ({"reference": REFERENCE, "label": "paid", "prediction": "price"}, "label is 'paid'; expected one of"),
        ({"reference": REFERENCE, "label": "price"}, "prediction is missing or unknown; expected a column"),
        ({"reference": REFERENCE, "label": "price", "prediction": "airport"}, "expected both classes, or both numbers"),
        ({"reference": REFERENCE, "time": "airport"}, "expected timestamps, dates"),
        ({"reference": REFERENCE, "ignore": list(table())}, "columns is left out (all are ignored)"),
        ({"reference": REFERENCE, "ignore": ["id"]}, "ignore is 'id'; expected one of its columns"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        drift(table(), **asked)

    assert message in str(refused.value)
