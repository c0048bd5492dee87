"""The values of a window, column by column: what flows from the decoder through the look-ups to the model and the log.

A `Layout` says where each feature of the catalogue lies; `Columns` holds the values. Features that come with the event
stand before those that are looked up, so that a decoder fills the left of each matrix and the feature store the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.schemas.layout import MISSING_INTEGER as MISSING_INTEGER
from penstock.schemas.layout import FeatureType as FeatureType
from penstock.schemas.layout import Kind as Kind
from penstock.schemas.layout import Layout as Layout

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Codes = NDArray[np.int32]


class Category(NamedTuple):
    """A dictionary-encoded column of strings. `codes` [rows] index into `values`; -1 is missing."""

    codes: Codes
    values: tuple[str, ...]

    def decoded(self) -> list[str | None]:
        """The strings, None where missing.

        >>> Category(np.array([1, -1, 0], np.int32), ("JFK", "LGA")).decoded()
        ['LGA', None, 'JFK']
        """
        lookup: list[str | None] = [*self.values, None]
        return [lookup[code] for code in self.codes]

    @staticmethod
    def concatenate(parts: Sequence[Category]) -> Category:
        """The rows of all parts, in order.

        >>> jfk, lga = (Category(np.array([0], np.int32), (airport,)) for airport in ("JFK", "LGA"))
        >>> Category.concatenate([jfk, lga, jfk]).decoded()
        ['JFK', 'LGA', 'JFK']
        """
        positions: dict[str, int] = {}
        recoded = []
        for part in parts:
            table = np.array([*(positions.setdefault(value, len(positions)) for value in part.values), -1], np.int32)
            recoded.append(table[part.codes])
        return Category(np.concatenate(recoded), tuple(positions))


@dataclass(slots=True)
class Columns:
    """`rows` values of every feature in `layout`.

    floats      [rows, len(layout.floats)] float32; NaN is missing, infinities never occur
    integers    [rows, len(layout.integers)] int64; MISSING_INTEGER is missing, bools are 0 and 1
    categories  one Category per name of layout.categories
    vectors     one [rows, width] float32 per entry of layout.vectors; a missing vector is all NaN
    """

    layout: Layout
    floats: Floats
    integers: Integers
    categories: tuple[Category, ...]
    vectors: tuple[Floats, ...]

    @property
    def rows(self) -> int:
        return len(self.floats)

    @classmethod
    def missing(cls, layout: Layout, rows: int) -> Columns:
        """Every value missing."""
        return cls(
            layout,
            np.full((rows, len(layout.floats)), np.nan, np.float32),
            np.full((rows, len(layout.integers)), MISSING_INTEGER, np.int64),
            tuple(Category(np.full(rows, -1, np.int32), ()) for _ in layout.categories),
            tuple(np.full((rows, width), np.nan, np.float32) for _, width in layout.vectors),
        )

    def take(self, rows: slice | NDArray[np.intp]) -> Columns:
        """Some of the rows; a slice shares memory, an index array copies."""
        return Columns(
            self.layout,
            self.floats[rows],
            self.integers[rows],
            tuple(Category(column.codes[rows], column.values) for column in self.categories),
            tuple(vector[rows] for vector in self.vectors),
        )

    @staticmethod
    def concatenate(parts: Sequence[Columns]) -> Columns:
        """The rows of all parts, in order; the parts share one layout.

        >>> layout = Layout(categories=("origin",))
        >>> left = Columns(layout, np.empty((1, 0), np.float32), np.empty((1, 0), np.int64),
        ...                (Category(np.array([0], np.int32), ("JFK",)),), ())
        >>> right = Columns(layout, np.empty((2, 0), np.float32), np.empty((2, 0), np.int64),
        ...                 (Category(np.array([0, 1], np.int32), ("LGA", "JFK")),), ())
        >>> Columns.concatenate([left, right]).categories[0].decoded()
        ['JFK', 'LGA', 'JFK']
        """
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        return Columns(
            first.layout,
            np.concatenate([part.floats for part in parts]),
            np.concatenate([part.integers for part in parts]),
            tuple(
                Category.concatenate([part.categories[i] for part in parts])
                for i in range(len(first.layout.categories))
            ),
            tuple(np.concatenate([part.vectors[i] for part in parts]) for i in range(len(first.layout.vectors))),
        )
