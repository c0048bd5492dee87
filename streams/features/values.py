"""Hashes as Redis answers them → columns: the fields asked for, and the texts in them as numbers, strings and vectors.

What the texts may say: `penstock.streams.features.texts`.

When a value was written: `_ts` of its hash, in Unix milliseconds. `<field>@ts` overrides it for one field and is asked
for where the feature has a `max_age_s`: there the time decides, elsewhere it would double what every look-up reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.models.features import Entity, Feature
from penstock.schemas.columns import MISSING_INTEGER
from penstock.streams.features.cells import Cell, Cells, Hashes, ListedHashes, Reply
from penstock.streams.features.texts import LARGEST_EXACT, bools_of, floats, integers, strings_of, vectors

TIME_FIELD = "_ts"
FIELD_TIME_SUFFIX = "@ts"


@dataclass(slots=True)
class HashRows:
    """What some hashes of one entity hold.

    records     [rows] structured: `floats`, `integers`, `vector0`…, `written` and `malformed`, as in `Columns` and
                `LookedUp`, for the features of the entity
    categories  [rows, categories] strings, None where missing
    """

    records: NDArray[np.void]
    categories: NDArray[np.object_]

    def take(self, rows: NDArray[np.intp]) -> HashRows:
        return HashRows(self.records.take(rows), self.categories.take(rows, axis=0))

    def put(self, rows: NDArray[np.intp], values: HashRows) -> None:
        self._plain()[rows] = values._plain()
        self.categories[rows] = values.categories

    @staticmethod
    def concatenate(parts: Sequence[HashRows]) -> HashRows:
        if len(parts) == 1:
            return parts[0]
        records = np.concatenate([part._plain() for part in parts]).view(parts[0].records.dtype)
        return HashRows(records, np.concatenate([part.categories for part in parts]))

    def _plain(self) -> NDArray[np.void]:
        """The records as plain bytes: numpy copies structured ones field by field, ten times slower."""
        return self.records.view(np.dtype((np.void, self.records.itemsize)))


class HashFormat:
    """The fields that one entity's features need, in the order in which they are asked for, and how they are read."""

    def __init__(self, entity: Entity) -> None:
        self._places = {feature.name: place for place, feature in enumerate(entity.features)}
        self.floats = _of(entity, "float")
        self.integers = _of(entity, "int", "bool")
        self.categories = _of(entity, "category")
        self.vectors = _of(entity, "vector")
        self._whole, self._bools = _of(entity, "int"), _of(entity, "bool")
        self._dated = tuple(feature for feature in entity.features if feature.max_age_s is not None)
        self._dated_places = [self._places[feature.name] for feature in self._dated]
        self._float_places = [self._places[feature.name] for feature in self.floats]
        self._first_whole = len(self.floats) + 1 + len(self._dated)
        self._numbers = self._first_whole + len(self._whole)
        # Numbers stand first: they are read in one pass.
        self.fields: tuple[str, ...] = (
            *map(field_of, self.floats),
            TIME_FIELD,
            *(field_of(feature) + FIELD_TIME_SUFFIX for feature in self._dated),
            *map(field_of, self._whole),
            *map(field_of, self._bools),
            *map(field_of, self.categories),
            *map(field_of, self.vectors),
        )
        columns: list[tuple[str, Any, tuple[int, ...]]] = [
            ("floats", np.float32, (len(self.floats),)),
            ("integers", np.int64, (len(self.integers),)),
            *((f"vector{i}", np.float32, (vector.type.width,)) for i, vector in enumerate(self.vectors)),
            ("written", np.int64, (len(self._places),)),
            ("malformed", np.bool_, (len(self._places),)),
        ]
        self._record = np.dtype(columns, align=True)

    def missing(self, rows: int) -> HashRows:
        """Rows without any value."""
        records = np.zeros(rows, self._record)
        records["floats"] = np.nan
        records["integers"] = MISSING_INTEGER
        for i in range(len(self.vectors)):
            records[f"vector{i}"] = np.nan
        return HashRows(records, np.full((rows, len(self.categories)), None, object))

    def reserve(self, rows: int) -> HashRows:
        """Room for `rows` rows; the memory is taken as they are written."""
        return HashRows(np.zeros(rows, self._record), np.empty((rows, len(self.categories)), object))

    def read(self, replies: Cells | Sequence[Reply]) -> tuple[HashRows, NDArray[np.bool_]]:
        """The rows that `replies` describe, and which of them [rows] hold any value. Errors make a row malformed."""
        refused: list[int] = []
        hashes: Hashes
        if isinstance(replies, Cells):
            hashes = replies
        else:
            nothing: list[Cell] = [None] * len(self.fields)
            refused = [row for row, reply in enumerate(replies) if not isinstance(reply, list)]
            hashes = ListedHashes([reply if isinstance(reply, list) else nothing for reply in replies])
        rows = HashRows(np.zeros(len(hashes), self._record), np.empty((len(hashes), len(self.categories)), object))
        present = np.ones((len(hashes), len(self._places)), np.bool_)
        self._read_numbers(rows.records, present, hashes)
        column = self._numbers
        for feature in self._bools:
            values, malformed = bools_of(*hashes.distinct(column))
            self._put_integers(feature, rows.records, present, values, malformed)
            column += 1
        for i, feature in enumerate(self.categories):
            rows.categories[:, i], malformed = strings_of(*hashes.distinct(column))
            self._note(feature, rows.records, present, rows.categories[:, i] != None, malformed)  # noqa: E711
            column += 1
        for i, feature in enumerate(self.vectors):
            elements, malformed = vectors(hashes.column(column), feature.type.width)
            rows.records[f"vector{i}"] = elements
            self._note(feature, rows.records, present, ~np.isnan(elements[:, 0]), malformed)
            column += 1
        rows.records["malformed"][refused] = True
        if present.all():
            return rows, np.ones(len(hashes), np.bool_)
        rows.records["written"] *= present
        return rows, np.logical_or.reduce(present, axis=1)

    def _note(
        self,
        feature: Feature,
        records: NDArray[np.void],
        present: NDArray[np.bool_],
        there: NDArray[np.bool_],
        malformed: NDArray[np.bool_],
    ) -> None:
        place = self._places[feature.name]
        present[:, place] = there
        records["malformed"][:, place] = malformed

    def _put_integers(
        self,
        feature: Feature,
        records: NDArray[np.void],
        present: NDArray[np.bool_],
        values: NDArray[np.int64],
        malformed: NDArray[np.bool_],
    ) -> None:
        records["integers"][:, self.integers.index(feature)] = values
        self._note(feature, records, present, values != MISSING_INTEGER, malformed)

    def _read_numbers(self, records: NDArray[np.void], present: NDArray[np.bool_], hashes: Hashes) -> None:
        """Floats, the times of writing and ints, in one pass."""
        numbers, malformed = hashes.floats(self._numbers), None
        if numbers is None:
            numbers, malformed = floats(hashes.rows(self._numbers), self._numbers)
        self._put_floats(records, present, numbers[:, : len(self.floats)], malformed)
        self._put_times(records, numbers[:, len(self.floats) : self._first_whole], malformed)
        for column, feature in enumerate(self._whole, self._first_whole):
            values = _whole(numbers[:, column])
            wrong = np.zeros(len(numbers), np.bool_)
            if values is None or (malformed is not None and malformed[:, column].any()):
                values, wrong = integers(hashes.column(column))
            self._put_integers(feature, records, present, values, wrong)

    def _put_floats(
        self,
        records: NDArray[np.void],
        present: NDArray[np.bool_],
        numbers: NDArray[np.float64],
        malformed: NDArray[np.bool_] | None,
    ) -> None:
        with np.errstate(over="ignore"):
            values = numbers.astype(np.float32)
        if not np.isfinite(values).all():
            overflowed = np.isinf(values)
            values[overflowed] = np.nan
            present[:, self._float_places] = ~np.isnan(values)
            records["malformed"][:, self._float_places] = overflowed
        if malformed is not None:
            records["malformed"][:, self._float_places] |= malformed[:, : len(self.floats)]
        records["floats"] = values

    def _put_times(
        self, records: NDArray[np.void], times: NDArray[np.float64], malformed: NDArray[np.bool_] | None
    ) -> None:
        # A time that is missing, malformed or out of range is 0: the value's age is unknown, and any max_age_s is over.
        stamps = np.where((times > 0) & (times < LARGEST_EXACT), times, 0.0).astype(np.int64)
        written = records["written"]
        written[:] = stamps[:, :1]
        if self._dated:
            own = ~np.isnan(times[:, 1:])
            if malformed is not None:
                own |= malformed[:, len(self.floats) + 1 : self._first_whole]
            written[:, self._dated_places] = np.where(own, stamps[:, 1:], stamps[:, :1])


def _whole(numbers: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Numbers as integers, MISSING_INTEGER for NaN; None unless each of the others is whole, and as its text has it."""
    missing = np.isnan(numbers)
    some = missing.any()
    known = np.where(missing, 0.0, numbers) if some else numbers
    if (np.abs(known) >= LARGEST_EXACT).any():
        return None
    values = known.astype(np.int64)
    if (values != known).any():
        return None
    if some:
        values[missing] = MISSING_INTEGER
    return values


def field_of(feature: Feature) -> str:
    """The field of the hash that holds a looked-up feature."""
    return feature.field or feature.name


def _of(entity: Entity, *kinds: str) -> tuple[Feature, ...]:
    return tuple(feature for feature in entity.features if feature.type.kind in kinds)
