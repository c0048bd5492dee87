"""From columns to the arrays that a network's tensors share memory with: the one code of training and of serving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.models.signature import FIRST_INDEX, MISSING_INDEX, UNKNOWN_INDEX, Signature
from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, Layout

Tensors = dict[str, NDArray[Any]]
"""Argument of forward() → [rows, width] float32 or int64."""


class _Copy(NamedTuple):
    """A run of neighbouring source columns that lands in neighbouring columns of a tensor."""

    group: str
    tensor: str
    target: slice
    source: slice
    mask: str | None
    vocabulary: dict[str, int]


class InputEncoder:
    """Writes the features of a window into a network's input arrays.

    >>> from penstock.models.signature import TensorInput
    >>> encoder = InputEncoder(Signature((TensorInput("x", ("b", "a")),)), Layout(floats=("a", "b")))
    >>> columns = Columns.missing(Layout(floats=("a", "b")), 1)
    >>> columns.floats[:] = [[1, 2]]
    >>> encoder.encode(columns)["x"]
    array([[2., 1.]], dtype=float32)
    """

    def __init__(self, signature: Signature, layout: Layout) -> None:
        """Raises KeyError when `layout` lacks a feature: `Signature.check` says so in a sentence first."""
        self.layout = layout
        self.dtypes: dict[str, type[np.float32] | type[np.int64]] = {}
        self.widths: dict[str, int] = {}
        self._copies: list[_Copy] = []
        places = _places(layout)
        for tensor in signature.inputs:
            mask = tensor.mask_name if tensor.mask else None
            width = 0
            for feature in tensor.features:
                group, position, columns = places[feature]
                words = signature.vocabularies.get(feature, ())
                vocabulary = {value: FIRST_INDEX + i for i, value in enumerate(words)}
                source, target = slice(position, position + 1), slice(width, width + columns)
                self._append(_Copy(group, tensor.name, target, source, mask, vocabulary))
                width += columns
            self.dtypes[tensor.name] = np.int64 if tensor.dtype == "int64" else np.float32
            self.widths[tensor.name] = width
            if mask is not None:
                self.dtypes[mask], self.widths[mask] = np.float32, width

    def _append(self, copy: _Copy) -> None:
        last = self._copies[-1] if self._copies else None
        if (
            last is not None
            and copy.group in ("floats", "integers")
            and (last.group, last.tensor) == (copy.group, copy.tensor)
            and (last.source.stop, last.target.stop) == (copy.source.start, copy.target.start)
        ):
            self._copies[-1] = last._replace(
                source=slice(last.source.start, copy.source.stop), target=slice(last.target.start, copy.target.stop)
            )
        else:
            self._copies.append(copy)

    def empty(self, rows: int) -> Tensors:
        """Zeros of the right shapes and dtypes."""
        return {name: np.zeros((rows, self.widths[name]), dtype) for name, dtype in self.dtypes.items()}

    def encode(self, columns: Columns, into: Mapping[str, NDArray[Any]] | None = None) -> Tensors:
        """Fill the first `columns.rows` rows of the arrays in `into` (by default new ones) and return them."""
        rows = columns.rows
        tensors = self.empty(rows) if into is None else dict(into)
        for group, name, target, source, mask, vocabulary in self._copies:
            array = tensors[name]
            place = array[:rows, target]
            match group:
                case "floats":
                    place[...] = columns.floats[:, source]
                case "integers":
                    values = columns.integers[:, source]
                    place[...] = values
                    place[values == MISSING_INTEGER] = np.nan
                case "vectors":
                    place[...] = columns.vectors[source.start]
                case _:
                    place[:, 0] = indices(columns.categories[source.start], vocabulary)
            if mask is not None:
                absent = place == MISSING_INDEX if group == "categories" else np.isnan(place)
                tensors[mask][:rows, target] = absent
        return tensors


def indices(column: Category, vocabulary: Mapping[str, int]) -> NDArray[np.int64]:
    """Vocabulary positions of a category, [rows].

    >>> indices(Category(np.array([1, 0, -1], np.int32), ("JFK", "ORD")), {"JFK": 2})
    array([1, 2, 0])
    """
    known = (vocabulary.get(value, UNKNOWN_INDEX) for value in column.values)
    table = np.fromiter((*known, MISSING_INDEX), np.int64, len(column.values) + 1)
    return table[column.codes]


def encode_inputs(signature: Signature, columns: Columns) -> Tensors:
    """The arrays that `forward()` gets for these columns: for training code, through `torch.from_numpy`."""
    return InputEncoder(signature, columns.layout).encode(columns)


def _places(layout: Layout) -> dict[str, tuple[str, int, int]]:
    """Feature → (group, position in the group, width)."""
    return {
        **{name: ("floats", i, 1) for i, name in enumerate(layout.floats)},
        **{name: ("integers", i, 1) for i, name in enumerate(layout.integers)},
        **{name: ("categories", i, 1) for i, name in enumerate(layout.categories)},
        **{name: ("vectors", i, width) for i, (name, width) in enumerate(layout.vectors)},
    }
