"""The parts of `Columns` as Arrow arrays, and back: what the scored log and its tables are made of."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from penstock.schemas.columns import MISSING_INTEGER, Category, Columns


def without(columns: Columns, withheld: Collection[str]) -> Columns:
    """The values of the named features replaced by missing ones, and their strings gone; unknown names are ignored."""
    layout = columns.layout
    if not set(withheld).intersection(layout.names):
        return columns
    return Columns(
        layout,
        np.where([name in withheld for name in layout.floats], np.float32(np.nan), columns.floats),
        np.where([name in withheld for name in layout.integers], np.int64(MISSING_INTEGER), columns.integers),
        tuple(
            Category(np.full(columns.rows, -1, np.int32), ()) if name in withheld else category
            for name, category in zip(layout.categories, columns.categories, strict=True)
        ),
        tuple(
            np.full_like(vector, np.nan) if name in withheld else vector
            for (name, _), vector in zip(layout.vectors, columns.vectors, strict=True)
        ),
    )


def matrix(values: NDArray[Any]) -> Any:
    """[rows, width] as a FixedSizeList; None where there are no columns."""
    width = values.shape[1]
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), width) if width else None


def bits(flags: NDArray[np.bool_]) -> Any:
    """[rows, features] bool as FixedSizeBinary, the first feature in the highest bit of the first byte."""
    rows, features = flags.shape
    kind = pa.binary(-(-features // 8))
    padded = np.zeros((rows, 8 * kind.byte_width), np.bool_)  # whole bytes per row: packing along an axis is slow
    padded[:, :features] = flags
    packed = np.packbits(padded)
    return pa.FixedSizeBinaryArray.from_buffers(kind, rows, [None, pa.py_buffer(packed)])


def mask(array: Any, rows: int, features: int) -> NDArray[np.bool_]:
    """The [rows, features] bool that `bits` was given."""
    width = array.type.byte_width
    packed = np.frombuffer(array.buffers()[1] or b"", np.uint8)[array.offset * width :][: rows * width]
    return np.unpackbits(packed.reshape(rows, width), axis=1, count=features).view(np.bool_)


def dictionary(category: Category) -> Any:
    """Only with the values that its rows use: others belong to other records, or are withheld."""
    codes, values = category.codes, category.values
    used = np.bincount(codes + 1, minlength=len(values) + 1)[1:] > 0
    if not used.all():
        table = np.append(np.cumsum(used) - 1, -1).astype(np.int32)  # its last entry serves code -1
        codes, values = table[codes], tuple(value for value, kept in zip(values, used.tolist(), strict=True) if kept)
    missing = codes < 0
    indices = pa.array(codes, mask=missing if missing.any() else None)
    return pa.DictionaryArray.from_arrays(indices, pa.array(values, pa.string()))


def category(array: Any) -> Category:
    """The Category that `dictionary` was given, but for values that no row used."""
    indices = array.indices
    codes = (indices.fill_null(-1) if indices.null_count else indices).to_numpy()
    return Category(codes, tuple(array.dictionary.to_pylist()))
