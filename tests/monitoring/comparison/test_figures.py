"""The figures of a comparison are those of the rows themselves, as far as sums and bins can say them."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from paired_rows import candidate, paired_rows
from scipy.stats import spearmanr

from penstock.monitoring.comparison.compare import compare, compare_labelled
from penstock.monitoring.comparison.figures import figures, over_time, rank_correlation
from penstock.monitoring.config import LabelsConfig, RolloutConfig, Task
from penstock.schemas.comparison import ComparisonSummary, merge_comparison
from penstock.schemas.paired import CandidateScores

HOUR = 3_600_000
BINARY = LabelsConfig(slices=("origin",), bucket_s=3600.0)


def compared(
    served: list[float],
    *candidates: CandidateScores,
    labels: list[float] | None = None,
    origin: list[str] | None = None,
    config: LabelsConfig = BINARY,
    times: list[int] | None = None,
) -> ComparisonSummary:
    """Both comparisons of the same rows, merged."""
    block = paired_rows(
        served, *candidates, slices={"origin": origin or ["JFK"] * len(served)}, event_times=times,
    )  # fmt: skip
    known = np.full(len(served), np.nan) if labels is None else np.array(labels)
    at_once = compare(block, config, segment=0, part=0, complete=True, watermark=0)
    matured = compare_labelled(
        block, known, block.event_times, config, RolloutConfig(), segment=0, part=0, complete=True, watermark=0
    )
    return merge_comparison(at_once, matured)


def test_they_are_those_of_the_rows() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random(4000) < 0.3).astype(float)
    served = np.clip(0.3 + 0.3 * (labels - 0.3) + rng.normal(0, 0.2, 4000), 0.01, 0.99).astype(np.float32)
    tried = np.clip(served + rng.normal(0.02, 0.1, 4000), 0.01, 0.99).astype(np.float32)
    asked = rng.random(4000) < 0.5
    broken = rng.random(4000) < 0.01
    [found] = figures(
        compared(
            served.tolist(), candidate(np.where(broken, np.nan, tried).tolist(), sampled=asked, took_us=6000),
            labels=labels.tolist(),
        ),
        BINARY,
    )  # fmt: skip
    both = asked & ~broken
    p, q, y = served[both].astype(float), tried[both].astype(float), labels[both]
    every = found.every
    assert (found.candidate_model, found.served_model, found.task) == ("delay@4", "delay@3", "binary")
    assert every.rows == asked.sum()
    assert every.non_finite == pytest.approx((asked & broken).sum() / asked.sum())
    assert every.agreement == pytest.approx(np.mean((p >= 0.5) == (q >= 0.5)))
    assert every.served_yes == pytest.approx(np.mean(p >= 0.5))
    assert every.candidate_yes == pytest.approx(np.mean(q >= 0.5))
    assert every.difference == pytest.approx(np.mean(q - p))
    assert every.absolute == pytest.approx(np.mean(np.abs(q - p)))
    for share, found_quantile in every.quantiles.items():
        assert found_quantile == pytest.approx(np.quantile(q - p, float(share)), rel=0.34, abs=0.002)
    assert every.rank_correlation == pytest.approx(spearmanr(p, q).statistic, abs=0.01)
    assert every.labelled == both.sum()
    for metrics_of, scores in ((every.served, p), (every.candidate, q)):
        assert metrics_of["brier"] == pytest.approx(np.mean((scores - y) ** 2))
        assert metrics_of["accuracy"] == pytest.approx(np.mean((scores >= 0.5) == y))
        assert metrics_of["mean_score"] == pytest.approx(scores.mean())
        assert metrics_of["base_rate"] == pytest.approx(y.mean())
        pairs = scores[y == 1][:, None] - scores[y == 0][None, :]
        assert metrics_of["auc"] == pytest.approx(np.mean(pairs > 0) + np.mean(pairs == 0) / 2, abs=1e-3)
    assert every.change["brier"] == pytest.approx(np.mean((q - y) ** 2) - np.mean((p - y) ** 2))
    assert found.served_us == pytest.approx(200 / 4000)
    assert found.candidate_us == pytest.approx(6000 / asked.sum())


@given(st.integers(2, 400), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_the_rank_correlation_is_that_of_binned_scores(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 32, rows)
    b = np.where(rng.random(rows) < rng.random(), a, rng.integers(0, 32, rows))
    ranks = np.zeros((32, 32), np.int64)
    np.add.at(ranks, (a, b), 1)
    found = rank_correlation(ranks)
    if len(set(a.tolist())) == 1 or len(set(b.tolist())) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(a, b).statistic)


def test_each_candidate_and_each_champion_is_a_pair_of_its_own() -> None:
    first, second = candidate([0.1, 0.9, 0.8]), candidate([0.2, 0.3, 0.4], model="other@1", sampled=[True, True, False])
    block = paired_rows([0.1, 0.9, 0.5], first, second, models=["delay@3", "delay@3", "delay@2"])
    found = figures(compare(block, BINARY, segment=0, part=0, complete=True, watermark=0), BINARY)
    of = {(one.candidate_model, one.served_model): one.every.rows for one in found}
    assert of == {("delay@4", "delay@3"): 2, ("other@1", "delay@3"): 2, ("delay@4", "delay@2"): 1}


def test_slices_where_the_candidate_is_worst_come_first() -> None:
    good, bad = [0.9] * 40, [0.6] * 40
    served, tried = good + bad + [0.9], bad + good + [0.01]
    merged = compared(
        served, candidate(tried), labels=[1.0] * 81, origin=["JFK"] * 40 + ["LGA"] * 40 + ["EWR"],
    )  # fmt: skip
    [found] = figures(merged, BINARY)
    assert list(found.slices) == ["origin=EWR", "origin=JFK", "origin=LGA"]
    assert found.slices["origin=JFK"].change["log_loss"] == pytest.approx(math.log(0.9 / 0.6), rel=1e-6)


def test_before_labels_come_those_that_agree_least_come_first() -> None:
    merged = compared([0.9, 0.9, 0.9], candidate([0.8, 0.1, 0.1]), origin=["JFK", "LGA", "LGA"])
    [found] = figures(merged, BINARY)
    assert list(found.slices) == ["origin=LGA", "origin=JFK"]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_what_cannot_be_said_is_left_out_and_never_nan(task: Task, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 4))
    values = st.sampled_from([0.0, 0.25, 1.0, math.nan, math.inf, 3e38])
    drawn = st.lists(values, min_size=rows, max_size=rows)
    config = LabelsConfig(task)

    def several() -> NDArray[np.float32] | None:
        return np.random.default_rng(rows).random((rows, 3), np.float32) if task == "multiclass" else None

    block = paired_rows(data.draw(drawn), candidate(data.draw(drawn), scores=several()), scores=several())
    labels = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0, math.nan]), min_size=rows, max_size=rows)))
    merged = merge_comparison(
        compare(block, config, segment=0, part=0, complete=True, watermark=0),
        compare_labelled(
            block, labels, block.event_times, config, RolloutConfig(), segment=0, part=0, complete=True, watermark=0
        ),
    )
    for name, value in walk(msgspec.to_builtins(figures(merged, config))):
        assert math.isfinite(value), name


def walk(value: object, name: str = "") -> list[tuple[str, float]]:
    if isinstance(value, dict):
        return [each for key, inner in value.items() for each in walk(inner, f"{name}.{key}")]
    if isinstance(value, list | tuple):
        return [each for inner in value for each in walk(inner, name)]
    return [(name, value)] if isinstance(value, int | float) else []


def test_one_row_that_failed_says_only_that() -> None:
    [found] = figures(compared([0.5], candidate([math.nan])), BINARY)
    assert (found.every.rows, found.every.non_finite, found.every.agreement) == (1, 1.0, None)
    assert (found.every.quantiles, found.every.change) == ({}, {})


def test_over_time_each_bucket_stands_alone() -> None:
    merged = compared([0.9, 0.9, 0.9], candidate([0.9, 0.1, 0.1]), labels=[1, 1, 1], times=[0, HOUR, HOUR + 1])
    [one] = figures(merged, BINARY)
    assert one.buckets == (0, HOUR)
    buckets = over_time(merged, BINARY, ("delay@4", "delay@3"))
    assert [(start, of.rows, of.candidate["accuracy"]) for start, of in buckets] == [(0, 1, 1.0), (HOUR, 2, 0.0)]


def test_values_have_no_agreement() -> None:
    config = LabelsConfig("regression", slices=("origin",))
    [found] = figures(compared([10.0, -3.0], candidate([12.0, -5.0]), labels=[11.0, -3.0], config=config), config)
    every = found.every
    assert (every.agreement, every.candidate_yes, every.difference, every.absolute) == (None, None, 0.0, 2.0)
    assert every.change["mae"] == pytest.approx(1.0)
