"""Hashes as Redis answers them → columns: the fields asked for, and the texts in them as numbers, strings and vectors.

What the texts may say: `penstock.streams.features.texts`.

When a value was written: `_ts` of its hash, in Unix milliseconds. `<field>@ts` overrides it for one field and is asked
for where the feature has a `max_age_s`: there the time decides, elsewhere it would double what every look-up reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from penstock.models.features import Entity, Feature
from penstock.schemas.columns import MISSING_INTEGER
from penstock.streams.features.texts import LARGEST_EXACT, Cell, bools, floats, integers, strings, vectors

Reply = list[Cell] | Exception
"""The answer to one HMGET: a cell per field, None where it is not there; or an error (the key holds no hash)."""

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
        # As plain bytes: numpy assigns structured records field by field, ten times slower.
        plain = np.dtype((np.void, self.records.itemsize))
        self.records.view(plain)[rows] = values.records.view(plain)
        self.categories[rows] = values.categories

    @staticmethod
    def concatenate(parts: Sequence[HashRows]) -> HashRows:
        if len(parts) == 1:
            return parts[0]
        return HashRows(
            np.concatenate([part.records for part in parts]), np.concatenate([part.categories for part in parts])
        )


class HashFormat:
    """The fields that one entity's features need, in the order in which they are asked for, and how they are read."""

    def __init__(self, entity: Entity) -> None:
        places = {feature.name: place for place, feature in enumerate(entity.features)}
        self.floats = _of(entity, "float")
        self.integers = _of(entity, "int", "bool")
        self.categories = _of(entity, "category")
        self.vectors = _of(entity, "vector")
        self._dated = tuple(feature for feature in entity.features if feature.max_age_s is not None)
        self._dated_places = [places[feature.name] for feature in self._dated]
        self._float_places = [places[feature.name] for feature in self.floats]
        self._places = places
        self._numbers = len(self.floats) + 1 + len(self._dated)
        self.fields: tuple[str, ...] = (
            *map(field_of, self.floats),
            TIME_FIELD,
            *(field_of(feature) + FIELD_TIME_SUFFIX for feature in self._dated),
            *map(field_of, self.integers),
            *map(field_of, self.categories),
            *map(field_of, self.vectors),
        )
        columns: list[tuple[str, Any, tuple[int, ...]]] = [
            ("floats", np.float32, (len(self.floats),)),
            ("integers", np.int64, (len(self.integers),)),
            *((f"vector{i}", np.float32, (vector.type.width,)) for i, vector in enumerate(self.vectors)),
            ("written", np.int64, (len(places),)),
            ("malformed", np.bool_, (len(places),)),
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

    def read(self, replies: Sequence[Reply]) -> tuple[HashRows, NDArray[np.bool_]]:
        """The rows that `replies` describe, and which of them [rows] hold any value. Errors make a row malformed."""
        refused: list[int] = []
        if set(map(type, replies)) != {list}:
            nothing: list[Cell] = [None] * len(self.fields)
            refused = [row for row, reply in enumerate(replies) if not isinstance(reply, list)]
            replies = [reply if isinstance(reply, list) else nothing for reply in replies]
        hashes = cast("Sequence[list[Cell]]", replies)
        rows = self.missing(len(hashes))
        present = np.zeros((len(hashes), len(self._places)), np.bool_)
        self._read_numbers(rows.records, present, hashes)
        column = self._numbers
        for i, feature in enumerate(self.integers):
            parse = bools if feature.type.kind == "bool" else integers
            values, malformed = parse([cells[column] for cells in hashes])
            rows.records["integers"][:, i] = values
            self._note(feature, rows.records, present, values != MISSING_INTEGER, malformed)
            column += 1
        for i, feature in enumerate(self.categories):
            texts, malformed = strings([cells[column] for cells in hashes])
            rows.categories[:, i] = texts
            there = np.array([text is not None for text in texts], np.bool_)
            self._note(feature, rows.records, present, there, malformed)
            column += 1
        for i, feature in enumerate(self.vectors):
            elements, malformed = vectors([cells[column] for cells in hashes], feature.type.width)
            rows.records[f"vector{i}"] = elements
            self._note(feature, rows.records, present, ~np.isnan(elements[:, 0]), malformed)
            column += 1
        if not present.all():
            rows.records["written"] *= present
        rows.records["malformed"][refused] = True
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

    def _read_numbers(
        self, records: NDArray[np.void], present: NDArray[np.bool_], hashes: Sequence[list[Cell]]
    ) -> None:
        """The floats and the times of writing, which stand first in every hash, in one pass."""
        width = self._numbers
        if width != len(self.fields):
            hashes = [cells[:width] for cells in hashes]
        numbers, malformed = floats(hashes, width)
        count = len(self.floats)
        with np.errstate(over="ignore"):
            values = numbers[:, :count].astype(np.float32)
        overflowed = np.isinf(values)
        if overflowed.any():
            values[overflowed] = np.nan
            malformed[:, :count] |= overflowed
        records["floats"] = values
        present[:, self._float_places] = ~np.isnan(values)
        records["malformed"][:, self._float_places] = malformed[:, :count]
        times = numbers[:, count:]
        # A time that is missing, malformed or out of range is 0: the value's age is unknown, and any max_age_s is over.
        stamps = np.where((times > 0) & (times < LARGEST_EXACT), times, 0.0).astype(np.int64)
        written = records["written"]
        written[:] = stamps[:, :1]
        if self._dated:
            own = ~np.isnan(times[:, 1:]) | malformed[:, count + 1 :]
            written[:, self._dated_places] = np.where(own, stamps[:, 1:], stamps[:, :1])


def field_of(feature: Feature) -> str:
    """The field of the hash that holds a looked-up feature."""
    return feature.field or feature.name


def _of(entity: Entity, *kinds: str) -> tuple[Feature, ...]:
    return tuple(feature for feature in entity.features if feature.type.kind in kinds)
