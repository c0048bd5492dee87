"""Sums over the latest segments: of the latest exactly, of older ones within a bucket."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.histograms.recent import LEVELS, PER_LEVEL, ROWS, WIDTH, RecentSums


@given(st.lists(st.integers(0, 50), min_size=1, max_size=200), st.integers(1, 3000))
def test_no_row_is_older_than_asked_for_but_those_of_the_last_bucket_with_any(rows: list[int], wanted: int) -> None:
    recent = RecentSums()
    for each in rows:
        recent.add(np.full((1, WIDTH), each, np.float32))
    found = recent.over(0, wanted)
    filled = [bucket.sums[0, ROWS] for bucket in recent.buckets if bucket.sums[0, ROWS]]
    if filled:
        assert filled[-1] <= found[ROWS] <= max(wanted, filled[-1])
    assert len(set(found.tolist())) == 1


def test_at_least_a_third_of_what_was_asked_for_is_covered() -> None:
    recent = RecentSums()
    for _ in range(300):
        recent.add(np.ones((2, WIDTH), np.float32))
    assert all(recent.over(1, wanted)[ROWS] * 3 >= wanted for wanted in range(1, 200))


def test_it_stays_small() -> None:
    recent = RecentSums()
    for _ in range(5000):
        recent.add(np.ones((1, WIDTH), np.float32))
    assert len(recent.buckets) <= LEVELS * PER_LEVEL
    recent.widen(3)
    assert recent.over(2, 100).tolist() == [0] * WIDTH
