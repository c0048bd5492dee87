"""JSON events: the bytes of a window into columns, event by event.

Each value is decoded on its own by msgspec into a Struct generated from the schema (`json_struct`); what fails becomes
a Rejection (`json_errors`). The Structs are then turned into columns by C loops. A window in which optional values are
null takes a slower way to the same columns.

Read leniently where that is harmless: unknown fields are skipped (their text is not checked for UTF-8), whole numbers
serve as floats, of duplicate keys the last wins. -0.0 keeps its sign. A byte order mark, NaN and Infinity are not JSON.
"""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, starmap
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, Floats
from penstock.schemas.events import ConsumedRecord, DecodedEvents, EventSchema, Rejection
from penstock.schemas.json_errors import TimeUnreadable, rejection
from penstock.schemas.json_struct import EventStruct

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

Event = Any
"""An instance of the generated Struct."""
Read = Callable[[Event], Any]


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
        self._numbers = _Numbers(
            [event.attribute(feature.path) for feature in floats],
            [event.attribute(feature.path) for feature in integers],
        )
        self._categories = [attrgetter(event.attribute(feature.path)) for feature in categories]
        self._vectors = [(attrgetter(event.attribute(feature.path)), feature.type.width) for feature in vectors]
        self._id = _getter(event, schema.id)
        self._time = _getter(event, schema.time)
        self._key = _getter(event, schema.key)
        parts: dict[str, list[tuple[str, Read]]] = {"string": [], "time": []}
        for part in schema.key_parts:
            parts[part.type].append((part.path, attrgetter(event.attribute(part.path))))
        self._strings, self._part_times = parts["string"], parts["time"]
        self._iso: list[tuple[str, Read]] = []
        if schema.time_unit == "iso":
            if schema.time is not None and self._time is not None:
                self._iso.append((schema.time, self._time))
            self._iso += self._part_times

    def decode(self, records: Sequence[ConsumedRecord], partitions: Sequence[int]) -> DecodedEvents:
        """As `penstock.schemas.events.Codec` says."""
        events, moments, rejected = self._parse(records)
        accepted = np.arange(len(records))
        if rejected:
            accepted = np.delete(accepted, [bad.position for bad in rejected])
            records = [records[position] for position in accepted.tolist()]
            partitions = [partitions[position] for position in accepted.tolist()]
        self._fill_null_objects(events)
        return DecodedEvents(
            accepted,
            self._ids(events, records, partitions),
            self._times(events, records, moments),
            self._keys(events, records),
            self._columns(events),
            self._key_parts(events, moments),
            rejected,
        )

    def _parse(self, records: Iterable[ConsumedRecord]) -> tuple[list[Event], NDArray[np.int64], list[Rejection]]:
        decode, iso = self._decode, self._iso
        events: list[Event] = []
        moments: list[list[int]] = []
        rejected: list[Rejection] = []
        for position, record in enumerate(records):
            try:
                event = decode(record.value or b"")
                if iso:
                    moments.append([_milliseconds(path, read, event) for path, read in iso])
                events.append(event)
            except (ValueError, RecursionError) as error:
                rejected.append(rejection(position, record.value, error, self._leaves))
        return events, np.array(moments, np.int64).reshape(len(moments), len(iso)), rejected

    def _fill_null_objects(self, events: list[Event]) -> None:
        for node in self._optional_nodes:
            if None in map(node.read, events):
                for event in events:
                    if node.read(event) is None:
                        setattr(node.parent(event), node.attribute, node.empty)

    def _ids(self, events: list[Event], records: Sequence[ConsumedRecord], partitions: Sequence[int]) -> list[str]:
        if self._id is None:
            return [f"{partition}-{record.offset}" for partition, record in zip(partitions, records, strict=True)]
        return list(map(str, map(self._id, events)))

    def _times(
        self, events: list[Event], records: Sequence[ConsumedRecord], moments: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        if self._time is None:
            return np.fromiter((record.timestamp for record in records), np.int64, len(events))
        if self._iso:
            return moments[:, 0]
        seconds = 1 if self._schema.time_unit == "ms" else 1000
        return np.rint(np.fromiter(map(self._time, events), np.float64, len(events)) * seconds).astype(np.int64)

    def _keys(self, events: list[Event], records: Sequence[ConsumedRecord]) -> list[bytes | None]:
        own = [record.key for record in records]
        if self._key is None:
            return own
        keys = _texts(map(self._key, events))
        return [key if text is None else text.encode() for text, key in zip(keys, own, strict=True)]

    def _key_parts(
        self, events: list[Event], moments: NDArray[np.int64]
    ) -> dict[str, list[str | None] | NDArray[np.int64]]:
        parts: dict[str, list[str | None] | NDArray[np.int64]] = {}
        for path, read in self._strings:
            parts[path] = _texts(map(read, events))
        if self._iso:
            first = len(self._iso) - len(self._part_times)
            parts.update({path: moments[:, first + i] for i, (path, _) in enumerate(self._part_times)})
            return parts
        scale = 1 if self._schema.time_unit == "ms" else 1000
        for path, read in self._part_times:
            found = np.array(list(map(read, events)), np.float64) * scale  # None becomes NaN
            missing = np.isnan(found)
            found[missing] = 0
            parts[path] = np.where(missing, MISSING_INTEGER, np.rint(found).astype(np.int64))
        return parts

    def _columns(self, events: list[Event]) -> Columns:
        columns = Columns.missing(self._schema.layout, len(events))
        floats, integers = self._numbers.read(events)
        columns.floats[:, : floats.shape[1]] = floats
        columns.integers[:, : integers.shape[1]] = integers
        found = tuple(_category(map(read, events), len(events)) for read in self._categories)
        columns.categories = (*found, *columns.categories[len(found) :])
        for (read, width), vector in zip(self._vectors, columns.vectors, strict=False):
            vector[:] = _vectors(list(map(read, events)), width)
        return columns


class _Numbers:
    """Reads the float, int and bool features of every event: packed in C while all are there, else with None checks."""

    def __init__(self, floats: Sequence[str], integers: Sequence[str]) -> None:
        attributes = [*floats, *integers]
        self._floats, self._all = len(floats), len(attributes)
        self._leading = attributes == [f"f{number}" for number in range(self._all)]
        """Whether they are the first fields of the Struct: its tuple is read in a fifth of the time."""
        self._read = _tuple_getter(attributes)
        self._pack = struct.Struct(f"={len(floats)}f{len(integers)}q").pack
        self._row = np.dtype([("floats", np.float32, (len(floats),)), ("integers", np.int64, (len(integers),))])

    def read(self, events: list[Event]) -> tuple[Floats, NDArray[np.int64]]:
        """[rows, floats] and [rows, integers]."""
        if not self._all:
            return np.empty((len(events), 0), np.float32), np.empty((len(events), 0), np.int64)
        pack, end = self._pack, self._all
        try:
            if self._leading:
                packed = b"".join([pack(*astuple(event)[:end]) for event in events])
            else:
                packed = b"".join(starmap(pack, map(self._read, events)))
        except struct.error:  # a None, which only an optional feature can be
            return self._read_with_nulls(events)
        rows = np.frombuffer(packed, self._row)
        return rows["floats"], rows["integers"]

    def _read_with_nulls(self, events: list[Event]) -> tuple[Floats, NDArray[np.int64]]:
        split, end = self._floats, self._all
        rows = [astuple(event)[:end] for event in events] if self._leading else list(map(self._read, events))
        floats = list(chain.from_iterable([row[:split] for row in rows]))
        integers = [MISSING_INTEGER if value is None else value for row in rows for value in row[split:]]
        return (
            np.array(floats, np.float64).astype(np.float32).reshape(len(rows), split),  # None becomes NaN
            np.array(integers, np.int64).reshape(len(rows), end - split),
        )


def _tuple_getter(attributes: Sequence[str]) -> Callable[[Event], tuple[Any, ...]]:
    """An attrgetter that gives a tuple however few attributes it is asked for."""
    if len(attributes) > 1:
        return attrgetter(*attributes)
    getters = [attrgetter(attribute) for attribute in attributes]
    return lambda event: tuple(get(event) for get in getters)


def _getter(event: EventStruct, path: str | None) -> Read | None:
    return None if path is None else attrgetter(event.attribute(path))


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
