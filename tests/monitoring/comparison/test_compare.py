"""Comparisons say what a loop over the rows says, and merge exactly: to the same bytes wherever the rows are cut."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from paired_rows import candidate, paired_rows

from penstock.monitoring.comparison.compare import compare, compare_labelled
from penstock.monitoring.config import LabelsConfig, Loss, RolloutConfig, Task
from penstock.monitoring.quality.slices import Slices
from penstock.schemas.comparison import (
    DIFFERENCE_EDGES,
    PROBABILITY_EDGES,
    VALUE_EDGES,
    CellSums,
    ComparisonSummary,
    PairSums,
    merge_comparison,
)
from penstock.schemas.comparison_wire import decode_comparison, encode_comparison
from penstock.schemas.keys import group_of
from penstock.schemas.paired import PairedBlock
from penstock.schemas.paired_wire import take
from penstock.schemas.summaries import FIXED_POINT

MATURITY_MS, BUCKET_MS, THRESHOLD = 50, 100, 0.7
ORIGINS = ("JFK", "LGA", None)
TASKS: list[Task] = ["binary", "multiclass", "regression"]
LOSSES: dict[Task, list[Loss]] = {
    "binary": ["log_loss", "brier", "error"],
    "multiclass": ["log_loss", "error"],
    "regression": ["squared_error", "absolute_error"],
}


class Rows:
    """Paired rows, and the labels that are known of them."""

    def __init__(self, task: Task, block: PairedBlock, labels: NDArray[np.float64], times: NDArray[np.int64]) -> None:
        self.task, self.block, self.labels, self.times = task, block, labels, times
        self.config = LabelsConfig(
            task, MATURITY_MS / 1000, threshold=THRESHOLD, bucket_s=BUCKET_MS / 1000, slices=("origin", "carrier")
        )

    def compare(self, rows: slice = slice(None)) -> ComparisonSummary:
        return compare(
            take(self.block, rows), self.config, segment=3, part=0, complete=True, watermark=9, slices=known_slices()
        )

    def labelled(self, rollout: RolloutConfig, rows: slice = slice(None)) -> ComparisonSummary:
        return compare_labelled(
            take(self.block, rows), self.labels[rows], self.times[rows], self.config, rollout, segment=3, part=0,
            complete=True, watermark=9, slices=known_slices(),
        )  # fmt: skip


def known_slices() -> Slices:
    return Slices({"origin": ["LGA", "JFK"], "carrier": ["UA"]})


@st.composite
def rows_of(draw: st.DrawFn, task: Task) -> Rows:
    count = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def scores() -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
        broken = rng.random(count) < 0.1
        if task == "regression":
            score = rng.normal(0, 10.0 ** rng.integers(-3, 9), count)
        else:
            score = rng.choice(np.array([0.0, 0.5, THRESHOLD, 1.0, rng.random()]), count)
        several = rng.dirichlet((1, 1, 1), count).astype(np.float32) if task == "multiclass" else None
        score[broken] = rng.choice([np.nan, np.inf])
        if several is not None and draw(st.booleans()):
            several[broken, 1] = np.nan
        return score, several

    tried = []
    for model in ("delay@4", "other@1")[: draw(st.integers(1, 2))]:
        score, several = scores()
        tried.append(candidate(score.tolist(), model=model, sampled=rng.random(count) < 0.7, scores=several))
    score, several = scores()
    times = rng.integers(-250, 250, count)
    block = paired_rows(
        score.tolist(), *tried, scores=several, event_times=times.tolist(), first_offset=500,
        variants=rng.choice(["champion", "canary", "fallback"], count, p=[0.7, 0.2, 0.1]).tolist(),
        models=rng.choice(["delay@3", "delay@2"], count).tolist(), keys=rng.integers(0, 2**63, count).tolist(),
        slices={
            "origin": [ORIGINS[at] for at in rng.integers(0, 3, count)],
            "carrier": [("UA", None)[at] for at in rng.integers(0, 2, count)],
        },
    )  # fmt: skip
    if task == "regression":
        labels = rng.normal(0, 10.0 ** rng.integers(-3, 9), count)
    else:
        labels = rng.choice([0.0, 1.0, 2.0, 7.0], count, p=[0.4, 0.4, 0.1, 0.1])
    labels = np.where(rng.random(count) < 0.3, np.nan, labels.astype(np.float32).astype(np.float64))
    return Rows(task, block, labels, times + rng.integers(-20, 80, count))


def fixed(value: float) -> int:
    return round(value * FIXED_POINT)


def slices_of(block: PairedBlock, row: int) -> list[str]:
    origin, carrier = (column.decoded()[row] for column in block.slices.categories)
    return ["", f"origin={origin or '…missing'}", f"carrier={carrier or '…missing'}"]


def group_keys(rows: Rows, row: int, model: str) -> list[tuple[int, str, str, str]]:
    bucket = int(rows.block.event_times[row]) // BUCKET_MS * BUCKET_MS
    served = rows.block.models.decoded()[row] or ""
    return [(bucket, model, served, name) for name in slices_of(rows.block, row)]


def usable(score: float, several: NDArray[np.float32] | None, row: int) -> bool:
    return math.isfinite(score) and (several is None or bool(np.isfinite(several[row]).all()))


def slot(edges: NDArray[np.float64], value: float) -> int:
    return sum(1 for edge in edges.tolist() if edge <= value)


def decision(rows: Rows, score: float, several: NDArray[np.float32] | None, row: int) -> int | None:
    if rows.task == "regression":
        return None
    return int(score >= THRESHOLD) if several is None else max(range(3), key=lambda at: several[row, at])


@pytest.mark.parametrize("task", TASKS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_pairs_say_what_a_loop_over_the_rows_says(task: Task, data: st.DataObject) -> None:
    rows = data.draw(rows_of(task))
    block, found = rows.block, rows.compare()
    expected: defaultdict[Any, defaultdict[Any, int]] = defaultdict(lambda: defaultdict(int))
    edges = VALUE_EDGES if task == "regression" else PROBABILITY_EDGES
    for tried in block.candidates:
        for row in range(block.rows):
            score, other = float(block.score[row]), float(tried.score[row])
            if not tried.sampled[row] or block.variants.decoded()[row] != "champion":
                continue
            if not usable(score, block.scores, row):
                continue
            for group in group_keys(rows, row, tried.model):
                sums = expected[group]
                sums["rows"] += 1
                if not usable(other, tried.scores, row):
                    sums["non_finite"] += 1
                    continue
                served, candidates = decision(rows, score, block.scores, row), decision(rows, other, tried.scores, row)
                sums["agreed"] += served is not None and served == candidates
                sums["yes"] += task == "binary" and served == candidates == 1
                sums["candidate_yes"] += task == "binary" and candidates == 1
                sums["difference"] += fixed(other - score)
                sums["absolute"] += fixed(abs(other - score))
                sums["slot", slot(DIFFERENCE_EDGES, other - score)] += 1
                sums["cell", slot(edges, score), slot(edges, other)] += 1
    assert {group: counted(sums) for group, sums in found.pairs.items()} == {
        group: {name: value for name, value in sums.items() if value} for group, sums in expected.items()
    }


def counted(sums: PairSums) -> dict[Any, int]:
    """What is not 0."""
    names = ("rows", "non_finite", "agreed", "yes", "candidate_yes", "difference", "absolute")
    found: dict[Any, int] = {name: getattr(sums, name) for name in names}
    found |= {("slot", at): count for at, count in enumerate(sums.differences.tolist())}
    found |= {("cell", *at): int(count) for at, count in np.ndenumerate(sums.ranks)}
    return {name: value for name, value in found.items() if value}


def loss_of_row(rows: Rows, loss: Loss, score: float, several: NDArray[np.float32] | None, row: int) -> float:
    label = float(rows.labels[row])
    match loss:
        case "log_loss":
            probability = score if label else 1 - score
            probability = probability if several is None else float(several[row, int(label)])
            return -math.log(min(max(probability, 0.001), 0.999))
        case "brier":
            return (score - label) ** 2
        case "error":
            return float(decision(rows, score, several, row) != label)
        case "squared_error":
            return min(abs(score - label), 2.0**18) ** 2
        case "absolute_error":
            return abs(score - label)


@pytest.mark.parametrize(("task", "loss"), [(task, loss) for task in TASKS for loss in LOSSES[task]])
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_labelled_pairs_and_cells_say_what_a_loop_over_the_rows_says(
    task: Task, loss: Loss, data: st.DataObject
) -> None:
    rows = data.draw(rows_of(task))
    block, found = rows.block, rows.labelled(RolloutConfig(loss=loss, slices=("carrier",)))
    groups: defaultdict[Any, list[tuple[int, float, float]]] = defaultdict(list)
    for tried in block.candidates:
        for row in range(block.rows):
            label, score, other = float(rows.labels[row]), float(block.score[row]), float(tried.score[row])
            late = rows.times[row] - block.event_times[row] > MATURITY_MS
            known = not late and not math.isnan(label)
            if task != "regression":
                known = known and label in ((0, 1) if task == "binary" else (0, 1, 2))
            asked = tried.sampled[row] and block.variants.decoded()[row] == "champion"
            if known and asked and usable(score, block.scores, row) and usable(other, tried.scores, row):
                of_served = loss_of_row(rows, loss, score, block.scores, row)
                of_tried = loss_of_row(rows, loss, other, tried.scores, row)
                for group in group_keys(rows, row, tried.model):
                    groups[group].append((row, of_served, of_tried))
    assert found.labelled.keys() == groups.keys()
    assert found.cells.keys() == {group for group in groups if not group[3].startswith("origin=")}
    for group, of_rows in groups.items():
        both = found.labelled[group]
        assert both.served.rows == both.candidate.rows == len(of_rows)
        for sums, at in ((both.served, 1), (both.candidate, 2)):
            name = {"brier": "squared_error", "error": "correct"}.get(loss, loss)
            total = sum(one[at] for one in of_rows)
            of_sums = len(of_rows) - sums.correct if loss == "error" else getattr(sums, name) / FIXED_POINT
            assert of_sums == pytest.approx(total, rel=1e-9, abs=1e-8)
        if group in found.cells:
            assert_cells(found.cells[group], of_rows, block)


def assert_cells(cells: CellSums, of_rows: list[tuple[int, float, float]], block: PairedBlock) -> None:
    expected: defaultdict[int, list[float]] = defaultdict(list)
    for row, served, tried in of_rows:
        expected[int(group_of(block.keys[[row]])[0])].append(tried - served)
    assert cells.rows.tolist() == [len(expected[group]) for group in range(64)]
    sums = cells.losses[:, 0] + cells.losses[:, 1] / FIXED_POINT
    assert sums.tolist() == pytest.approx([sum(expected[group]) for group in range(64)], rel=1e-9, abs=1e-8)


@pytest.mark.parametrize("task", TASKS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_cut_of_the_rows_merges_to_the_same_bytes(task: Task, data: st.DataObject) -> None:
    rows = data.draw(rows_of(task))
    count = rows.block.rows
    cuts = sorted(data.draw(st.sets(st.integers(1, count - 1), max_size=4))) if count > 1 else []
    parts = [slice(start, stop) for start, stop in zip([0, *cuts], [*cuts, count], strict=True)]
    rollout = RolloutConfig(slices=("origin",))
    order = data.draw(st.permutations(parts))
    for whole, cut in (
        (rows.compare(), [rows.compare(part) for part in order]),
        (rows.labelled(rollout), [rows.labelled(rollout, part) for part in order]),
    ):
        merged = reduce(merge_comparison, cut)
        assert encode_comparison(replace_latencies(merged)) == encode_comparison(replace_latencies(whole))
        assert encode_comparison(decode_comparison(*encode_comparison(whole))) == encode_comparison(whole)


def replace_latencies(summary: ComparisonSummary) -> ComparisonSummary:
    """Without the only figures that need not repeat."""
    names = summary.__struct_fields__
    return ComparisonSummary(**{name: getattr(summary, name) for name in names} | {"latencies": {}})


def test_rows_that_the_canary_or_the_fallback_answered_are_in_no_pair() -> None:
    block = paired_rows(
        [0.1, 0.2, 0.3], candidate([0.9, 0.8, 0.7]), variants=["canary", "champion", "fallback"],
        models=["delay@4", "delay@3", "small@1"],
    )  # fmt: skip
    found = compare(block, LabelsConfig(), segment=0, part=0, complete=True, watermark=0)
    assert [(group, sums.rows) for group, sums in found.pairs.items()] == [((0, "delay@4", "delay@3", ""), 1)]


def test_rows_that_a_candidate_was_not_asked_about_are_not_counted() -> None:
    first = candidate([0.9, np.nan], sampled=[True, False])
    second = candidate([np.nan, np.nan], model="other@1", sampled=[False, False])
    found = compare(
        paired_rows([0.1, 0.2], first, second), LabelsConfig(), segment=0, part=0, complete=True, watermark=0
    )
    [(group, sums)] = found.pairs.items()
    assert (group[1], sums.rows, sums.non_finite) == ("delay@4", 1, 0)
    assert found.latencies == {"delay@3": (2, 200), "delay@4": (1, 300)}


def test_latencies_of_several_served_models_are_shared_out_by_rows() -> None:
    block = paired_rows([0.1, 0.2, 0.3, 0.4], models=["delay@3", "delay@4", "delay@4", "delay@4"], took_us=400)
    found = compare(block, LabelsConfig(), segment=0, part=0, complete=True, watermark=0)
    assert found.latencies == {"delay@3": (1, 100), "delay@4": (3, 300)}
    unknown = compare(replace(block, took_us=None), LabelsConfig(), segment=0, part=0, complete=True, watermark=0)
    assert unknown.latencies == {}


def test_silence_is_an_outcome_where_the_settings_say_so() -> None:
    block = paired_rows([0.1, 0.9], candidate([0.2, 0.8]))
    unknown = np.full(2, np.nan)
    for silence, labelled in ((None, []), (0.0, [2])):
        found = compare_labelled(
            block, unknown, block.event_times, LabelsConfig(silence=silence), RolloutConfig(), segment=0, part=0,
            complete=True, watermark=0,
        )  # fmt: skip
        assert [pair.served.rows for pair in found.labelled.values()] == labelled
        assert found.mature


def test_huge_losses_stay_exact() -> None:
    """65,535 times the largest difference, of the one sign and of the other."""
    rows = 65_535
    for served, tried, sign in ((0.0, 3e38, 1), (3e38, 0.0, -1)):
        block = paired_rows([served] * rows, candidate([tried] * rows), keys=[1] * rows, event_times=[0] * rows)
        found = compare_labelled(
            block, np.zeros(rows), block.event_times, LabelsConfig("regression"), RolloutConfig(loss="absolute_error"),
            segment=0, part=0, complete=True, watermark=0,
        )  # fmt: skip
        [cells] = found.cells.values()
        assert cells.losses.sum(0).tolist() == [sign * rows * 2**36, 0]
        twice = merge_comparison(found, found).cells.values()
        assert [one.losses.sum(0).tolist() for one in twice] == [[sign * rows * 2**37, 0]]


def test_a_loss_that_the_task_does_not_know_is_refused() -> None:
    block = paired_rows([0.1], candidate([0.2]))
    with pytest.raises(ValueError, match="brier is no loss of regression"):
        compare_labelled(
            block, np.ones(1), block.event_times, LabelsConfig("regression"), RolloutConfig(loss="brier"), segment=0,
            part=0, complete=True, watermark=0,
        )  # fmt: skip
