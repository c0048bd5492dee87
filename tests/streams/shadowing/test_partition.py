"""A partition's rows are taken once, in order, however often the log repeats them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest
from candidates import Multiplying
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_blocks import block

from penstock.schemas.columns import Category, Columns, Layout
from penstock.schemas.paired_wire import decode
from penstock.schemas.scored import ScoredBlock
from penstock.streams.shadowing.partition import STATE, PartitionShadow
from penstock.streams.shadowing.scorer import ShadowScorer

LOG = block(60)


def offsets(shadow: PartitionShadow) -> list[int]:
    return [int(offset) for record in shadow.drained() for offset in decode(*record).offsets]


def asking() -> ShadowScorer:
    return ShadowScorer([(Multiplying(), 1.0)], ())


def put(shadow: PartitionShadow, rows: ScoredBlock, record: int) -> int:
    answer = shadow.answer(rows, record, asking())
    shadow.take(answer)
    return answer.rows


@given(st.lists(st.tuples(st.integers(0, 59), st.integers(1, 20)), max_size=8))
@settings(max_examples=60, deadline=None)
def test_rows_that_come_again_are_skipped(runs: list[tuple[int, int]]) -> None:
    shadow = PartitionShadow(3)
    seen = -1
    expected: list[int] = []
    for record, (start, rows) in enumerate(runs):
        run = LOG.take(slice(start, start + rows))
        new = [offset for offset in run.offsets.tolist() if offset > seen]
        assert put(shadow, run, record) == len(new)
        expected += new
        seen = max(seen, int(run.offsets[-1]))
    assert offsets(shadow) == expected


def test_asking_changes_nothing_until_the_answer_is_taken() -> None:
    shadow = PartitionShadow(3)
    answer = shadow.answer(LOG, 0, asking())
    assert (shadow.offset, shadow.size, shadow.waiting) == (-1, 0, [])
    shadow.take(answer)
    assert shadow.offset == 118
    assert shadow.size == sum(len(value) for value, _ in shadow.waiting) > 0


@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 59), st.integers(1, 20))), max_size=8))
@settings(max_examples=60, deadline=None)
def test_records_are_answered_in_a_run_as_one_by_one(runs: list[tuple[int, int] | None]) -> None:
    """None: a record that cannot be read."""
    blocks = [None if run is None else LOG.take(slice(run[0], sum(run))) for run in runs]
    together, apart = PartitionShadow(3), PartitionShadow(3)
    answers = together.answers(enumerate(blocks), asking(), enough_s=60.0)
    assert [answer is None for answer in answers] == [rows is None for rows in blocks]
    for record, (answer, rows) in enumerate(zip(answers, blocks, strict=True)):
        if answer is not None and rows is not None:
            together.take(answer)
            assert answer.rows == put(apart, rows, record)
    assert offsets(together) == offsets(apart)


def test_a_run_ends_when_it_has_taken_long_enough_and_has_one_record_at_least() -> None:
    """What is behind is not even decoded: a slow candidate is not kept from news about partitions and control."""
    decoded: list[int] = []

    def blocks() -> Iterator[tuple[int, ScoredBlock]]:
        for record in range(6):
            decoded.append(record)
            yield record, LOG.take(slice(10 * record, 10 * record + 10))

    for enough_s, expected in ((0.0, 1), (1.0, 1), (2.5, 3)):
        decoded.clear()
        answers = PartitionShadow(3).answers(blocks(), asking(), enough_s=enough_s, clock=count().__next__)
        assert len(answers) == len(decoded) == expected


def test_a_new_owner_goes_on_where_the_last_one_stopped() -> None:
    first = PartitionShadow(3)
    assert first.is_new
    put(first, LOG.take(slice(0, 20)), 0)
    state = first.change()
    assert state is not None
    assert first.change() is None
    second = PartitionShadow(3, {STATE: state})
    assert not second.is_new
    assert put(second, LOG.take(slice(0, 25)), 1) == 5
    assert offsets(second) == LOG.offsets[20:25].tolist()


def test_a_partition_that_nobody_had_says_so_once() -> None:
    shadow = PartitionShadow(3)
    assert shadow.change() is not None
    assert shadow.change() is None


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_row_that_no_record_holds_is_left_out(bad: int) -> None:
    notes = [f"note {row}" for row in range(3)]
    notes[bad] = np.random.default_rng(0).bytes(600_000).hex()
    rows = block(3, layout=Layout(("distance",), (), ("note",)))
    rows.columns = Columns(
        rows.columns.layout,
        rows.columns.floats,
        rows.columns.integers,
        (Category(np.arange(3, dtype=np.int32), tuple(notes)),),
        (),
    )
    shadow = PartitionShadow(3)
    answer = shadow.answer(rows, 0, ShadowScorer([(Multiplying(), 1.0)], ("note",)))
    shadow.take(answer)
    assert [error.offset for error in answer.too_large] == [rows.offsets[bad]]
    assert offsets(shadow) == [offset for row, offset in enumerate(rows.offsets.tolist()) if row != bad]
    assert shadow.offset == rows.offsets[-1]
