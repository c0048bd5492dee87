"""Golden rows: sample inputs with the outputs that a package promises, as one Arrow IPC file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.models.features import Catalogue
from penstock.models.signature import Signature
from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, Floats, Layout

GOLDEN_ROWS = 64
_OUTPUT = "penstock.output"


def sample_rows(columns: Columns, catalogue: Catalogue, signature: Signature, rows: int = GOLDEN_ROWS) -> Columns:
    """At most `rows` rows, evenly spaced; sensitive features get made-up values: their mean, or vocabulary entries."""
    chosen = np.unique(np.linspace(0, columns.rows - 1, min(rows, columns.rows)).astype(np.intp))
    sample = columns.take(chosen)
    layout = sample.layout

    def sensitive(name: str) -> bool:
        return catalogue.by_name[name].sensitive

    for i, name in enumerate(layout.floats):
        if sensitive(name):
            sample.floats[:, i] = _mean(columns.floats[:, i])
    for i, name in enumerate(layout.integers):
        if sensitive(name):
            present = columns.integers[columns.integers[:, i] != MISSING_INTEGER, i]
            sample.integers[:, i] = np.round(_mean(present.astype(np.float32)))
    sample.categories = tuple(
        _cycled(signature.vocabularies.get(name, ()), sample.rows) if sensitive(name) else column
        for name, column in zip(layout.categories, sample.categories, strict=True)
    )
    for (name, _), vector in zip(layout.vectors, sample.vectors, strict=True):
        if sensitive(name):
            vector[:] = _mean(vector)
    return sample


def write_golden(path: Path, columns: Columns, outputs: Floats) -> None:
    """`outputs` [rows, width] are what `forward()` gave for these rows."""
    layout = columns.layout
    arrays: dict[str, Any] = {name: pa.array(columns.floats[:, i]) for i, name in enumerate(layout.floats)}
    for i, name in enumerate(layout.integers):
        values = np.ascontiguousarray(columns.integers[:, i])
        arrays[name] = pa.array(values, mask=values == MISSING_INTEGER)
    for name, column in zip(layout.categories, columns.categories, strict=True):
        arrays[name] = pa.array(column.decoded(), pa.utf8())
    for (name, width), vector in zip(layout.vectors, columns.vectors, strict=True):
        arrays[name] = _rows_of(vector, width)
    arrays[_OUTPUT] = _rows_of(outputs, outputs.shape[1])
    table = pa.table(arrays)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def read_golden(path: Path, layout: Layout) -> tuple[Columns, Floats]:
    """The rows as columns of `layout`, where features that the package does not have are missing; and their outputs.

    Raises ValueError (pyarrow's errors are among its subclasses) or KeyError when the file does not fit.
    """
    with pa.OSFile(str(path), "rb") as source, pa.ipc.open_file(source) as reader:
        table = reader.read_all()
    table.validate(full=True)
    columns = Columns.missing(layout, table.num_rows)
    known = set(table.column_names)
    for i, name in enumerate(layout.floats):
        if name in known:
            columns.floats[:, i] = table.column(name).to_numpy()
    for i, name in enumerate(layout.integers):
        if name in known:
            columns.integers[:, i] = table.column(name).fill_null(MISSING_INTEGER).to_numpy()
    columns.categories = tuple(
        _category(table.column(name).to_pylist()) if name in known else column
        for name, column in zip(layout.categories, columns.categories, strict=True)
    )
    columns.vectors = tuple(
        _matrix(table.column(name)) if name in known else vector
        for (name, _), vector in zip(layout.vectors, columns.vectors, strict=True)
    )
    return columns, _matrix(table.column(_OUTPUT))


def _mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean(dtype=np.float64)) if finite.size else 0.0


def _cycled(vocabulary: tuple[str, ...], rows: int) -> Category:
    return Category((np.arange(rows) % max(len(vocabulary), 1)).astype(np.int32), vocabulary or ("",))


def _rows_of(matrix: Floats, width: int) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(matrix, np.float32).reshape(-1)), width)


def _matrix(column: Any) -> Floats:
    flat = column.combine_chunks()
    width = flat.type.list_size
    matrix: Floats = flat.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, width)
    return matrix


def _category(values: list[str | None]) -> Category:
    words = tuple(dict.fromkeys(value for value in values if value is not None))
    places: dict[str | None, int] = {word: place for place, word in enumerate(words)}
    return Category(np.array([places.get(value, -1) for value in values], np.int32), words)
