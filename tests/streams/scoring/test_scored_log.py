"""What was gathered becomes as few records as can be, and none that cannot be."""

from __future__ import annotations

import random

import pytest
from scored_rows import block_of

from penstock.schemas.columns import Layout
from penstock.schemas.scored import RowTooLarge, decode
from penstock.streams.delivery import OutputRecord
from penstock.streams.scoring.scored_log import ScoredLog

LOG = ScoredLog("flights.scored", withhold=())


def offsets_in(records: list[OutputRecord]) -> list[list[int]]:
    return [decode(value, headers).offsets.tolist() for _, value, headers in records]


def test_blocks_of_one_kind_become_one_record() -> None:
    assert offsets_in(LOG.records([block_of([0, 1]), block_of([5]), block_of([7, 8])])) == [[0, 1, 5, 7, 8]]
    assert LOG.records([]) == []


def test_another_catalogue_or_runtime_begins_another_record() -> None:
    wider = Layout(floats=("x", "y"), categories=("origin",))
    blocks = [block_of([0]), block_of([1], wider), block_of([2], wider, runtime="cuda"), block_of([3])]
    assert offsets_in(LOG.records(blocks)) == [[0], [1], [2], [3]]


def test_a_row_that_fits_into_no_record_is_found_before_anything_is_written() -> None:
    block = block_of([0, 1])
    LOG.check(block)
    block.keys[1] = bytes(range(256)) * 4000
    LOG.check(block)  # it compresses well
    block.keys[1] = random.Random(1).randbytes(1_000_000)
    with pytest.raises(RowTooLarge) as refused:
        LOG.check(block)
    assert refused.value.offset == 1
