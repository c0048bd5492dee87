from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas.columns import MISSING_INTEGER
from penstock.streams.features.cells import Cell
from penstock.streams.features.texts import bools, floats, integers, strings, vectors

numbers = st.floats(allow_nan=True).map(lambda value: repr(value).encode()) | st.integers().map(
    lambda n: str(n).encode()
)
tricky = st.sampled_from(
    [
        b"",
        b" ",
        b"1,2",
        b"null",
        b"[1",
        b"1]",
        b'"a',
        b"+1",
        b"01",
        b".5",
        b"1.",
        b"1e400",
        b"-0",
        b"3.0",
        b"1_0",
        b" 7 ",
    ]
)
cells: st.SearchStrategy[Cell] = st.none() | numbers | tricky | st.binary(max_size=4)
columns = st.lists(cells, max_size=12)


@given(columns)
def test_a_float_reads_the_same_whatever_stands_beside_it(column: list[Cell]) -> None:
    together, malformed = floats([column], len(column))
    apart = [floats([[cell]], 1) for cell in column]

    np.testing.assert_array_equal(together[0], [float(value[0, 0]) for value, _ in apart])
    assert malformed[0].tolist() == [bool(bad[0, 0]) for _, bad in apart]


@given(columns)
def test_an_integer_reads_the_same_whatever_stands_beside_it(column: list[Cell]) -> None:
    together, malformed = integers(column)
    apart = [integers([cell]) for cell in column]

    assert together.tolist() == [int(value[0]) for value, _ in apart]
    assert malformed.tolist() == [bool(bad[0]) for _, bad in apart]


vector_cells: st.SearchStrategy[Cell] = (
    st.lists(st.floats(width=32), max_size=3).map(lambda values: str(values).encode())
    | st.sampled_from([b"[1,2],[3,4]", b"[1,2", b"1,2]", b"null", b"[1e39,0]", b"[]", b"[1,2]]"])
    | cells
)


@given(st.lists(vector_cells, max_size=8))
def test_a_vector_reads_the_same_whatever_stands_beside_it(column: list[Cell]) -> None:
    together, malformed = vectors(column, 2)

    assert together.shape == (len(column), 2)
    for row, cell in enumerate(column):
        alone, bad = vectors([cell], 2)
        np.testing.assert_array_equal(together[row], alone[0])
        assert malformed[row] == bad[0]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_every_finite_float_comes_back_bit_by_bit(values: list[float]) -> None:
    read, malformed = floats([[repr(value).encode()] for value in values], 1)

    assert read[:, 0].tolist() == values
    assert not malformed.any()


@given(st.lists(st.integers(MISSING_INTEGER + 1, 2**63 - 1), max_size=20))
def test_every_int64_comes_back(values: list[int]) -> None:
    read, malformed = integers([str(value).encode() for value in values])

    assert read.tolist() == values
    assert not malformed.any()


def test_integers_as_other_writers_put_them() -> None:
    read, malformed = integers([b"3.0", b" 4", b"1e3", None, b"null", b"2.5", b"1e30", b"x"])

    assert read[:5].tolist() == [3, 4, 1000, MISSING_INTEGER, MISSING_INTEGER]
    assert malformed.tolist() == [False] * 5 + [True] * 3


@pytest.mark.parametrize("text", [b"nan", b"NaN", b"inf", b"-Infinity", b"1e400", b"", b"1_0", b"true", b"[1]"])
def test_what_is_no_finite_number_is_malformed(text: bytes) -> None:
    values, malformed = floats([[b"1.5", text]], 2)

    assert values[0, 0] == 1.5
    assert np.isnan(values[0, 1])
    assert malformed.tolist() == [[False, True]]


def test_bools_and_strings() -> None:
    values, malformed = bools([b"0", b"1", b"true", b"false", None, b"yes"])
    texts, broken = strings(["Zürich".encode(), b"", None, b"\xff"])

    assert values.tolist() == [0, 1, 1, 0, MISSING_INTEGER, MISSING_INTEGER]
    assert malformed.tolist() == [False] * 5 + [True]
    assert texts.tolist() == ["Zürich", "", None, None]
    assert broken.tolist() == [False] * 3 + [True]
