"""Columns to tensors, against the definition applied value by value."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penstock.models.encoding import InputEncoder, encode_inputs
from penstock.models.signature import Signature, TensorInput
from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, Layout

LAYOUT = Layout(("a", "b", "c"), ("i", "j"), ("k",), (("v", 2),))
VOCABULARY = ("JFK", "LGA")

numbers = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32))
rows_of_values = st.lists(
    st.tuples(
        st.tuples(numbers, numbers, numbers),
        st.tuples(st.none() | st.integers(-100, 100), st.none() | st.integers(0, 1)),
        st.sampled_from([None, "JFK", "LGA", "ORD", ""]),
        st.none() | st.tuples(st.floats(-9, 9, width=32), st.floats(-9, 9, width=32)),
    ),
    max_size=20,
)


@given(rows_of_values, st.permutations(["a", "b", "c", "i", "j", "v"]), st.booleans())
def test_each_value_lands_where_the_signature_says(rows: list[tuple], order: list[str], mask: bool) -> None:  # type: ignore[type-arg]
    columns = Columns.missing(LAYOUT, len(rows))
    words = ("ORD", "", "LGA", "JFK")
    codes = np.array([-1 if row[2] is None else words.index(row[2]) for row in rows], np.int32)
    columns.categories = (Category(codes, words),)
    for i, (floats, integers, _, vector) in enumerate(rows):
        columns.floats[i] = [np.nan if value is None else value for value in floats]
        columns.integers[i] = [MISSING_INTEGER if value is None else value for value in integers]
        columns.vectors[0][i] = np.nan if vector is None else vector
    signature = Signature(
        (TensorInput("x", tuple(order), mask=mask), TensorInput("k", ("k",), "int64", mask=True)),
        vocabularies={"k": VOCABULARY},
    )

    tensors = encode_inputs(signature, columns)

    for i, (floats, integers, word, vector) in enumerate(rows):
        values = {"a": floats[0], "b": floats[1], "c": floats[2], "i": integers[0], "j": integers[1]}
        expected = [value for name in order for value in ((vector or (None, None)) if name == "v" else (values[name],))]
        row = np.array([np.nan if value is None else value for value in expected], np.float32)
        np.testing.assert_array_equal(tensors["x"][i], row)
        if mask:
            assert tensors["x_missing"][i].tolist() == [value is None for value in expected]
        index = 0 if word is None else 2 + VOCABULARY.index(word) if word in VOCABULARY else 1
        assert tensors["k"][i].tolist() == [index]
        assert tensors["k_missing"][i].tolist() == [word is None]


def test_the_float_matrix_in_its_own_order_is_one_copy() -> None:
    encoder = InputEncoder(Signature((TensorInput("x", LAYOUT.floats),)), LAYOUT)
    assert len(encoder._copies) == 1


def test_only_the_windows_rows_are_written() -> None:
    encoder = InputEncoder(Signature((TensorInput("x", LAYOUT.floats),)), LAYOUT)
    buffer = encoder.empty(4)
    columns = Columns.missing(LAYOUT, 2)
    columns.floats[:] = 7
    encoder.encode(columns, buffer)
    assert buffer["x"][:, 0].tolist() == [7, 7, 0, 0]
