"""The demo's `penstock.toml`, written into its folder so that it can be looked at and edited."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PIPELINE = "flights"
EVENTS = "departures"
PARTITIONS = 4

_PROJECT = """\
# The flights of 2013: will this one arrive more than 15 minutes late? Asked an hour before its scheduled departure.
# `penstock demo` wrote this file; with `penstock demo --keep --data DIR` everything keeps running and you can try
# `penstock tail`, `penstock doctor` and the rest with `-c` and the path of this file.

[pipeline]
name = "flights"

[kafka]
servers = [{servers}]
partitions = {partitions}
replication_factor = {replication_factor}

[redis]
url = "{redis_url}"
deadline_ms = 1000              # generous: here a broker, a Redis and a replay share one machine

[events]
topic = "departures"
format = "json"
id = "id"
key = "flight.code"
time = "time"
time_unit = "ms"

[models]
registry = "registry"

[delivery]
mode = "{mode}"

[admin]
port = {admin_port}

# What is looked up in Redis. The keys contain the validity of what changes, in UTC, so a value is written once, before
# the events that may see it are sent, and never again.

[entities.plane]
key = "{{flight.tailnum}}"

[entities.weather]              # of the hour before: an hour's weather is known when the hour is over
key = "{{origin}}:{{time:hour-1}}"

[entities.origin_delays]        # of the last 30 arrivals from there, before this hour began
prefix = "delays:origin"
key = "{{origin}}:{{time:hour}}"

[entities.carrier_delays]       # of its last 20 arrivals, before this hour began
prefix = "delays:carrier"
key = "{{flight.carrier}}:{{time:hour}}"

# What comes with the event.

[features.carrier]
type = "category"
path = "flight.carrier"

[features.origin]
type = "category"

[features.dest]
type = "category"

[features.weekday]
type = "category"
path = "schedule.weekday"

[features.hour]
type = "int"
path = "schedule.hour"
range = [0, 23]

[features.duration]             # minutes from door to door, as scheduled
type = "float"
path = "schedule.minutes"
range = [30, 900]

[features.distance]             # miles
type = "float"
range = [50, 6000]

# What is looked up. One plane in six is not in the registry, and sensors fail: the model sees that a value is missing.
"""

_LOOKED_UP = """
[features.{name}]
type = "{type}"
entity = "{entity}"
field = "{field}"
missing = "nan"
"""

_HOURLY = "max_age_s = 7200\n"

_FEATURES: Sequence[tuple[str, str, str, str]] = (
    ("plane_year", "float", "plane", "year"),
    ("plane_seats", "float", "plane", "seats"),
    ("plane_engines", "float", "plane", "engines"),
    ("plane_engine", "category", "plane", "engine"),
    ("temperature", "float", "weather", "temp"),
    ("dew_point", "float", "weather", "dewp"),
    ("humidity", "float", "weather", "humid"),
    ("wind_direction", "float", "weather", "wind_dir"),
    ("wind_speed", "float", "weather", "wind_speed"),
    ("wind_gust", "float", "weather", "wind_gust"),
    ("precipitation", "float", "weather", "precip"),
    ("pressure", "float", "weather", "pressure"),
    ("visibility", "float", "weather", "visib"),
    ("origin_delay", "float", "origin_delays", "delay"),
    ("origin_late", "float", "origin_delays", "late"),
    ("carrier_delay", "float", "carrier_delays", "delay"),
    ("carrier_late", "float", "carrier_delays", "late"),
)


def write_project(
    directory: Path,
    *,
    servers: Sequence[str] = ("localhost:9092",),
    redis_url: str = "redis://localhost:6379/0",
    mode: str = "at_least_once",
    replication_factor: int = 1,
    admin_port: int = 0,
) -> Path:
    """Write `penstock.toml` into `directory`, which is made if need be, and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    text = _PROJECT.format(
        servers=", ".join(f'"{server}"' for server in servers),
        redis_url=redis_url,
        mode=mode,
        partitions=PARTITIONS,
        replication_factor=replication_factor,
        admin_port=admin_port,
    )
    for name, kind, entity, field in _FEATURES:
        text += _LOOKED_UP.format(name=name, type=kind, entity=entity, field=field)
        if entity != "plane":
            text += _HOURLY
    path = directory / "penstock.toml"
    path.write_text(text)
    return path
