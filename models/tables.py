"""Training tables as columns: arrays, Arrow tables and data frames, with the catalogue's treatment of what is missing.

Training and serving share this module's output type and `penstock.models.resolution`, so a model is trained on exactly
what it will be given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penstock.models.features import Catalogue, Feature
from penstock.models.resolution import absences, fill
from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, Layout
from penstock.schemas.errors import ConfigurationError


class ArrowTable(Protocol):
    """A pyarrow.Table, or anything that looks like one."""

    @property
    def column_names(self) -> list[str]: ...
    def column(self, name: str, /) -> Any: ...


class DataFrame(Protocol):
    """A pandas.DataFrame, or anything that looks like one."""

    @property
    def columns(self) -> Iterable[Any]: ...
    def __getitem__(self, name: str, /) -> Any: ...


Table = Mapping[str, ArrayLike] | ArrowTable | DataFrame


def columns_from(catalogue: Catalogue, table: Table | Columns, features: Sequence[str] | None = None) -> Columns:
    """The features of a training table as `Columns`, each row treated as the score role would treat it.

    Missing values (None, NaN, NaT) become the default or stay missing, as the catalogue says. `features` limits the
    columns to those a model reads; by default the table must have every feature of the catalogue. `Columns` pass
    through.

    Raises ConfigurationError, naming the feature, when one is absent, has another type, is infinite, or misses values
    that the score role would reject.

    >>> from penstock.schemas.columns import FeatureType
    >>> catalogue = Catalogue((Feature("distance", FeatureType("float"), missing="default", default=500.0),))
    >>> columns_from(catalogue, {"distance": [187, None]}).floats
    array([[187.],
           [500.]], dtype=float32)
    """
    if isinstance(table, Columns):
        return table
    wanted = set(catalogue.by_name if features is None else features)
    for name in sorted(wanted - set(catalogue.by_name)):
        raise _wrong(name, None, "a feature of the catalogue")
    found = _arrays(table)
    layout = only(catalogue.layout, wanted)
    for name in layout.names:
        if name not in found:
            raise _wrong(name, None, f"a column of the table (found {', '.join(map(str, found)) or 'none'})")
    lengths = {name: len(found[name]) for name in layout.names}
    rows = next(iter(lengths.values()), 0)
    for name, length in lengths.items():
        if length != rows:
            raise _wrong(name, f"{length} rows long", f"{rows} rows, like the other columns")
    columns = Columns.missing(layout, rows)
    for i, name in enumerate(layout.floats):
        columns.floats[:, i] = _finite(name, _numbers(name, found[name]))
    for i, name in enumerate(layout.integers):
        columns.integers[:, i] = _integers(catalogue.by_name[name], found[name])
    columns.categories = tuple(_category(name, found[name]) for name in layout.categories)
    columns.vectors = tuple(_vector(name, width, found[name]) for name, width in layout.vectors)
    _apply_policies(catalogue, columns)
    return columns


def only(layout: Layout, names: Iterable[str]) -> Layout:
    """The part of a layout that holds `names`, in its order."""
    wanted = set(names)
    return Layout(
        tuple(name for name in layout.floats if name in wanted),
        tuple(name for name in layout.integers if name in wanted),
        tuple(name for name in layout.categories if name in wanted),
        tuple((name, width) for name, width in layout.vectors if name in wanted),
    )


def select(columns: Columns, layout: Layout) -> Columns:
    """The features of `layout`, which are some of `columns`. Raises ValueError when one is not there."""
    if layout == columns.layout:
        return columns
    old = columns.layout
    vectors = [name for name, _ in old.vectors]
    return Columns(
        layout,
        columns.floats[:, [old.floats.index(name) for name in layout.floats]],
        columns.integers[:, [old.integers.index(name) for name in layout.integers]],
        tuple(columns.categories[old.categories.index(name)] for name in layout.categories),
        tuple(columns.vectors[vectors.index(name)] for name, _ in layout.vectors),
    )


def digest_of(columns: Columns) -> str:
    """SHA-256 over names and values: which training data a model has seen. The order of a dictionary does not count."""
    digest = hashlib.sha256(repr(columns.layout).encode())
    digest.update(columns.floats.tobytes())
    digest.update(columns.integers.tobytes())
    for column in columns.categories:
        words = sorted({column.values[code] for code in np.unique(column.codes) if code >= 0})
        ranks = {word: rank for rank, word in enumerate(words)}
        table = np.array([*(ranks.get(value, -1) for value in column.values), -1], np.int32)
        digest.update(repr(words).encode())
        digest.update(table[column.codes].tobytes())
    for vector in columns.vectors:
        digest.update(vector.tobytes())
    return digest.hexdigest()


def _arrays(table: Table) -> Mapping[str, Any]:
    if isinstance(table, Mapping):
        return {name: _sized(values) for name, values in table.items()}
    if isinstance(names := getattr(table, "column_names", None), list):
        return {name: table.column(name).to_pylist() for name in names}  # type: ignore[union-attr]
    return {str(name): _sized(table[name]) for name in table.columns}  # type: ignore[union-attr, index]


def _sized(values: Any) -> Any:
    return values if hasattr(values, "__len__") else np.asarray(values)


def _numbers(name: str, values: Any) -> NDArray[np.float64]:
    """float64 with NaN for None; raises where something else than numbers is found."""
    array = np.asarray(values)
    if array.dtype == object:
        array = np.array([np.nan if _is_missing(value) else value for value in array.tolist()], object)
        if any(not isinstance(value, (int, float, np.number, np.bool_)) for value in array):
            raise _wrong(name, "not all numbers", "numbers, or None where missing")
    if array.dtype.kind not in "biufO" or array.ndim != 1:
        raise _wrong(name, f"{array.dtype} of shape {array.shape}", "one number per row")
    return array.astype(np.float64)


def _finite(name: str, numbers: NDArray[np.float64]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        single = numbers.astype(np.float32)
    if infinite := int(np.isinf(single).sum()):
        raise _wrong(name, f"infinite (as float32) in {infinite} rows", "finite numbers; such events are dead letters")
    return single


def _integers(feature: Feature, values: Any) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.dtype.kind in "biu":
        whole = array.astype(np.int64)
    else:
        numbers = _numbers(feature.name, values)
        absent = np.isnan(numbers)
        if not np.array_equal(numbers[~absent], np.trunc(numbers[~absent])) or np.isinf(numbers).any():
            raise _wrong(feature.name, "not whole everywhere", f"whole numbers ({feature.type} in the catalogue)")
        whole = np.where(absent, MISSING_INTEGER, np.where(absent, 0, numbers).astype(np.int64))
    if feature.type.kind == "bool" and not np.isin(whole, (0, 1, MISSING_INTEGER)).all():
        raise _wrong(feature.name, "neither 0 nor 1 somewhere", "booleans")
    return whole


def _category(name: str, values: Any) -> Category:
    positions: dict[str, int] = {}
    codes = np.empty(len(values), np.int32)
    listed: Iterable[Any] = values.tolist() if hasattr(values, "tolist") else values
    for row, value in enumerate(listed):
        if isinstance(value, str):
            codes[row] = positions.setdefault(value, len(positions))
        elif _is_missing(value):
            codes[row] = -1
        else:
            raise _wrong(name, f"{value!r} in row {row}", "strings, or None where missing")
    return Category(codes, tuple(positions))


def _vector(name: str, width: int, values: Any) -> NDArray[np.float32]:
    rows = [np.full(width, np.nan) if _is_missing(value) else value for value in values]
    try:
        matrix = np.array(rows, np.float64).reshape(len(rows), -1) if rows else np.empty((0, width))
    except (ValueError, TypeError) as error:
        raise _wrong(name, f"not a matrix ({error})", f"{width} numbers per row, or None where missing") from error
    if matrix.shape[1] != width:
        raise _wrong(name, f"{matrix.shape[1]} wide", f"vector({width})")
    return _finite(name, matrix)


def _is_missing(value: Any) -> bool:
    return value is None or (np.isscalar(value) and value != value) or type(value).__name__ in ("NaTType", "NAType")


def _apply_policies(catalogue: Catalogue, columns: Columns) -> None:
    absent = absences(columns)
    for place in np.flatnonzero(absent.any(axis=0)).tolist():
        feature, rows = catalogue.by_name[columns.layout.names[place]], absent[:, place]
        if feature.missing == "reject":
            raise _wrong(
                feature.name,
                f"missing in {int(rows.sum())} of {columns.rows} rows",
                "a value in every row, as the catalogue has neither a default nor missing = 'nan' for it",
            )
        fill(columns, feature, rows)


def _wrong(feature: str, found: str | None, expected: str) -> ConfigurationError:
    return ConfigurationError("training table", feature, found=found, expected=expected)
