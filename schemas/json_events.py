"""JSON events: the bytes of a window into columns, event by event.

Each value is decoded on its own by msgspec into a Struct generated from the schema (`json_struct`); what fails becomes
a Rejection (`json_errors`). A stretch of the window at a time, C loops read what the columns are made of out of the
Structs (`json_numbers`), which are gone before the next stretch is decoded: it takes their memory while the processor
still has it at hand.

Read leniently where that is harmless: unknown fields are skipped (their text is not checked for UTF-8), whole numbers
serve as floats, of duplicate keys the last wins. -0.0 keeps its sign. A byte order mark, NaN and Infinity are not JSON.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, Floats
from penstock.schemas.events import ConsumedRecord, DecodedEvents, EventSchema, Rejection
from penstock.schemas.json_errors import TimeUnreadable, rejection
from penstock.schemas.json_numbers import Numbers
from penstock.schemas.json_struct import EventStruct

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_STRETCH = 128
"""Events that are Structs at the same time. No cache holds those of a whole window, which costs half as much again."""

Event = Any
"""An instance of the generated Struct."""
Read = Callable[[Event], Any]


@dataclass(slots=True)
class _Gathered:
    """What was read of a window's good events so far.

    values   path → of every event
    numbers  of every stretch, packed
    moments  of every event, the times that are texts: Unix ms
    """

    values: dict[str, list[Any]]
    numbers: list[bytes] = field(default_factory=list)
    moments: list[list[int]] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)


class JsonCodec:
    """Decodes windows of JSON events by one schema; keeps nothing between windows.

    Raises ConfigurationError where the schema asks one path for things that no JSON value can be at once.

    >>> from types import SimpleNamespace
    >>> from penstock.schemas.columns import FeatureType, Layout
    >>> from penstock.schemas.events import EventFeature
    >>> miles = EventFeature("miles", "leg.distance", FeatureType("float"), required=True)
    >>> schema = EventSchema(Layout(floats=("miles",)), (miles,), id="flight")
    >>> values = [b'{"flight": "UA1", "leg": {"distance": 1400}}', b'{"flight": "UA2", "leg": {}}']
    >>> records = [SimpleNamespace(value=v, key=None, offset=o, timestamp=0) for o, v in enumerate(values)]
    >>> events = JsonCodec(schema).decode(records, partitions=[0, 0])
    >>> events.ids, events.columns.floats.tolist(), events.rejected[0].message
    (['UA1'], [[1400.0]], 'leg.distance is missing.')
    """

    def __init__(self, schema: EventSchema) -> None:
        self._schema = schema
        event = EventStruct(schema)
        self._leaves = event.leaves
        self._optional_nodes = event.optional_nodes
        self._decode = msgspec.json.Decoder(event.type).decode
        by_kind = {
            kind: [feature for feature in schema.features if feature.type.kind in kind]
            for kind in (("float",), ("int", "bool"), ("category",), ("vector",))
        }
        floats, integers, categories, vectors = by_kind.values()
        layout = schema.layout
        heads = (layout.floats, layout.integers, layout.categories, tuple(name for name, _ in layout.vectors))
        for features, names in zip(by_kind.values(), heads, strict=True):
            if names[: len(features)] != tuple(feature.name for feature in features):
                raise ValueError("the event's features do not stand first in the layout")
        self._numbers = Numbers(event, [feature.path for feature in floats], [feature.path for feature in integers])
        self._categories = [feature.path for feature in categories]
        self._vectors = [(feature.path, feature.type.width) for feature in vectors]
        self._strings = [part.path for part in schema.key_parts if part.type == "string"]
        self._part_times = [part.path for part in schema.key_parts if part.type == "time"]
        read = [schema.id, schema.key, *self._strings, *self._categories, *(path for path, _ in self._vectors)]
        times = [*([] if schema.time is None else [schema.time]), *self._part_times]
        self._iso: list[tuple[str, Read]] = []
        if schema.time_unit == "iso":
            self._iso = [(path, attrgetter(event.attribute(path))) for path in times]
        else:
            read += times
        self._reads = {path: attrgetter(event.attribute(path)) for path in read if path is not None}

    def decode(self, records: Sequence[ConsumedRecord], partitions: Sequence[int]) -> DecodedEvents:
        """As `penstock.schemas.events.Codec` says."""
        found = _Gathered({path: [] for path in self._reads})
        for start in range(0, len(records), _STRETCH):
            self._read(records[start : start + _STRETCH], start, found)
        accepted = np.arange(len(records))
        if found.rejected:
            accepted = np.delete(accepted, [bad.position for bad in found.rejected])
            records = [records[position] for position in accepted.tolist()]
            partitions = [partitions[position] for position in accepted.tolist()]
        moments = np.array(found.moments, np.int64).reshape(len(found.moments), len(self._iso))
        return DecodedEvents(
            accepted,
            self._ids(found.values, records, partitions),
            self._times(found.values, records, moments),
            self._keys(found.values, records),
            self._columns(found, len(records)),
            self._key_parts(found.values, moments),
            found.rejected,
        )

    def _read(self, records: Sequence[ConsumedRecord], start: int, found: _Gathered) -> None:
        """Add a stretch of the window, which begins at position `start` of it."""
        events = self._parse(records, start, found)
        self._fill_null_objects(events)
        for path, read in self._reads.items():
            found.values[path] += map(read, events)
        found.numbers.append(self._numbers.pack(events))

    def _parse(self, records: Sequence[ConsumedRecord], start: int, found: _Gathered) -> list[Event]:
        decode: Callable[[bytes], Event] = partial(self._timed, found.moments) if self._iso else self._decode
        values = iter([record.value or b"" for record in records])
        events: list[Event] = []
        bad = 0
        while True:
            try:
                events.extend(map(decode, values))
                return events
            except (ValueError, RecursionError) as error:  # the events before stay, and `values` stands behind it
                position = len(events) + bad
                found.rejected.append(rejection(start + position, records[position].value, error, self._leaves))
                bad += 1

    def _timed(self, moments: list[list[int]], value: bytes) -> Event:
        event = self._decode(value)
        moments.append([_milliseconds(path, read, event) for path, read in self._iso])
        return event

    def _fill_null_objects(self, events: list[Event]) -> None:
        for node in self._optional_nodes:
            if None in map(node.read, events):
                for event in events:
                    if node.read(event) is None:
                        setattr(node.parent(event), node.attribute, node.empty)

    def _ids(
        self, values: dict[str, list[Any]], records: Sequence[ConsumedRecord], partitions: Sequence[int]
    ) -> list[str]:
        if self._schema.id is None:
            return [f"{partition}-{record.offset}" for partition, record in zip(partitions, records, strict=True)]
        return list(map(str, values[self._schema.id]))

    def _times(
        self, values: dict[str, list[Any]], records: Sequence[ConsumedRecord], moments: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        if self._schema.time is None:
            return np.fromiter((record.timestamp for record in records), np.int64, len(records))
        if self._iso:
            return moments[:, 0]
        seconds = 1 if self._schema.time_unit == "ms" else 1000
        return np.rint(np.array(values[self._schema.time], np.float64) * seconds).astype(np.int64)

    def _keys(self, values: dict[str, list[Any]], records: Sequence[ConsumedRecord]) -> list[bytes | None]:
        own = [record.key for record in records]
        if self._schema.key is None:
            return own
        keys = _texts(values[self._schema.key])
        return [key if text is None else text.encode() for text, key in zip(keys, own, strict=True)]

    def _key_parts(
        self, values: dict[str, list[Any]], moments: NDArray[np.int64]
    ) -> dict[str, list[str | None] | NDArray[np.int64]]:
        parts: dict[str, list[str | None] | NDArray[np.int64]] = {}
        for path in self._strings:
            parts[path] = _texts(values[path])
        if self._iso:
            first = len(self._iso) - len(self._part_times)
            parts.update({path: moments[:, first + i] for i, path in enumerate(self._part_times)})
            return parts
        scale = 1 if self._schema.time_unit == "ms" else 1000
        for path in self._part_times:
            found = np.array(values[path], np.float64) * scale  # None becomes NaN
            missing = np.isnan(found)
            found[missing] = 0
            parts[path] = np.where(missing, MISSING_INTEGER, np.rint(found).astype(np.int64))
        return parts

    def _columns(self, found: _Gathered, rows: int) -> Columns:
        columns = Columns.missing(self._schema.layout, rows)
        floats, integers = self._numbers.unpack(found.numbers, rows)
        columns.floats[:, : floats.shape[1]] = floats
        columns.integers[:, : integers.shape[1]] = integers
        categories = tuple(_category(found.values[path], rows) for path in self._categories)
        columns.categories = (*categories, *columns.categories[len(categories) :])
        for (path, width), vector in zip(self._vectors, columns.vectors, strict=False):
            vector[:] = _vectors(found.values[path], width)
        return columns


def _texts(values: Iterable[Any]) -> list[str | None]:
    return [value if value is None or type(value) is str else str(value) for value in values]


def _category(values: Iterable[str | None], rows: int) -> Category:
    # None takes number 0, so that codes - 1 makes it -1 without a test per value.
    numbers: defaultdict[str | None, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    numbers[None] = 0
    codes = np.fromiter(map(numbers.__getitem__, values), np.int32, rows) - np.int32(1)
    return Category(codes, tuple(value for value in numbers if value is not None))


def _vectors(found: list[Sequence[float] | None], width: int) -> Floats:
    if None in found:
        missing = (math.nan,) * width
        found = [vector or missing for vector in found]
    flat = chain.from_iterable(vector for vector in found if vector is not None)
    return np.fromiter(flat, np.float32, len(found) * width).reshape(-1, width)


def _milliseconds(path: str, read: Read, event: Event) -> int:
    try:
        text = read(event)
    except AttributeError:  # an object on the way is null: the part of a key is missing
        return MISSING_INTEGER
    if text is None:
        return MISSING_INTEGER
    try:
        moment = datetime.fromisoformat(text)
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return (aware.astimezone(UTC) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError) as error:  # overflow: a zone that leads out of the years 1 to 9999
        raise TimeUnreadable(path) from error
