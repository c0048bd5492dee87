"""The sentence of an alert, for every kind of trouble."""

from __future__ import annotations

import pytest

from penstock.monitoring.alerts.titles import cause_text
from penstock.schemas.alerts import Cause

Figures = dict[str, float]


@pytest.mark.parametrize(
    ("signal", "aspect", "before", "after", "said"),
    [
        (
            "feature:distance",
            "location",
            {"mean": 1040},
            {"mean": 1_040_000},
            "distance: mean 1,040 → 1,040,000 (location)",
        ),
        ("feature:wind", "spread", {"deviation": 3.1}, {"deviation": 12}, "wind: deviation 3.1 → 12 (spread)"),
        ("feature:wind", "missing", {"missing": 0.01}, {"missing": 0.3}, "wind: missing 1 % → 30 %"),
        ("feature:wind", "invalid", {"share": 0, "mean": 1}, {"share": 0.02, "mean": 1}, "wind: invalid 0 % → 2 %"),
        ("feature:carrier", "unseen", {"share": 0.001}, {"share": 0.2}, "carrier: unseen categories 0.1 % → 20 %"),
        (
            "feature:carrier",
            "categories",
            {"missing": 0, "share of UA": 0.2},
            {"missing": 0, "share of UA": 0.5},
            "carrier: UA in 20 % → 50 % of rows (categories)",
        ),
        (
            "feature:wind",
            "above",
            {"mean": 10, "deviation": 3, "share": 0},
            {"mean": 10.5, "deviation": 4, "share": 0.04},
            "wind: above the usual range 0 % → 4 %",
        ),
        (
            "feature:wind",
            "above",
            {"mean": 10, "deviation": 3, "share": 0},
            {"mean": 10_000, "deviation": 3e3, "share": 1},
            "wind: mean 10 → 10,000 (above the usual range)",
        ),
        (
            "feature:wind",
            "shape",
            {"mean": 10, "deviation": 3, "share of 15 to 22": 0.03},
            {"mean": 10.1, "deviation": 3, "share of 15 to 22": 0.14},
            "wind: 15 to 22 in 3 % → 14 % of rows (shape)",
        ),
        (
            "feature:wind",
            "shape",
            {"mean": 10, "deviation": 3, "share of 15 to 22": 0.03},
            {"mean": 12, "deviation": 3, "share of 15 to 22": 0.14},
            "wind: mean 10 → 12 (shape)",
        ),
        ("defaulted:wind", "missing", {"missing": 0}, {"missing": 0.5}, "wind: missing 0 % → 50 %"),
        (
            "out_of_range:wind",
            "out_of_range",
            {"out_of_range": 0},
            {"out_of_range": 0.5},
            "wind: out of range 0 % → 50 %",
        ),
        ("bad_time", "rate", {"rate": 0}, {"rate": 0.5}, "events dated in the future: rate 0 % → 50 %"),
        ("errors:champion", "errors", {"errors": 0.2}, {"errors": 0.35}, "errors of champion: 20 % → 35 %"),
        ("auc:champion", "below", {"auc": 0.81}, {"auc": 0.66}, "auc of champion: 0.81 → 0.66"),
        (
            "dead_letters:score",
            "rate",
            {},
            {"share": 0.03, "limit": 0.01, "workers": 1},
            "dead letters of score: 3 % (limit 1 %)",
        ),
        ("redis:score", "fault", {}, {"share": 0.4, "limit": 0.1}, "Redis does not answer score: 40 % (limit 10 %)"),
        ("silent:score", "fault", {}, {"s": 75, "limit": 60, "partitions": 2}, "no word from score: 75 s (limit 60 s)"),
        ("label_age:watch", "above", {}, {"s": 180_000, "limit": 172_800}, "no label reaches watch: 50 h (limit 48 h)"),
        (
            "non_finite:score",
            "fault",
            {},
            {"outputs": 3, "limit": 1},
            "outputs that are not finite, in score: 3 (limit 1)",
        ),
        (
            "feature:wind",
            "shape",
            {"missing": 0.0, "mean": 10.0, "deviation": 5.0},
            {"missing": 0.0, "mean": 10.1, "deviation": 2.5},
            "wind: deviation 5 → 2.5 (shape)",
        ),
        ("feature:ssn", "categories", {}, {}, "ssn: categories changed"),
        ("score:champion", "fault", {}, {}, "scores of champion: fault"),
    ],
)
def test_a_cause_says_what_went_from_where_to_where(
    signal: str, aspect: str, before: Figures, after: Figures, said: str
) -> None:
    assert cause_text(Cause(signal, "", aspect, "ecusum", 1.0, before, after)) == said
