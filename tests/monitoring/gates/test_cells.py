"""Cells are sums of integers: the order in which rows came makes no difference, nor does a restart."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.gates.cells import Cells, CellsState, Stratum, total
from penstock.schemas.comparison import CellSums
from penstock.schemas.gates import KEY_GROUPS
from penstock.schemas.summaries import FIXED_POINT

DAY = 86_400_000
ALL = 100 * DAY


def sums_of(rows: list[tuple[int, float]]) -> CellSums:
    """Of rows given as group and loss."""
    counts, losses = np.zeros(KEY_GROUPS, np.int64), np.zeros((KEY_GROUPS, 2), np.int64)
    for group, loss in rows:
        fixed = round(loss * FIXED_POINT)
        counts[group] += 1
        losses[group] += (fixed // FIXED_POINT, fixed % FIXED_POINT)
    return CellSums(counts, losses)


rows = st.lists(st.tuples(st.integers(0, KEY_GROUPS - 1), st.floats(-8, 8)), min_size=1, max_size=12)
parts = st.lists(st.tuples(st.integers(0, 3).map(lambda day: day * DAY), st.integers(0, 1), rows), max_size=12)


def filled(several: list[tuple[int, int, list[tuple[int, float]]]], *, paired: bool) -> Cells:
    cells = Cells(DAY, paired=paired)
    for bucket, arm, some in several:
        cells.add(bucket, sums_of(some), 0 if paired else arm)
    return cells


def facts(cells: Cells) -> tuple[CellsState, list[list[object]]]:
    """All of it, bit by bit."""
    return cells.state(), [[np.asarray(value).tolist() for value in one] for one in cells.strata(ALL)]


@given(parts, st.booleans(), st.randoms(use_true_random=False))
def test_merging_parts_in_any_order_is_one_pass_bit_by_bit(
    several: list[tuple[int, int, list[tuple[int, float]]]], paired: bool, random: np.random.Generator
) -> None:
    once = filled([(bucket, arm, [row]) for bucket, arm, some in several for row in some], paired=paired)
    shuffled = list(several)
    random.shuffle(shuffled)
    merged = Cells(DAY, paired=paired)
    for part in shuffled:
        merged.strata(ALL)  # what was worked out before must not be kept
        merged.merge(filled([part], paired=paired))
    assert facts(merged) == facts(once)


@given(parts, st.booleans())
def test_a_snapshot_brings_all_of_it_back(
    several: list[tuple[int, int, list[tuple[int, float]]]], paired: bool
) -> None:
    cells = filled(several, paired=paired)
    cells.exclude(DAY)
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(cells.state()), type=CellsState)
    assert facts(Cells.restored(state)) == facts(cells)


@given(parts, st.booleans())
def test_swapping_the_arms_flips_the_sign(
    several: list[tuple[int, int, list[tuple[int, float]]]], paired: bool
) -> None:
    cells = filled(several, paired=paired)
    swapped = cells.reversed()
    assert [one.difference for one in swapped.strata(ALL)] == pytest.approx(
        [-one.difference for one in cells.strata(ALL)]
    )
    assert facts(swapped.reversed()) == facts(cells)


def test_only_buckets_that_ended_and_have_both_arms_count() -> None:
    cells = Cells(DAY, paired=False)
    cells.add_arms(0, sums_of([(0, 0.0)] * 3), sums_of([(0, 1.0)]))
    cells.add_arms(DAY, sums_of([(0, 0.0)]), None)
    cells.add_arms(2 * DAY, sums_of([(0, 0.0)]), sums_of([(0, 0.5)]))
    assert [one.difference for one in cells.strata(3 * DAY)] == [1.0, 0.5]
    assert [one.difference for one in cells.strata(3 * DAY - 1)] == [1.0]
    cells.exclude(0)
    assert [one.difference for one in cells.strata(3 * DAY)] == [0.5]
    cells.forget(3 * DAY)
    assert not len(cells)


def test_a_bucket_weighs_what_its_difference_is_worth() -> None:
    cells = Cells(DAY, paired=False)
    cells.add_arms(0, sums_of([(0, 0.0)] * 3), sums_of([(1, 1.0)]))
    [one] = cells.strata(DAY)
    assert isinstance(one, Stratum)
    assert (one.rows, one.weight) == (1.0, 0.75)


def test_cells_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="no arms"):
        Cells(DAY).add_arms(0, None, None)
    with pytest.raises(ValueError, match="another kind"):
        Cells(DAY).merge(Cells(DAY, paired=False))


def test_a_block_across_midnight_is_one_block() -> None:
    both = total([sums_of([(0, 0.75)]), sums_of([(0, 0.75), (3, -0.25)])])
    assert both is not None
    assert (both.rows[0], both.losses[0].tolist()) == (2, [1, FIXED_POINT // 2])
    assert both.losses[3].tolist() == [-1, 3 * FIXED_POINT // 4]
    assert total([]) is None
