from __future__ import annotations

import math
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from penstock.schemas.columns import MISSING_INTEGER
from penstock.streams.offline.table_columns import features_of, times_of


def features(**columns: Any) -> Any:
    return features_of(pa.table(columns), reference_rows=100)


def test_numbers_booleans_and_strings_are_features() -> None:
    found = features(
        price=pa.array([1.5, None, math.inf]),
        count=[3, None, 1],
        sold=[True, None, False],
        airport=["JFK", None, "JFK"],
    ).columns

    assert found.layout.names == ("price", "count", "sold", "airport")
    np.testing.assert_array_equal(found.floats[:, 0], [1.5, np.nan, np.inf])
    assert found.integers.tolist() == [[3, 1], [MISSING_INTEGER, MISSING_INTEGER], [1, 0]]
    assert found.categories[0].decoded() == ["JFK", None, "JFK"]


def test_dictionaries_and_decimals_are_read_as_what_they_hold() -> None:
    found = features(
        airport=pa.array(["JFK", None, "JFK"]).dictionary_encode(), price=pa.array([1, 3, 2]).cast(pa.decimal128(21, 2))
    ).columns

    assert found.categories[0].decoded() == ["JFK", None, "JFK"]
    assert found.floats[:, 0].tolist() == [1.0, 3.0, 2.0]


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ([None, None, None], "it has no value"),
        (["a", "b", "c"], "every row has another value"),
        ([date(2013, 1, 1)] * 3, "it is a time"),
        ([[1, 2], [3], []], "it holds list<item: int64>"),
    ],
)
def test_what_cannot_be_watched_is_left_out_with_a_reason(column: list[Any], reason: str) -> None:
    assert features(column=column).left_out == {"column": reason}


def test_a_counter_is_left_out_and_a_step_is_not() -> None:
    rows = np.arange(200)

    found = features(number=rows, again=rows % 100, step=rows > 150, late=np.where(rows < 100, 0.0, rows))

    assert found.left_out == {
        "number": "it never falls: a clock or a counter",
        "again": "it never falls: a clock or a counter",
    }


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1357034400, 1357034401]),
        pa.array([1357034400000, 1357034401000]),
        pa.array(["2013-01-01T10:00:00Z", "2013-01-01T10:00:01Z"]),
        pa.array([datetime(2013, 1, 1, 10, 0, 0), datetime(2013, 1, 1, 10, 0, 1)]),
    ],
    ids=["seconds", "milliseconds", "text", "timestamps"],
)
def test_times_are_understood_in_every_usual_form(column: Any) -> None:
    assert times_of(column).tolist() == [1357034400000, 1357034401000]


@pytest.mark.parametrize("column", [pa.array([1, None]), pa.array([1.0, math.nan]), pa.array(["soon", "later"])])
def test_what_is_no_time_is_refused(column: Any) -> None:
    with pytest.raises(ValueError, match=r"missing|finite|no time"):
        times_of(column)
