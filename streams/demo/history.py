"""The catalogue's features of past flights, from memory: what the score role reads through codec and Redis.

A test holds both ways to the same values, so training on these columns is training on what will be served.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.models.features import Catalogue, Feature
from penstock.schemas.columns import Category, Columns
from penstock.streams.demo.flights import Flights
from penstock.streams.demo.lookups import FeatureTable, Lookups

Found = Mapping[str, tuple[FeatureTable, NDArray[np.intp]]]

_EVENT_FIELDS: Mapping[str, Callable[[Flights], NDArray[Any]]] = {
    "flight.carrier": lambda flights: flights.carrier,
    "flight.number": lambda flights: flights.number,
    "flight.tailnum": lambda flights: flights.tailnum,
    "origin": lambda flights: flights.origin,
    "dest": lambda flights: flights.dest,
    "distance": lambda flights: flights.distance,
    "schedule.minutes": lambda flights: (flights.arrival - flights.departure) // 60_000,
    "schedule.hour": lambda flights: flights.hour,
    "schedule.weekday": lambda flights: flights.weekday,
}


def feature_columns(catalogue: Catalogue, flights: Flights, lookups: Lookups) -> Columns:
    """Every feature of the catalogue as it stood when each prediction was asked for, [len(flights)] rows."""
    layout, found = catalogue.layout, lookups.found(flights)
    columns = Columns.missing(layout, len(flights))
    for place, name in enumerate(layout.floats):
        columns.floats[:, place] = _values(catalogue.by_name[name], flights, found)
    for place, name in enumerate(layout.integers):
        columns.integers[:, place] = _values(catalogue.by_name[name], flights, found)
    columns.categories = tuple(
        encoded(_values(catalogue.by_name[name], flights, found).tolist()) for name in layout.categories
    )
    return columns


def encoded(values: list[str | None]) -> Category:
    """Dictionary-encode strings; None is missing.

    >>> encoded(["JFK", None, "EWR", "JFK"])
    Category(codes=array([ 1, -1,  0,  1], dtype=int32), values=('EWR', 'JFK'))
    """
    words = tuple(sorted({value for value in values if value is not None}))
    codes: dict[str | None, int] = {word: code for code, word in enumerate(words)}
    return Category(np.fromiter((codes.get(value, -1) for value in values), np.int32, len(values)), words)


def _values(feature: Feature, flights: Flights, found: Found) -> NDArray[Any]:
    if feature.entity is None:
        return _EVENT_FIELDS[feature.path or feature.name](flights)
    table, rows = found[feature.entity]
    values = np.asarray(table.fields[feature.field or feature.name])
    absent: float | None = np.nan if values.dtype == np.float64 else None
    return np.append(values, np.array([absent], values.dtype))[rows]  # row -1, not found, is the last
