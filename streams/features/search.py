"""One entity's look-ups for some rows of a window: what the cache holds, what is asked for, and where it all goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
from numpy.typing import NDArray

from penstock.models.features import Catalogue, Entity
from penstock.schemas.columns import Category, Codes, Columns, Layout
from penstock.streams.features.cache import FeatureCache
from penstock.streams.features.cells import Cells
from penstock.streams.features.redis_hashes import RedisOutage
from penstock.streams.features.values import HashFormat, HashRows
from penstock.streams.features.wire import Batch, HmgetPacker, Replies

_BATCH_KEYS = 1024
"""Reading the replies to so many takes a millisecond or two; then the event loop goes round."""


class EntityLookUp:
    """One entity: its keys, commands, cache, and its columns in the layout."""

    def __init__(self, entity: Entity, format: HashFormat, cache: FeatureCache, first: int) -> None:
        self.template = entity.key
        self.format = format
        self.cache = cache
        self.packer = HmgetPacker(entity.prefix, format.fields)
        self.places = slice(first, first + len(entity.features))
        """Its features in `LookedUp`."""

    def columns(self, layout: Layout) -> tuple[slice, slice, list[int]]:
        """Its features' columns in `Columns.floats` and `.integers`, and their places in `.vectors`."""
        vectors = [name for name, _ in layout.vectors]
        return (
            _run(layout.floats, [feature.name for feature in self.format.floats]),
            _run(layout.integers, [feature.name for feature in self.format.integers]),
            [vectors.index(feature.name) for feature in self.format.vectors],
        )


def entity_look_ups(
    catalogue: Catalogue,
    *,
    cache_rows: int = 0,
    cache_ttl_s: float = 0.0,
    missing_ttl_s: float = 0.0,
    stale_s: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> list[EntityLookUp]:
    """All entities of the catalogue, each with a cache of its own."""
    entities = []
    first = 0
    for entity in catalogue.entities:
        hash_format = HashFormat(entity)
        cache = FeatureCache(
            hash_format,
            capacity=cache_rows,
            ttl_s=cache_ttl_s,
            missing_ttl_s=min(missing_ttl_s, cache_ttl_s),
            stale_s=stale_s,
            clock=clock,
        )
        entities.append(EntityLookUp(entity, hash_format, cache, first))
        first += len(entity.features)
    return entities


class Search:
    """One entity's look-ups for some rows of a window."""

    def __init__(self, entity: EntityLookUp, keys: list[str | None]) -> None:
        self.entity, self.keys = entity, keys
        self.found = entity.cache.find(keys)
        self._rows = np.flatnonzero(~self.found.current)
        missed = keys if len(self._rows) == len(keys) else [keys[row] for row in self._rows.tolist()]
        without = [place for place, key in enumerate(missed) if key is None] if None in missed else []
        self.without_key = len(without)
        if without:
            self._rows = np.delete(self._rows, without)
            missed = [key for key in missed if key is not None]
        self.asked = cast("list[str]", list(dict.fromkeys(missed)))
        self._positions = np.arange(len(missed))
        if len(self.asked) < len(missed):
            place = {key: position for position, key in enumerate(self.asked)}
            self._positions = np.array([place[key] for key in cast("list[str]", missed)], np.intp)
        self._received: list[HashRows] = []
        self._answered = 0

    def batches(self) -> Iterator[list[str]]:
        for start in range(0, len(self.asked), _BATCH_KEYS):
            yield self.asked[start : start + _BATCH_KEYS]

    def pack(self, keys: list[str]) -> Batch:
        return Batch(self.entity.packer.pack(keys), len(keys), len(self.entity.format.fields))

    def receive(self, keys: list[str], replies: Replies) -> None:
        for reply in () if isinstance(replies, Cells) else replies:
            if type(reply) is not list and not str(reply).startswith("WRONGTYPE"):
                raise RedisOutage(f"a look-up is refused: {reply}")
        rows, found = self.entity.format.read(replies)
        self.entity.cache.put(keys, rows, found)
        self._received.append(rows)
        self._answered += len(keys)

    def mark(self, unanswered: NDArray[np.bool_], late: NDArray[np.bool_], rows: slice) -> None:
        """Write down what Redis did not say: where nothing stands in, and where the cache does past its time limit.

        unanswered  [rows of the window, looked-up features]
        late        [rows of the window]
        """
        lost = self._rows[self._positions >= self._answered]
        expired = self.found.expired[lost]
        unanswered[rows.start + lost[~expired], self.entity.places] = True
        late[rows.start + lost[expired]] = True

    def fill(
        self,
        columns: Columns,
        written: NDArray[np.int64],
        malformed: NDArray[np.bool_],
        rows: slice,
        categories: dict[str, list[NDArray[np.object_]]],
    ) -> None:
        values = self._values()
        records = values.records
        floats, integers, vectors = self.entity.columns(columns.layout)
        columns.floats[rows, floats] = records["floats"]
        columns.integers[rows, integers] = records["integers"]
        for i, place in enumerate(vectors):
            columns.vectors[place][rows] = records[f"vector{i}"]
        written[rows, self.entity.places] = records["written"]
        malformed[rows, self.entity.places] = records["malformed"]
        for i, feature in enumerate(self.entity.format.categories):
            categories.setdefault(feature.name, []).append(values.categories[:, i])

    def _values(self) -> HashRows:
        answers = HashRows.concatenate(self._received) if self._received else None
        if answers is not None and self._answered == len(self.asked) == len(self.keys):
            return answers  # as usual without a cache: each row has a key of its own, asked for in this order
        values = self.found.rows or self.entity.format.missing(len(self.keys))
        if answers is not None:
            # Batches are answered in order: after an outage the first keys are there and the others are not.
            there = self._positions < self._answered
            values.put(self._rows[there], answers.take(self._positions[there]))
        return values


def _run(names: tuple[str, ...], wanted: list[str]) -> slice:
    """Looked-up features of one entity lie side by side in each group of the layout."""
    first = names.index(wanted[0]) if wanted else 0
    return slice(first, first + len(wanted))


def encode_categories(columns: Columns, texts: dict[str, list[NDArray[np.object_]]]) -> None:
    if texts:
        columns.categories = tuple(
            _encoded(texts[name]) if name in texts else column
            for name, column in zip(columns.layout.categories, columns.categories, strict=True)
        )


def _encoded(parts: list[NDArray[np.object_]]) -> Category:
    """Strings as codes, in the order in which they first occur."""
    values: list[str | None] = [value for part in parts for value in part.tolist()]
    codes: dict[str | None, int] = {}
    for value in dict.fromkeys(values):
        if value is not None:
            codes[value] = len(codes)
    distinct = tuple(value for value in codes if value is not None)
    codes[None] = -1
    encoded: Codes = np.fromiter(map(codes.__getitem__, values), np.int32, len(values))
    return Category(encoded, distinct)
