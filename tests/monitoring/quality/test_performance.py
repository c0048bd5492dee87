"""Figures from sums: they are what the rows themselves give."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scored_rows import scored_rows

from penstock.monitoring.config import LabelsConfig, Task
from penstock.monitoring.quality.measure import measure
from penstock.monitoring.quality.performance import Performance, fairness, metrics
from penstock.schemas.quality import CorruptQuality, QualitySums

Values = NDArray[np.float64]


def sums_of(
    score: Values, label: Values, task: Task = "binary", scores: NDArray[np.float32] | None = None
) -> QualitySums:
    """By way of summaries of 5,000 rows each."""
    performance = Performance(task)
    for start in range(0, len(score), 5000):
        rows = slice(start, start + 5000)
        block = scored_rows(
            score[rows].tolist(), scores=None if scores is None else scores[rows], event_times=[0] * len(score[rows])
        )
        performance.add(
            measure(
                block, label[rows], block.event_times, LabelsConfig(task), segment=0, part=0, complete=True, watermark=0
            )
        )
    return performance.total("champion")


def every_pair(score: Values, label: Values) -> float:
    """The area under the curve from the ranks (Mann and Whitney), ties halved."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]
    yes = label == 1
    return float((rank[yes].sum() - yes.sum() * (yes.sum() + 1) / 2) / (yes.sum() * (~yes).sum()))


@pytest.mark.parametrize(
    ("shape", "within"), [((2, 3), 1e-5), ((1, 1), 1e-5), ((0.5, 8), 4e-5), ((30, 30), 4e-5), ((0.3, 60), 4e-4)]
)
def test_auc_from_bins_is_that_of_every_pair(shape: tuple[float, float], within: float) -> None:
    rng = np.random.default_rng(1)
    score = rng.beta(*shape, 60_000).astype(np.float32).astype(np.float64)
    label = (rng.random(60_000) < score).astype(np.float64)
    assert metrics(sums_of(score, label), "binary")["auc"] == pytest.approx(every_pair(score, label), abs=within)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_auc_of_few_scores_with_many_ties_is_exact(rows: list[tuple[float, bool]]) -> None:
    score, label = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    found = metrics(sums_of(score, label), "binary")
    if len(set(label)) == 1:
        assert "auc" not in found
    else:
        assert found["auc"] == pytest.approx(every_pair(score, label), abs=1e-12)


def test_binary_figures_are_those_of_their_formulas() -> None:
    rng = np.random.default_rng(2)
    score = rng.random(9_000).astype(np.float32).astype(np.float64)
    label = (rng.random(9_000) < score**2).astype(np.float64)
    p = np.clip(np.where(label == 1, score, 1 - score), 0.001, 0.999)
    decided, yes = score >= 0.5, label == 1
    expected = {
        "rows": 9000, "accuracy": (decided == yes).mean(), "log_loss": -np.log(p).mean(),
        "brier": ((score - label) ** 2).mean(), "base_rate": label.mean(), "mean_score": score.mean(),
        "bias": score.mean() - label.mean(), "selection_rate": decided.mean(), "precision": yes[decided].mean(),
        "true_positive_rate": decided[yes].mean(), "false_positive_rate": decided[~yes].mean(),
    }  # fmt: skip
    found = metrics(sums_of(score, label), "binary")
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_a_calibrated_model_has_a_small_calibration_error_and_another_has_its_bias() -> None:
    rng = np.random.default_rng(3)
    score = rng.random(50_000)
    label = (rng.random(50_000) < score).astype(np.float64)
    assert metrics(sums_of(score, label), "binary")["calibration_error"] < 0.01
    low = score * 0.5
    assert metrics(sums_of(low, label), "binary")["calibration_error"] == pytest.approx(0.25, abs=0.01)


def test_figures_of_classes_and_values() -> None:
    rng = np.random.default_rng(4)
    scores = rng.dirichlet((2, 1, 1), 500).astype(np.float32)
    label = rng.integers(0, 3, 500).astype(np.float64)
    found = metrics(sums_of(scores.max(1).astype(np.float64), label, "multiclass", scores), "multiclass")
    p = np.clip(scores[np.arange(500), label.astype(int)].astype(np.float64), 0.001, 0.999)
    expected = {"rows": 500, "accuracy": (scores.argmax(1) == label).mean(), "log_loss": -np.log(p).mean()}
    assert found == pytest.approx(expected, abs=1e-9)

    value, truth = (rng.normal(mean, 30, 700).astype(np.float32).astype(np.float64) for mean in (12, 10))
    found = metrics(sums_of(value, truth, "regression"), "regression")
    error = value - truth
    assert found == pytest.approx(
        {
            "rows": 700, "mae": np.abs(error).mean(), "bias": error.mean(), "rmse": math.sqrt((error**2).mean()),
            "mean_score": value.mean(), "mean_label": truth.mean(),
        }, abs=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_no_rows_have_no_figures(task: Task) -> None:
    assert metrics(QualitySums(), task) == {"rows": 0.0}


def group(rows: int, decided: int, positives: int, caught: int) -> QualitySums:
    """`correct`: the caught, and those who are neither."""
    return QualitySums(rows, caught + rows - positives - (decided - caught), positives, decided)


def test_gaps_name_their_groups() -> None:
    gaps = fairness({
        "a": group(1000, decided=500, positives=400, caught=300),
        "b": group(1000, decided=300, positives=400, caught=290),
        "c": group(1000, decided=400, positives=400, caught=120),
    })  # fmt: skip
    chosen, caught = gaps["selection_rate"], gaps["true_positive_rate"]
    assert (chosen.highest, chosen.lowest, round(chosen.gap, 9)) == ("a", "b", 0.2)
    assert (caught.highest, caught.lowest, caught.rates) == ("a", "c", (0.75, 0.3))
    assert chosen.standard_error == pytest.approx(math.sqrt(0.25 / 1000 + 0.21 / 1000), rel=0.01)
    assert 0.1 < chosen.at_least < 0.2


def test_small_groups_of_equal_people_do_not_cry_wolf() -> None:
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(400):
        rows = rng.integers(3, 200, 8)
        decided = rng.binomial(rows, 0.15)
        groups = {
            str(at): QualitySums(int(n), decided=int(k)) for at, (n, k) in enumerate(zip(rows, decided, strict=True))
        }
        alarms += fairness(groups)["selection_rate"].at_least > 0
    assert alarms <= 0.05 * 400


def test_one_group_has_no_gap() -> None:
    assert fairness({"a": group(10, 5, 5, 5), "b": QualitySums()}) == {}


def test_performance_answers_by_month_and_slice_and_survives_a_restart() -> None:
    march, april, april_too = 1362096000000, 1364774400000, 1364860800000
    performance = Performance("multiclass")
    for bucket, correct in ((april, 5), (march, 9), (april_too, 7)):
        performance.add_groups({
            (bucket, "champion", ""): QualitySums(rows=10, correct=correct),
            (bucket, "champion", "origin=JFK"): QualitySums(rows=4, correct=1),
            (bucket, "champion", "origin=…missing"): QualitySums(rows=4, correct=1),
        })  # fmt: skip
    restored = Performance.restore(performance.snapshot(), "multiclass")
    months = restored.over_time("champion", period="month")
    assert [(name, found["accuracy"]) for name, found in months] == [("2013-03", 0.9), ("2013-04", 0.6)]
    assert restored.slices("champion", "origin", since_ms=april) == {"JFK": QualitySums(rows=8, correct=2)}
    assert restored.total("champion", until_ms=april).rows == 10
    assert restored.variants == ["champion"]
    assert restored.snapshot() == performance.snapshot()


def test_old_buckets_go() -> None:
    performance = Performance("binary", buckets=3)
    for second in (5, 1, 4, 2, 3):
        performance.add_groups({(second * 1000, "champion", ""): QualitySums(rows=1)})
    assert len(performance.over_time("champion")) == 3
    assert performance.total("champion", until_ms=3000).rows == 0


def test_a_snapshot_that_is_none_is_named() -> None:
    with pytest.raises(CorruptQuality):
        Performance.restore(b"nonsense", "binary")
