"""Segments depend on the rows alone: not on how blocks were cut, not on crashes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scored_rows import LAYOUT, block_of

from penstock.schemas.columns import Layout
from penstock.schemas.scored import ScoredBlock
from penstock.streams.watching.segments import SCORED, Part, SegmentCutter

SEGMENT_ROWS = 8


def cut(offsets: Sequence[int], *at: int) -> list[Sequence[int]]:
    bounds = [0, *sorted(at), len(offsets)]
    return [offsets[a:b] for a, b in pairwise(bounds) if a < b]


def rows_of(parts: Sequence[Part[ScoredBlock]]) -> list[tuple[int, int, bool, list[int]]]:
    return [(part.segment, part.part, part.complete, part.block.offsets.tolist()) for part in parts]


offsets_with_holes = st.lists(st.integers(1, 4), min_size=1, max_size=60).map(lambda gaps: np.cumsum(gaps).tolist())


@given(offsets_with_holes, st.lists(st.integers(0, 60), max_size=10))
def test_how_blocks_were_cut_does_not_matter(offsets: list[int], at: list[int]) -> None:
    whole, pieces = SegmentCutter(SCORED, SEGMENT_ROWS), SegmentCutter(SCORED, SEGMENT_ROWS)
    expected = list(whole.put(block_of(offsets), 0))
    found = [part for n, piece in enumerate(cut(offsets, *at)) for part in pieces.put(block_of(piece), n)]
    assert rows_of(found) == rows_of(expected)
    assert rows_of([p for p in [pieces.close_part()] if p]) == rows_of([p for p in [whole.close_part()] if p])


@given(offsets_with_holes, st.lists(st.integers(0, 60), max_size=10), st.integers(0, 10))
def test_a_restart_from_the_mark_gives_the_same_parts(offsets: list[int], at: list[int], stop: int) -> None:
    blocks = [block_of(piece) for piece in cut(offsets, *at)]
    undisturbed = SegmentCutter(SCORED, SEGMENT_ROWS)
    expected = rows_of([part for n, block in enumerate(blocks) for part in undisturbed.put(block, n)])
    first = SegmentCutter(SCORED, SEGMENT_ROWS)
    found = rows_of([part for n, block in enumerate(blocks[:stop]) for part in first.put(block, n)])
    resumed = first.resume(min(stop, len(blocks)))
    second = SegmentCutter(SCORED, SEGMENT_ROWS, first.mark)
    found += rows_of([part for n in range(resumed, len(blocks)) for part in second.put(blocks[n], n)])
    assert found == expected


def test_rows_that_come_again_are_skipped() -> None:
    cutter = SegmentCutter(SCORED, SEGMENT_ROWS)
    assert list(cutter.put(block_of([0, 1, 2, 3]), 0)) == []
    assert list(cutter.put(block_of([0, 1, 2, 3]), 1)) == []
    [part] = cutter.put(block_of([2, 3, 4, 9]), 2)
    assert part.block.offsets.tolist() == [0, 1, 2, 3, 4]
    assert (part.segment, part.part, part.complete) == (0, 0, True)


def test_a_quiet_partition_gives_its_segment_in_parts() -> None:
    cutter = SegmentCutter(SCORED, SEGMENT_ROWS)
    assert cutter.close_part() is None
    assert list(cutter.put(block_of([0, 1]), 0)) == []
    early = cutter.close_part()
    assert early is not None
    assert (early.segment, early.part, early.complete) == (0, 0, False)
    [rest] = cutter.put(block_of([4, 7]), 1)
    assert (rest.segment, rest.part, rest.complete) == (0, 1, True)
    assert cutter.resume(2) == 2


def test_rows_with_other_columns_are_not_mixed() -> None:
    cutter = SegmentCutter(SCORED, SEGMENT_ROWS)
    wider = Layout(floats=("x", "y"), categories=("origin",))
    assert list(cutter.put(block_of([0, 1]), 0)) == []
    [before] = cutter.put(block_of([2], wider), 1)
    assert before.block.columns.layout == LAYOUT
    assert not before.complete
    [after] = cutter.put(block_of([8]), 2)
    assert after.block.columns.layout == wider
    assert (after.segment, after.part) == (0, 1)
