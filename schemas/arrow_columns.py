"""The parts of `Columns` as Arrow arrays, and back: the scored log, its tables and shadow scores are made of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, Layout

_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)  # a block is too small to gain from them
_ONE_THREAD = pa.ipc.IpcReadOptions(use_threads=False)
_KINDS: Mapping[type[np.generic], Any] = {
    dtype: pa.from_numpy_dtype(dtype) for dtype in (np.bool_, np.float32, np.int32, np.int64, np.uint64)
}
_STRINGS = pa.string()
_CATEGORY = pa.dictionary(pa.int32(), _STRINGS)
UNREADABLE = (
    pa.ArrowException, msgspec.MsgspecError, OSError, RecursionError,  # no Arrow, no metadata
    LookupError, ValueError, TypeError, AttributeError, StopIteration,  # Arrow, but other columns, or no batch
)  # fmt: skip
"""What reading a value raises that holds something else."""


class Named(Protocol):
    """Metadata that names features, as `Layout` groups them."""

    floats: list[str]
    integers: list[str]
    categories: list[str]
    vectors: list[tuple[str, int]]


def write(arrays: Mapping[str, Any], metadata: Mapping[bytes, bytes]) -> bytes:
    """One batch as an Arrow IPC stream, LZ4; a column that is None is left out."""
    present = {name: array for name, array in arrays.items() if array is not None}
    batch = pa.RecordBatch.from_pydict(present, metadata=metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_LZ4) as writer:
        writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def read(value: bytes) -> Any:
    """The batch that `write` was given; its columns are views of `value`. Raises what `UNREADABLE` lists."""
    with pa.ipc.open_stream(value, options=_ONE_THREAD) as reader:
        batch = reader.read_next_batch()
    batch.validate(full=True)
    return batch


def parts(columns: Columns) -> dict[str, Any]:
    """The Arrow column of each part; None where it is empty."""
    layout = columns.layout
    return {
        "floats": matrix(columns.floats),
        "integers": matrix(columns.integers),
        **{f"category:{name}": dictionary(c) for name, c in zip(layout.categories, columns.categories, strict=True)},
        **{f"vector:{name}": matrix(v) for (name, _), v in zip(layout.vectors, columns.vectors, strict=True)},
    }


@lru_cache(maxsize=64)
def _layout(
    floats: tuple[str, ...],
    integers: tuple[str, ...],
    categories: tuple[str, ...],
    vectors: tuple[tuple[str, int], ...],
) -> Layout:
    layout = Layout(floats, integers, categories, vectors)
    if len(set(layout.names)) != len(layout.names):
        raise ValueError("two features have the same name")
    return layout


def layout(about: Named) -> Layout:
    """Where the features lie that a record's metadata names: one object for all records with the same names, so that
    what depends on it need not be computed for each. Raises what `UNREADABLE` lists.
    """
    return _layout(tuple(about.floats), tuple(about.integers), tuple(about.categories), tuple(about.vectors))


def columns(batch: Any, layout: Layout) -> Columns:
    """The Columns that `parts` was given. Raises what `UNREADABLE` lists, as do all below."""
    return Columns(
        layout,
        values(batch, "floats", len(layout.floats), np.float32),
        values(batch, "integers", len(layout.integers), np.int64),
        tuple(category(batch, f"category:{name}", missing=True) for name in layout.categories),
        tuple(values(batch, f"vector:{name}", width, np.float32) for name, width in layout.vectors),
    )


def typed(batch: Any, name: str, kind: Any, *, nulls: bool = False) -> Any:
    """A column that must be of this type: a checksum says that a value came whole, not that it is the right one."""
    array = batch.column(name)
    if array.type != kind:
        raise TypeError(f"column {name} is {array.type}, not {kind}")
    if array.null_count and not nulls:
        raise ValueError(f"column {name} has nulls")
    return array


def numbers(batch: Any, name: str, dtype: type[np.generic]) -> NDArray[Any]:
    """[rows] of a column; of bools a copy."""
    array = typed(batch, name, _KINDS[dtype])
    return array.to_numpy(zero_copy_only=dtype is not np.bool_)  # type: ignore[no-any-return]


def values(batch: Any, name: str, width: int, dtype: type[np.generic]) -> NDArray[Any]:
    """The [rows, width] that `matrix` was given."""
    if not width:
        return np.empty((batch.num_rows, 0), dtype)
    if not 0 < width < 2**31:  # Arrow takes -1 for any width
        raise ValueError(f"column {name} cannot be {width} wide")
    array = typed(batch, name, pa.list_(_KINDS[dtype], width))
    first = array.offset * width  # flattening would find that out too, in three times the time
    return array.values.to_numpy()[first : first + len(array) * width].reshape(len(array), width)  # type: ignore[no-any-return]


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


def mask(batch: Any, name: str, features: int) -> NDArray[np.bool_]:
    """The [rows, features] bool that `bits` was given."""
    rows, width = batch.num_rows, -(-features // 8)
    array = typed(batch, name, pa.binary(width))
    packed = np.frombuffer(array.buffers()[1] or b"", np.uint8)[array.offset * width :][: rows * width]
    return np.unpackbits(packed.reshape(rows, width), axis=1, count=features).view(np.bool_)


def dictionary(category: Category) -> Any:
    """Only with the values that its rows use: others belong to other records, or are withheld."""
    codes, values = category.codes, category.values
    counts = np.bincount(codes + 1, minlength=len(values) + 1)
    used = counts[1:] > 0
    if not used.all():
        table = np.append(np.cumsum(used) - 1, -1).astype(np.int32)  # its last entry serves code -1
        codes, values = table[codes], tuple(value for value, kept in zip(values, used.tolist(), strict=True) if kept)
    indices = pa.array(codes, mask=codes < 0 if counts[0] else None)
    return pa.DictionaryArray.from_arrays(indices, pa.array(values, _STRINGS))


def category(batch: Any, name: str, *, missing: bool = False) -> Category:
    """The Category that `dictionary` was given, but for values that no row used; `missing`: rows may have none."""
    array = typed(batch, name, _CATEGORY, nulls=missing)
    indices = array.indices
    if array.dictionary.null_count or (indices.null_count and not missing):
        raise ValueError(f"column {name} has nulls")
    codes = (indices.fill_null(-1) if indices.null_count else indices).to_numpy()
    return Category(codes, tuple(array.dictionary.to_pylist()))
