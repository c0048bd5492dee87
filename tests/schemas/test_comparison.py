"""The wire form of comparisons and cells: exact both ways, and nonsense is named."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.schemas.cells_wire import pack_cells, unpack_cells
from penstock.schemas.checksums import seal
from penstock.schemas.comparison import (
    DIFFERENCE_EDGES,
    PROBABILITY_EDGES,
    RANKS,
    VALUE_EDGES,
    CellSums,
    ComparisonSummary,
    LabelledPair,
    PairSums,
    merge_comparison,
)
from penstock.schemas.comparison_wire import COMPARISON_SCHEMA, CorruptComparison, decode_comparison, encode_comparison
from penstock.schemas.profile import SLOTS
from penstock.schemas.quality import QualitySummary, decode_quality, encode_quality
from penstock.schemas.quality_sums import QualitySums
from penstock.schemas.records import SCHEMA_HEADER

COUNT = st.integers(0, 2**40)
LARGE = st.integers(-(2**90), 2**90)
GROUP = st.tuples(st.integers(-(2**50), 2**50), *[st.text(max_size=3)] * 3)


def sparse(shape: tuple[int, ...], low: int = 0) -> st.SearchStrategy[Any]:
    def drawn(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        return rng.integers(low, 2 ** rng.integers(1, 60), shape) * (rng.random(shape) < 0.1)

    return st.integers(0, 2**32).map(drawn)


def cells_of(rows: Any, losses: Any) -> CellSums:
    """Losses stand where rows are, and nowhere else."""
    return CellSums(rows, np.where(rows[:, None] > 0, losses, 0) % np.array([2**62, 2**32]))


PAIR_SUMS = st.builds(
    PairSums, COUNT, COUNT, COUNT, COUNT, COUNT, LARGE, LARGE, sparse((len(DIFFERENCE_EDGES) + 1,)),
    sparse((RANKS, RANKS)),
)  # fmt: skip
QUALITY = st.builds(
    lambda rows, loss, bins: QualitySums(rows=rows, log_loss=loss, bins=bins, bin_scores=bins), COUNT, LARGE,
    sparse((2, 64)),
)  # fmt: skip
CELLS = st.dictionaries(GROUP, st.builds(cells_of, sparse((64,)), sparse((64, 2), low=-5)), max_size=3)


@st.composite
def comparisons(draw: st.DrawFn) -> ComparisonSummary:
    return ComparisonSummary(
        partition=1, segment=2, part=3, complete=draw(st.booleans()), first_offset=4, last_offset=5,
        event_times=(-7, 8), watermark=9, mature=draw(st.booleans()),
        pairs=draw(st.dictionaries(GROUP, PAIR_SUMS, max_size=3)),
        labelled=draw(st.dictionaries(GROUP, st.builds(LabelledPair, QUALITY, QUALITY), max_size=3)),
        cells=draw(CELLS),
        latencies=draw(st.dictionaries(st.text(max_size=3), st.tuples(COUNT, COUNT), max_size=3)),
    )  # fmt: skip


def plain(value: Any) -> Any:
    """A summary as something that `==` compares."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


@given(comparisons())
@settings(max_examples=60, deadline=None)
def test_a_comparison_survives_the_wire(before: ComparisonSummary) -> None:
    assert plain(decode_comparison(*encode_comparison(before))) == plain(before)


@given(comparisons(), comparisons(), comparisons())
@settings(max_examples=40, deadline=None)
def test_comparisons_merge_in_any_order_to_the_same_bytes(
    a: ComparisonSummary, b: ComparisonSummary, c: ComparisonSummary
) -> None:
    one = merge_comparison(merge_comparison(a, b), c)
    other = merge_comparison(c, merge_comparison(b, a))
    assert plain(one) == plain(other)
    assert encode_comparison(one) == encode_comparison(other)


@given(CELLS)
def test_quality_summaries_carry_cells(cells: dict[Any, CellSums]) -> None:
    before = QualitySummary(
        1, 2, 3, True, 4, 5, 6, 7, 8, 9, 10, 11, (12, 13), 14, {}, {}, np.zeros(SLOTS, np.int64), {}, cells
    )
    assert plain(decode_quality(*encode_quality(before)).cells) == plain(cells)
    without = msgspec.structs.replace(before, cells={})
    assert b"cells" not in encode_quality(without)[0]  # as an earlier version wrote it
    assert decode_quality(*encode_quality(without)).cells == {}


def test_cells_take_the_bytes_that_they_need() -> None:
    rows = np.zeros(64, np.int64)
    rows[[3, 60]] = 1
    cells = {(0, "champion", "delay@3", ""): CellSums(rows, np.where(rows[:, None] > 0, [-1, 2**31], 0))}
    packed = pack_cells(cells)
    assert [part.dtype.str for part in (packed.wholes, packed.fractions)] == ["<i2", "<u4"]
    assert plain(unpack_cells(packed)) == plain(cells)


@given(st.binary(max_size=60), st.booleans())
@settings(max_examples=200, deadline=None)
def test_nonsense_is_named(value: bytes, sealed: bool) -> None:
    headers = seal(value, COMPARISON_SCHEMA) if sealed else [COMPARISON_SCHEMA]
    with pytest.raises(CorruptComparison, match="partition 4"):
        decode_comparison(value, headers, place="partition 4")


@given(comparisons(), st.data())
@settings(max_examples=100, deadline=None)
def test_what_is_damaged_beneath_a_right_checksum_is_named_or_read_never_worse(
    comparison: ComparisonSummary, data: st.DataObject
) -> None:
    value, _ = encode_comparison(comparison)
    damaged = bytearray(value)
    damaged[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decode_comparison(bytes(damaged), seal(bytes(damaged), COMPARISON_SCHEMA))
    except CorruptComparison:
        return


def test_another_schema_is_named() -> None:
    with pytest.raises(CorruptComparison, match="summary/1"):
        decode_comparison(b"", [(SCHEMA_HEADER, b"summary/1")])


def test_the_edges_rise() -> None:
    assert len(PROBABILITY_EDGES) == len(VALUE_EDGES) == RANKS - 1
    for edges in (DIFFERENCE_EDGES, PROBABILITY_EDGES, VALUE_EDGES):
        assert (np.diff(edges) > 0).all()
