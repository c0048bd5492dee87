"""Verdicts: promote, roll back or hold, with the reasons to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from penstock.monitoring.gates.cells import Cells
from penstock.monitoring.gates.estimate import Outcomes, Source
from penstock.monitoring.gates.gate import judge
from penstock.schemas.comparison import CellSums
from penstock.schemas.gates import KEY_GROUPS, Evidence
from penstock.schemas.summaries import FIXED_POINT

DAY = 86_400_000
ALL = 10_000 * DAY
Random = np.random.Generator


def sums_of(groups: np.ndarray, losses: np.ndarray) -> CellSums:
    wholes = np.floor(summed := np.bincount(groups, losses, KEY_GROUPS))
    fixed = np.stack([wholes, (summed - wholes) * FIXED_POINT], 1).astype(np.int64)
    return CellSums(np.bincount(groups, minlength=KEY_GROUPS), fixed)


def cells_of(
    rng: Random, worse: float, *, days: int = 20, rows: int = 1_000, source: Source = "canary", plus: float = 0.0
) -> Cells:
    """Errors of a champion that is wrong on every fifth row, and of a candidate; or their differences."""
    cells = Cells(DAY, paired=source == "paired")
    for day in range(days):
        arms = [
            sums_of(rng.integers(0, KEY_GROUPS, rows), _errors(rng, rows, rate) + plus) for rate in (0.2, 0.2 + worse)
        ]
        if source == "paired":
            difference = _errors(rng, rows, 0.025 + worse) - _errors(rng, rows, 0.025)
            cells.add(day * DAY, sums_of(rng.integers(0, KEY_GROUPS, rows), difference))
        else:
            cells.add_arms(day * DAY, *arms)
    return cells


def _errors(rng: Random, rows: int, rate: float) -> np.ndarray:
    return (rng.random(rows) < rate).astype(np.float64)


def look(
    cells: Cells,
    *,
    alpha: float = 0.05,
    margin: float = 0.02,
    min_rows: int = 500,
    matured_before: int = ALL,
    tune: float | None = None,
    outcomes: Outcomes | None = None,
    harm: float = 0.0,
    metric: str = "error",
) -> Evidence:
    evidence, _ = judge(
        cells,
        test="main",
        source="paired" if cells.paired else "canary",
        metric=metric,
        margin=margin,
        alpha=alpha,
        matured_before=matured_before,
        min_rows=min_rows,
        min_clusters=7,
        tune=tune,
        harm=harm,
        outcomes=outcomes,
        max_label_gap=0.1,
    )
    return evidence


def bounds(evidence: Evidence) -> tuple[float, float]:
    assert evidence.low is not None
    assert evidence.high is not None
    return evidence.low, evidence.high


@pytest.mark.parametrize("source", ["paired", "canary"])
@pytest.mark.parametrize(
    ("worse", "margin", "rows", "verdict"),
    [(0.0, 0.03, 2_000, "promote"), (0.1, 0.03, 1_000, "rollback"), (0.01, 0.02, 200, "hold")],
)
def test_what_is_clear_is_decided(source: Source, worse: float, margin: float, rows: int, verdict: str) -> None:
    evidence = look(cells_of(np.random.default_rng(6), worse, rows=rows, source=source), margin=margin)
    assert evidence.verdict == verdict
    assert not evidence.note
    low, high = bounds(evidence)
    assert evidence.difference is not None
    assert low < evidence.difference < high


def test_worse_within_the_margin_is_promoted_and_says_so() -> None:
    evidence = look(cells_of(np.random.default_rng(2), 0.05, rows=5_000), margin=0.2)
    assert (evidence.verdict, evidence.note) == ("promote", "worse, within the margin")
    assert look(cells_of(np.random.default_rng(2), 0.05, rows=5_000), margin=0.01, harm=0.2).verdict == "hold"


seeds, sources = st.integers(0, 2**32), st.sampled_from(["paired", "canary"])


@settings(max_examples=25, deadline=None)
@given(seeds, sources, st.floats(0.001, 0.2), st.floats(0.001, 0.2))
def test_less_alpha_never_decides_more(seed: int, source: Source, one: float, other: float) -> None:
    cells = cells_of(np.random.default_rng(seed), 0.02, rows=200, source=source)
    (wide_low, wide_high), (low, high) = (bounds(look(cells, alpha=alpha)) for alpha in sorted([one, other]))
    assert wide_low <= low
    assert high <= wide_high


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(-100, 100))
def test_a_constant_added_to_the_losses_of_both_arms_changes_nothing(seed: int, constant: float) -> None:
    before, after = (cells_of(np.random.default_rng(seed), 0.02, rows=200, plus=plus) for plus in (0.0, constant))
    assert bounds(look(after)) == pytest.approx(bounds(look(before)), abs=1e-7)


@settings(max_examples=25, deadline=None)
@given(seeds, sources)
def test_swapping_the_arms_mirrors_the_bounds(seed: int, source: Source) -> None:
    cells = cells_of(np.random.default_rng(seed), 0.02, rows=200, source=source)
    tune = 10_000.0
    low, high = bounds(look(cells, tune=tune))
    swapped_low, swapped_high = bounds(look(cells.reversed(), tune=tune))
    assert (-swapped_high, -swapped_low) == pytest.approx((low, high))


def holds_few_rows() -> tuple[Evidence, str]:
    return look(cells_of(np.random.default_rng(3), 0.2, rows=20)), "400 rows of 500"


def holds_few_buckets() -> tuple[Evidence, str]:
    return look(cells_of(np.random.default_rng(3), 0.2), matured_before=6 * DAY), "6 time buckets of 7"


def holds_nothing_mature() -> tuple[Evidence, str]:
    return look(cells_of(np.random.default_rng(3), 0.2), matured_before=DAY - 1), "no mature rows of both"


def holds_few_groups() -> tuple[Evidence, str]:
    rng, cells = np.random.default_rng(3), Cells(DAY, paired=False)
    for day in range(20):
        arms = [sums_of(rng.integers(0, 5, 1_000), _errors(rng, 1_000, rate)) for rate in (0.2, 0.4)]
        cells.add_arms(day * DAY, *arms)
    return look(cells), "the candidate's keys lie in 5 groups of 8"


def holds_alike_buckets() -> tuple[Evidence, str]:
    rng, cells = np.random.default_rng(3), Cells(DAY)
    for day in range(40):
        rate = 0.2 + 0.1 * np.sin(day / 5)
        cells.add(day * DAY, sums_of(rng.integers(0, KEY_GROUPS, 2_000), _errors(rng, 2_000, rate)))
    return look(cells), "successive buckets are alike"


def holds_late_labels() -> tuple[Evidence, str]:
    outcomes = Outcomes(champion_rows=20_000, champion_known=19_000, candidate_rows=20_000, candidate_known=16_000)
    return look(cells_of(np.random.default_rng(3), 0.2), outcomes=outcomes), "differ by 15.0%"


@pytest.mark.parametrize(
    "case",
    [holds_few_rows, holds_few_buckets, holds_nothing_mature, holds_few_groups, holds_alike_buckets, holds_late_labels],
)
def test_it_holds_and_says_why(case: Callable[[], tuple[Evidence, str]]) -> None:
    evidence, why = case()
    assert evidence.verdict == "hold"
    assert why in evidence.note


def test_outcomes_that_are_missing_in_one_arm_widen_the_bounds_by_what_they_could_hide() -> None:
    cells = cells_of(np.random.default_rng(5), 0.0, rows=5_000)
    alike = Outcomes(champion_rows=100_000, champion_known=95_000, candidate_rows=100_000, candidate_known=95_000)
    fewer = alike._replace(candidate_known=92_000)
    assert look(cells, outcomes=alike) == look(cells)
    low, high = bounds(look(cells))
    assert bounds(look(cells, outcomes=fewer)) == pytest.approx(
        (low - fewer.certain_gap, high + fewer.certain_gap), abs=1e-12
    )
    assert look(cells).verdict == "promote"
    assert look(cells, outcomes=fewer).verdict == "hold"


def test_no_disagreement_in_too_few_rows_proves_nothing() -> None:
    cells = Cells(DAY)
    for day in range(10):
        cells.add(day * DAY, sums_of(np.arange(100) % KEY_GROUPS, np.zeros(100)))
    assert look(cells, margin=0.001).verdict == "hold"
    assert look(cells, margin=0.01).verdict == "promote"


def test_a_margin_of_nothing_asks_for_a_better_one() -> None:
    assert look(cells_of(np.random.default_rng(6), -0.1), margin=0.0).verdict == "promote"
    assert look(cells_of(np.random.default_rng(6), 0.0), margin=0.0).verdict == "hold"


def test_paired_rows_of_a_few_keys_can_be_judged() -> None:
    rng, cells = np.random.default_rng(6), Cells(DAY)
    for day in range(20):
        cells.add(day * DAY, sums_of(rng.integers(0, 3, 1_000), _errors(rng, 1_000, 0.1)))
    assert look(cells).verdict == "rollback"


def test_the_first_look_fixes_where_the_bound_is_tightest() -> None:
    cells = cells_of(np.random.default_rng(7), 0.0, days=30, source="paired")
    tune: float | None = None
    tunes = set()
    for day in range(1, 31):
        _, tune = judge(
            cells, test="main", source="paired", metric="error", margin=0.02, alpha=0.05,
            matured_before=day * DAY, min_rows=3_000, min_clusters=7, tune=tune,
        )  # fmt: skip
        tunes.add(tune)
    assert tunes == {None, 4 * 7_000.0}


def rollouts(rng: Random, worse: float, looks: int) -> Iterator[list[Evidence]]:
    """Small ones, 200: of 30 days whose differences differ, with keys that come again and again."""
    for _ in range(200):
        cells, tune, seen = Cells(DAY), None, []
        of_key = rng.normal(0, 0.1, 300)
        for day in range(looks):
            key = rng.integers(0, 300, 200)
            loss = rng.normal(worse + of_key[key] + rng.normal(0, 0.05), 1.0)
            cells.add(day * DAY, sums_of(key % KEY_GROUPS, loss))
            evidence, tune = judge(
                cells, test="main", source="paired", metric="squared_error", margin=0.1, alpha=0.1,
                matured_before=(day + 1) * DAY, min_rows=1_000, min_clusters=7, tune=tune,
            )  # fmt: skip
            seen.append(evidence)
        yield seen


@pytest.mark.parametrize(("worse", "wrong"), [(0.0, "rollback"), (0.1, "promote")])
def test_wrong_verdicts_over_all_looks_stay_within_alpha(worse: float, wrong: str) -> None:
    seen = [{look.verdict for look in looks} for looks in rollouts(np.random.default_rng(8), worse, 30)]
    assert sum(wrong in verdicts for verdicts in seen) <= binom.ppf(0.999, len(seen), 0.1)
    assert sum(verdicts != {"hold"} for verdicts in seen) > len(seen) / 3
