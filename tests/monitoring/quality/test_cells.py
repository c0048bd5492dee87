"""The cells that quality summaries carry for the gates: each variant's own rows and losses, by group of keys."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_rows import scored_rows

from penstock.monitoring.config import LabelsConfig, RolloutConfig
from penstock.monitoring.quality.measure import measure
from penstock.monitoring.quality.slices import Slices
from penstock.schemas.comparison import CellGroup
from penstock.schemas.keys import group_of, routing_keys
from penstock.schemas.quality import QualitySummary, merge_quality
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.summaries import FIXED_POINT

CONFIG = LabelsConfig(bucket_s=0.1, slices=("origin", "carrier"))
PLAN = RolloutConfig(loss="brier", slices=("origin",))


def measured(
    block: ScoredBlock, labels: list[float], config: LabelsConfig = CONFIG, plan: RolloutConfig | None = PLAN
) -> QualitySummary:
    return measure(
        block, np.array(labels), block.event_times, config, segment=0, part=0, complete=True, watermark=0,
        slices=Slices({"origin": ["JFK", "LGA"], "carrier": []}), rollout=plan,
    )  # fmt: skip


def flights(rows: int, seed: int) -> tuple[ScoredBlock, list[float]]:
    rng = np.random.default_rng(seed)
    block = scored_rows(
        rng.random(rows).tolist(), event_times=rng.integers(-200, 200, rows).tolist(),
        variants=rng.choice(["champion", "canary"], rows).tolist(), models=rng.choice(["a@1", "b@2"], rows).tolist(),
        categories={
            "origin": rng.choice(["JFK", "LGA"], rows).tolist(), "carrier": rng.choice(["UA", "DL"], rows).tolist(),
        },
    )  # fmt: skip
    keys: list[bytes | None] = [b"N%d" % key if key else None for key in rng.integers(0, 9, rows).tolist()]
    return replace(block, keys=keys), rng.choice([0.0, 1.0, 7.0, np.nan], rows).tolist()


@given(st.integers(1, 60), st.integers(0, 2**32))
def test_they_say_what_a_loop_over_the_rows_says(rows: int, seed: int) -> None:
    block, labels = flights(rows, seed)
    groups = group_of(routing_keys(block.keys, block.ids, rows)).tolist()
    expected: defaultdict[tuple[CellGroup, int], list[float]] = defaultdict(list)
    for row, label in enumerate(labels):
        if label in (0, 1):
            bucket = int(block.event_times[row]) // 100 * 100
            variant, model = (column.decoded()[row] or "" for column in (block.variants, block.models))
            for name in ("", f"origin={block.columns.categories[0].decoded()[row]}"):
                expected[(bucket, variant, model, name), groups[row]].append((float(block.score[row]) - label) ** 2)
    found = {
        (group, key): (int(count), cells.losses[key, 0] + cells.losses[key, 1] / FIXED_POINT)
        for group, cells in measured(block, labels).cells.items()
        for key, count in enumerate(cells.rows)
        if count
    }
    assert found.keys() == expected.keys()
    for cell, losses in expected.items():
        assert found[cell] == (len(losses), pytest.approx(sum(losses), abs=1e-8))


@given(st.integers(2, 60), st.integers(0, 2**32), st.data())
def test_parts_merge_to_the_whole_bit_by_bit(rows: int, seed: int, data: st.DataObject) -> None:
    block, labels = flights(rows, seed)
    cut = data.draw(st.integers(1, rows - 1))
    parts = [measured(block.take(part), labels[part]) for part in (slice(0, cut), slice(cut, None))]
    whole, merged = measured(block, labels).cells, merge_quality(*parts).cells
    assert merged.keys() == whole.keys()
    for group, cells in whole.items():
        assert merged[group].rows.tolist() == cells.rows.tolist()
        assert merged[group].losses.tolist() == cells.losses.tolist()


def test_without_a_plan_there_are_none() -> None:
    assert measured(*flights(9, 1), plan=None).cells == {}


def test_squared_errors_are_clipped_so_that_one_row_is_not_the_mean() -> None:
    found = measured(scored_rows([1e9]), [0.0], LabelsConfig("regression", error_limit=100.0), RolloutConfig())
    [cells] = found.cells.values()
    assert cells.losses.sum(0).tolist() == [10_000, 0]


def test_log_loss_is_clipped_so_that_a_certain_mistake_is_not_infinite() -> None:
    [cells] = measured(scored_rows([1.0]), [0.0], plan=RolloutConfig()).cells.values()
    wholes, fractions = cells.losses.sum(0).tolist()
    assert wholes + fractions / FIXED_POINT == pytest.approx(-np.log(0.001))
