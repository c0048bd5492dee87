"""Quality summaries: they say what a loop over the rows says, and merge exactly."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scored_rows import scored_rows

from penstock.monitoring.config import LabelsConfig, Task
from penstock.monitoring.quality.measure import measure
from penstock.monitoring.quality.slices import Slices
from penstock.schemas.quality import QualitySummary, QualitySums, merge_quality
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.summaries import FIXED_POINT

MATURITY_MS, BUCKET_MS = 50, 100
ORIGINS = ("JFK", "LGA", None)


class Rows:
    """Scored rows, and the labels that are known of them."""

    def __init__(self, block: ScoredBlock, labels: NDArray[np.float64], times: NDArray[np.int64]) -> None:
        self.block, self.labels, self.times = block, labels, times

    def measure(self, config: LabelsConfig, slices: Slices, rows: slice = slice(None)) -> QualitySummary:
        return measure(
            self.block.take(rows), self.labels[rows], self.times[rows], config, segment=3, part=0, complete=True,
            watermark=9, slices=slices,
        )  # fmt: skip


@st.composite
def rows_of(draw: st.DrawFn, task: Task) -> Rows:
    count = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    times = rng.integers(-250, 250, count)
    delays = rng.integers(-20, 80, count)
    scores = rng.dirichlet((1, 1, 1), count).astype(np.float32) if task == "multiclass" else None
    if task == "regression":
        score, labels = rng.normal(0, 10.0 ** rng.integers(-3, 9), (2, count))
    else:
        score = rng.choice([0.0, 0.5, 1.0, rng.random()], count)
        labels = rng.choice([0.0, 1.0, 2.0 if task == "multiclass" else 1.0, 7.0], count, p=[0.3, 0.3, 0.3, 0.1])
    block = scored_rows(
        score.tolist(), scores=scores, event_times=times.tolist(), first_offset=500,
        variants=rng.choice(["champion", "canary"], count).tolist(),
        categories={"origin": [ORIGINS[at] for at in rng.integers(0, 3, count)]},
        integers={"night": [(0, 1, None)[at] for at in rng.integers(0, 3, count)]},
    )  # fmt: skip
    labels = np.where(rng.random(count) < 0.3, np.nan, labels.astype(np.float32).astype(np.float64))
    return Rows(block, labels, times + delays)


def config_of(task: Task, silence: float | None = None) -> LabelsConfig:
    return LabelsConfig(
        task, MATURITY_MS / 1000, silence=silence, threshold=0.5, bucket_s=BUCKET_MS / 1000, slices=("origin", "night")
    )


def known_slices() -> Slices:
    return Slices({"origin": ["LGA", "JFK"], "night": ["0"]})


def plain(value: Any) -> Any:
    """A summary as something that `==` compares."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def fixed(value: float) -> int:
    return round(value * FIXED_POINT)


def outcome(task: Task, row: int, rows: Rows, label: float) -> dict[str, int]:
    """What one row adds to the sums of its groups."""
    score = float(rows.block.score[row])
    if task == "regression":
        error = score - label
        squared = min(abs(error), 2.0**18) * min(abs(error), 2.0**18)
        return {
            "rows": 1, "squared_error": fixed(squared), "absolute_error": fixed(abs(error)), "score": fixed(score),
            "label": fixed(label),
        }  # fmt: skip
    if rows.block.scores is not None:
        vector = rows.block.scores[row]
        loss = -math.log(min(max(float(vector[int(label)]), 0.001), 0.999))
        return {"rows": 1, "correct": int(max(range(3), key=lambda at: vector[at]) == label), "log_loss": fixed(loss)}
    decided = score >= 0.5
    probability = score if label else 1 - score
    return {
        "rows": 1, "correct": int(decided == bool(label)), "positives": int(label), "decided": int(decided),
        "log_loss": fixed(-math.log(min(max(probability, 0.001), 0.999))), "squared_error": fixed((score - label) ** 2),
        "absolute_error": fixed(abs(score - label)), "score": fixed(score), "label": fixed(label),
        "true_positives": int(decided and bool(label)),
    }  # fmt: skip


@pytest.mark.parametrize("silence", [None, 0.0])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_it_says_what_a_loop_over_the_rows_says(task: Task, silence: float | None, data: st.DataObject) -> None:
    rows = data.draw(rows_of(task))
    found = rows.measure(config_of(task, silence), known_slices())
    counts: dict[str, int] = dict.fromkeys(("labelled", "silent", "missing", "invalid", "late"), 0)
    groups: defaultdict[Any, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    valid = {"binary": (0, 1), "multiclass": (0, 1, 2)}
    for row in range(rows.block.rows):
        label, time = float(rows.labels[row]), int(rows.block.event_times[row])
        has_label = not math.isnan(label)
        late = has_label and rows.times[row] - time > MATURITY_MS
        counts["late"] += late
        silent = (not has_label or late) and silence is not None
        if (not has_label or late) and silence is None:
            counts["missing"] += 1
            continue
        label = 0.0 if silent else label
        if task in valid and label not in valid[task]:
            counts["invalid"] += 1
            continue
        counts["silent" if silent else "labelled"] += 1
        variant = rows.block.variants.decoded()[row]
        origin = rows.block.columns.categories[0].decoded()[row]
        night = int(rows.block.columns.integers[row, 0])
        for name in (
            "",
            f"origin={origin or '…missing'}",
            "night=" + {0: "0", 1: "1"}.get(night, "…missing"),
        ):
            sums = groups[time // BUCKET_MS * BUCKET_MS, variant, name]
            for field, value in outcome(task, row, rows, label).items():
                sums[field] += value
    assert {name: getattr(found, name) for name in counts} == counts
    assert found.rows == sum(counts.values()) - counts["late"]
    assert found.groups.keys() == groups.keys()
    for group, sums in groups.items():
        for field, value in sums.items():
            assert abs(getattr(found.groups[group], field) - value) <= (sums["rows"] if value > 2**20 else 0), field


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_parts_merge_to_the_whole_bit_by_bit(task: Task, data: st.DataObject) -> None:
    rows = data.draw(rows_of(task))
    cut = data.draw(st.integers(0, rows.block.rows))
    config, slices = config_of(task), Slices({"origin": ["LGA", "JFK"], "night": ["0", "1"]})
    parts = [
        rows.measure(config, slices, part) for part in (slice(0, cut), slice(cut, None)) if rows.block.take(part).rows
    ]
    merged = parts[0] if len(parts) == 1 else merge_quality(*parts)
    assert plain(merged) == plain(rows.measure(config, slices))
    if len(parts) == 2:
        assert plain(merged) == plain(merge_quality(parts[1], parts[0]))


def test_delays_and_late_labels_are_counted() -> None:
    block = scored_rows([0.2, 0.9, 0.7], event_times=[0, 0, 0])
    labels, times = np.array([0.0, 1.0, np.nan]), np.array([2_000, 5_000_000, 0])
    found = measure(block, labels, times, LabelsConfig(maturity_s=3600), segment=0, part=0, complete=True, watermark=0)
    assert (found.labelled, found.late, found.missing) == (1, 1, 2)
    assert found.delays.sum() == 2
    assert found.errors == {"champion": (1, 0)}
    assert found.served == {("champion", "delay@3", 7): 3}


def test_a_row_from_the_year_3000_stands_where_its_broker_says() -> None:
    block = replace(
        scored_rows([0.9, 0.8]), event_times=np.array([1000, 32503680000000]), timestamps=np.array([0, 2000])
    )
    found = measure(
        block, np.ones(2), np.array([3000, 3000]), LabelsConfig(), segment=0, part=0, complete=True, watermark=0
    )
    assert found.event_times == (1000, 2000)
    assert list(found.groups) == [(0, "champion", "")]


def test_the_21st_value_and_all_after_it_are_one_slice() -> None:
    values = [f"tail{number}" for number in range(25)]
    block = scored_rows([0.5] * 25, categories={"tail": values})
    slices = Slices({"tail": []})
    found = measure(
        block, np.ones(25), block.event_times, LabelsConfig(), segment=0, part=0, complete=True, watermark=0,
        slices=slices,
    )  # fmt: skip
    assert slices.values == {"tail": values[:20]}
    assert len(found.groups) == 22  # everything, 20 values, the rest
    assert next(sums for (_, _, name), sums in found.groups.items() if name == "tail=…other").rows == 5


def test_a_score_that_is_not_finite_is_invalid_and_harms_nobody() -> None:
    block = scored_rows([0.5, float("nan"), float("inf")])
    found = measure(block, np.ones(3), block.event_times, LabelsConfig(), segment=0, part=0, complete=True, watermark=0)
    assert (found.labelled, found.invalid) == (1, 2)
    assert [sums.rows for sums in found.groups.values()] == [1]


def test_classes_of_a_model_without_a_vector_are_invalid() -> None:
    block = scored_rows([0.5, 0.2])
    found = measure(
        block, np.zeros(2), block.event_times, LabelsConfig(task="multiclass"), segment=0, part=0, complete=True,
        watermark=0,
    )  # fmt: skip
    assert (found.invalid, found.groups, found.errors) == (2, {}, {})


def test_huge_errors_stay_exact() -> None:
    """Sums of 65,535 of the largest errors are integers far beyond 64 bits."""
    rows = 65_535
    block = scored_rows([3e38] * rows)
    config = replace(LabelsConfig(task="regression"), error_limit=2.0**18)
    found = measure(
        block, np.full(rows, -3e38), block.event_times, config, segment=0, part=0, complete=True, watermark=0
    )
    [sums] = found.groups.values()
    assert sums == QualitySums(
        rows=rows, squared_error=rows * 2**36 * FIXED_POINT, absolute_error=rows * 2**36 * FIXED_POINT,
        score=rows * 2**36 * FIXED_POINT, label=-rows * 2**36 * FIXED_POINT,
    )  # fmt: skip
