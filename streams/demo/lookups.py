"""What the demo keeps in Redis, and since when each value is known.

What changes lies under keys that contain their validity and is never overwritten, and each hash says in `_ts` when its
values were known. So neither the speed of a replay, nor a cache, nor a restart can change a score, and nothing looks
ahead:

    plane:N14228                        the aircraft, known since the year began
    weather:JFK:2013-03-01T05           the weather of that hour, known when the hour is over
    delays:origin:JFK:2013-03-01T05     the last arrivals of flights from there, known when that hour begins
    delays:carrier:UA:2013-03-01T05     the last arrivals of that carrier, likewise

Hours are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from penstock.streams.demo.flights import HOUR_MS, LATE_MINUTES, Flights, Times
from penstock.streams.demo.tables import Strings, floats, integers, read_table, strings

LAST_FROM_ORIGIN = 30
LAST_OF_CARRIER = 20
"""Trailing delays look back on so many arrivals: enough to be steady, few enough to follow a thunderstorm."""

YEAR_BEGINS = 1_356_998_400_000
"""2013-01-01T00:00Z, Unix ms."""

NUMBERS_OF_PLANE = ("year", "seats", "engines")
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")

_DECIMALS = 2
"""Values are rounded before they are used anywhere, so that Redis and memory hold the same."""


@dataclass(frozen=True)
class FeatureTable:
    """Hashes of one entity, in the order in which they became known.

    keys     [rows] without the prefix
    written  [rows] Unix ms: the `_ts` of the hash
    fields   name → [rows] float64 with NaN, or strings with None, where the hash lacks the field
    """

    prefix: str
    keys: Strings
    written: Times
    fields: Mapping[str, NDArray[np.float64] | Strings]

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: slice | NDArray[np.intp]) -> FeatureTable:
        fields = {name: values[rows] for name, values in self.fields.items()}
        return FeatureTable(self.prefix, self.keys[rows], self.written[rows], fields)

    def known(self, after: int, until: int) -> FeatureTable:
        """What became known in (after, until], Unix ms."""
        first, last = np.searchsorted(self.written, (after, until), "right")
        return self.take(slice(int(first), int(last)))

    @cached_property
    def positions(self) -> dict[str, int]:
        return {key: position for position, key in enumerate(self.keys)}

    def find(self, keys: Sequence[str | None]) -> NDArray[np.intp]:
        """The row of each key, -1 where there is none."""
        get = self.positions.get
        return np.fromiter((-1 if key is None else get(key, -1) for key in keys), np.intp, len(keys))


@dataclass(frozen=True)
class Lookups:
    """Everything that goes into Redis over the year."""

    planes: FeatureTable
    weather: FeatureTable
    origin_delays: FeatureTable
    carrier_delays: FeatureTable

    @classmethod
    def of(cls, flights: Flights) -> Lookups:
        """`flights` must be all of the year's: trailing delays come from their arrivals."""
        return cls(
            planes=_planes(),
            weather=_weather(),
            origin_delays=trailing_delays("delays:origin", flights, flights.origin, LAST_FROM_ORIGIN),
            carrier_delays=trailing_delays("delays:carrier", flights, flights.carrier, LAST_OF_CARRIER),
        )

    def tables(self) -> tuple[FeatureTable, ...]:
        return (self.planes, self.weather, self.origin_delays, self.carrier_delays)

    def asked_by(self, flights: Flights) -> Lookups:
        """Only what these flights look up, and all planes: a replay of a few events need not write a whole year."""
        changing = (self.found(flights)[entity] for entity in ("weather", "origin_delays", "carrier_delays"))
        kept = (table.take(np.unique(rows[rows >= 0])) for table, rows in changing)
        return Lookups(self.planes, *kept)

    def found(self, flights: Flights) -> dict[str, tuple[FeatureTable, NDArray[np.intp]]]:
        """Entity of the catalogue → its table, and the row that each flight's look-up finds there (-1: none)."""
        now, before = hour_keys(flights.time), hour_keys(flights.time - HOUR_MS)
        keys: dict[str, tuple[FeatureTable, Sequence[str | None]]] = {
            "plane": (self.planes, flights.tailnum.tolist()),
            "weather": (self.weather, joined(flights.origin, before)),
            "origin_delays": (self.origin_delays, joined(flights.origin, now)),
            "carrier_delays": (self.carrier_delays, joined(flights.carrier, now)),
        }
        return {entity: (table, table.find(wanted)) for entity, (table, wanted) in keys.items()}


def trailing_delays(prefix: str, flights: Flights, group: Strings, last: int) -> FeatureTable:
    """For each value of `group` and each full hour: the flights of that group which arrived last, before that hour.

    Fields: `delay`, their mean delay in minutes (each between -60 and 240, so that one night's odyssey does not stand
    for an airport), and `late`, the share that were late. A group begins with its first arrival.
    """
    hours = np.arange(_hour_after(flights.landed[flights.labelled].min()), flights.time.max() + 1, HOUR_MS)
    names = hour_keys(hours)
    keys, written, delay, late = [], [], [], []
    for value in sorted(set(group.tolist())):
        rows = np.flatnonzero((group == value) & flights.labelled)
        rows = rows[np.argsort(flights.landed[rows], kind="stable")]
        arrived = np.searchsorted(flights.landed[rows], hours, "left")  # strictly before the hour begins
        some = arrived > 0
        keys.append(np.array(joined(np.full(int(some.sum()), value, np.object_), names[some]), np.object_))
        written.append(hours[some])
        delay.append(_mean_of_last(np.clip(flights.delay[rows], -60, 240), arrived[some], last))
        late.append(_mean_of_last(flights.delay[rows] > LATE_MINUTES, arrived[some], last))
    table = FeatureTable(
        prefix,
        np.concatenate(keys),
        np.concatenate(written),
        {"delay": np.concatenate(delay), "late": np.concatenate(late)},
    )
    return table.take(np.argsort(table.written, kind="stable"))


def hour_keys(times: Times) -> Strings:
    """Hours as key templates write them.

    >>> hour_keys(np.array([YEAR_BEGINS])).tolist()
    ['2013-01-01T00']
    """
    hours, which = np.unique(times // HOUR_MS, return_inverse=True)
    names = np.datetime_as_string(hours.astype("datetime64[h]"), unit="h").astype(np.object_)
    keys: Strings = names[which]
    return keys


def joined(left: Strings, right: Strings) -> list[str]:
    return [f"{first}:{second}" for first, second in zip(left, right, strict=True)]


def _hour_after(time: int) -> int:
    return (int(time) // HOUR_MS + 1) * HOUR_MS


def _mean_of_last(values: NDArray[np.floating | np.bool_], seen: NDArray[np.intp], last: int) -> NDArray[np.float64]:
    """The mean of the `last` values before each position in `seen` (fewer where there are fewer)."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    first = np.maximum(seen - last, 0)
    means: NDArray[np.float64] = np.round((total[seen] - total[first]) / (seen - first), _DECIMALS)
    return means


def _planes() -> FeatureTable:
    table = read_table("planes")
    fields: dict[str, NDArray[np.float64] | Strings] = {name: floats(table[name]) for name in NUMBERS_OF_PLANE}
    keys = strings(table["tailnum"])
    return FeatureTable(
        "plane", keys, np.full(len(keys), YEAR_BEGINS, np.int64), {**fields, "engine": strings(table["engine"])}
    )


def _weather() -> FeatureTable:
    table = read_table("weather")
    hours = integers(table["time_hour"].cast(pa.int64())) * 1000
    keys = np.array(joined(strings(table["origin"]), hour_keys(hours)), np.object_)
    fields = {name: np.round(floats(table[name]), _DECIMALS) for name in WEATHER}
    whole = FeatureTable("weather", keys, hours + HOUR_MS, fields)
    return whole.take(np.argsort(whole.written, kind="stable"))
