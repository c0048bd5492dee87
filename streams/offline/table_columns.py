"""An Arrow table's columns as features: which can be watched, and why the others cannot."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, Layout

_COUNTER_VALUES = 20
"""So many ascending values in the reference are a clock or a counter, not a feature that happens to have risen."""
_SECONDS_UNTIL = 1e11
"""As Unix time, 1973 in ms and 5138 in s."""


class FeatureColumns(NamedTuple):
    """What is watched of a table, and for every other column the reason why not."""

    columns: Columns
    left_out: dict[str, str]


def features_of(table: Any, *, reference_rows: int, ignore: Collection[str] = ()) -> FeatureColumns:
    """The columns of a pyarrow.Table that hold numbers, booleans or categories.

    Left out are times, nested values, columns without a value, identifiers (all distinct strings) and counters (numbers
    that never fall, neither in the first `reference_rows` rows nor in those after).

    >>> table = pa.table({"price": [1.5, None, 2.0], "sold": [True, False, None], "id": ["a", "b", "c"]})
    >>> found = features_of(table, reference_rows=2)
    >>> found.columns.layout.names, found.left_out
    (('price', 'sold'), {'id': 'every row has another value'})
    """
    floats: dict[str, NDArray[np.float32]] = {}
    integers: dict[str, NDArray[np.int64]] = {}
    categories: dict[str, Category] = {}
    left_out: dict[str, str] = {}
    for name in (name for name in table.column_names if name not in ignore):
        column = table.column(name).combine_chunks()
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if column.null_count == len(column):
            left_out[name] = "it has no value"
        elif pa.types.is_boolean(kind) or pa.types.is_integer(kind):
            values = _integers(column)
            if _counts_up(values, reference_rows):
                left_out[name] = "it never falls: a clock or a counter"
            else:
                integers[name] = values
        elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            numbers = numbers_of(column)
            if _counts_up(numbers, reference_rows):
                left_out[name] = "it never falls: a clock or a counter"
            else:
                with np.errstate(over="ignore"):
                    floats[name] = numbers.astype(np.float32)
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            category = category_of(column)
            if len(category.values) == len(column) - column.null_count > 1:
                left_out[name] = "every row has another value"
            else:
                categories[name] = category
        else:
            left_out[name] = "it is a time" if pa.types.is_temporal(kind) else f"it holds {kind}"
    rows = table.num_rows
    columns = Columns(
        Layout(tuple(floats), tuple(integers), tuple(categories)),
        np.stack([*floats.values()], axis=1) if floats else np.empty((rows, 0), np.float32),
        np.stack([*integers.values()], axis=1) if integers else np.empty((rows, 0), np.int64),
        tuple(categories.values()),
        (),
    )
    return FeatureColumns(columns, left_out)


def numbers_of(column: Any) -> NDArray[np.float64]:
    """An Arrow column of numbers or booleans, [rows]; NaN where missing. Raises pyarrow.ArrowInvalid for others."""
    decoded = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    numbers = pc.cast(decoded, pa.float64(), safe=False)
    return np.asarray(pc.fill_null(numbers, np.nan).to_numpy(zero_copy_only=False), np.float64)


def category_of(column: Any) -> Category:
    """An Arrow column of strings, dictionary-encoded."""
    encoded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
    codes = pc.fill_null(pc.cast(encoded.indices, pa.int32()), -1).to_numpy(zero_copy_only=False)
    return Category(codes, tuple(encoded.dictionary.to_pylist()))


def times_of(column: Any) -> NDArray[np.int64]:
    """Unix ms, [rows]: of timestamps, dates, ISO 8601 strings, or numbers of seconds or milliseconds.

    Raises ValueError when one is missing, or is no time.

    >>> times_of(pa.array([1357034400, 1357034401])).tolist(), times_of(pa.array(["2013-01-01T10:00:00Z"])).tolist()
    ([1357034400000, 1357034401000], [1357034400000])
    """
    if column.null_count:
        raise ValueError(f"missing in {column.null_count} rows")
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = numbers_of(column)
        if not np.isfinite(numbers).all():
            raise ValueError("not a finite number in every row")
        factor = 1000.0 if np.abs(numbers).max(initial=0.0) < _SECONDS_UNTIL else 1.0
        return (numbers * factor).astype(np.int64)
    try:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            column = pc.cast(column, pa.timestamp("ms", tz="UTC"))
        times = pc.cast(pc.cast(column, pa.timestamp("ms"), safe=False), pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"of type {kind}, which is no time") from error
    return np.asarray(times.to_numpy(zero_copy_only=False), np.int64)


def _integers(column: Any) -> NDArray[np.int64]:
    values = pc.cast(column, pa.int64(), safe=False)  # an unsigned number beyond 2^63 stays another number
    return np.asarray(pc.fill_null(values, MISSING_INTEGER).to_numpy(zero_copy_only=False), np.int64)


def _counts_up(values: NDArray[Any], reference_rows: int) -> bool:
    reference, rest = values[:reference_rows], values[reference_rows:]
    ascending = all(bool((part[1:] >= part[:-1]).all()) for part in (reference, rest))  # NaN: not so
    return ascending and len(np.unique(reference)) >= _COUNTER_VALUES
