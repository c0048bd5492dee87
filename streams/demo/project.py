"""The demo's `penstock.toml`, written into its folder so that it can be looked at and edited."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

PIPELINE = "flights"
EVENTS = "departures"
PARTITIONS = 4

MATURITY_S = 86_400
SMALLEST_SEGMENT, LARGEST_SEGMENT = 16, 256

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
port = {admin_port}             # of score; watch and judge have the next two

# What is watched. Months pass in seconds here: labels must outlive a watch, or a shadow, that is weeks behind.

[watch]
segment_rows = {segment_rows}
segment_max_s = 0.5             # so that nobody waits long for the rest of a segment where the replay pauses
checkpoint_s = 0.25

[labels]
task = "binary"
maturity_s = {maturity_s}             # a flight that has not landed a day after the prediction never does
retention_s = 7776000           # 90 days
slices = ["origin", "carrier"]

[drift]
false_alarms_per_week = 0.1     # of event time, over everything that is watched
reference_segments = 50

[alerts]
clear_after = 3
clear_after_s = 172800          # two days without an alarm
cool_down_s = 86400
remind_s = 2592000

# How a candidate becomes the champion: all by itself, while the flights say that it may.

[rollout]
mode = "automatic"
stages = [0.0, 0.05, 0.25]      # shares of the keys: in shadow alone, then of the answers; then all of them
margin = 0.02                   # of the log loss, about 0.5, by which it may be worse: days differ by more
min_clusters = 14               # days before the first verdict
bake_s = 12960000               # 150 days in which the former champion still comes back: seasons turn slowly

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


def segment_rows_for(events: int) -> int:
    """Few events in ten months need short segments, or a week would be over before one is full.

    >>> [segment_rows_for(events) for events in (1, 3_000, 20_000, 100_000, 285_000)]
    [16, 32, 64, 128, 256]
    """
    return min(max(1 << round(math.log2(math.sqrt(events) / 2 + 1)), SMALLEST_SEGMENT), LARGEST_SEGMENT)


def write_project(
    directory: Path,
    *,
    servers: Sequence[str] = ("localhost:9092",),
    redis_url: str = "redis://localhost:6379/0",
    mode: str = "at_least_once",
    replication_factor: int = 1,
    admin_port: int = 0,
    segment_rows: int = LARGEST_SEGMENT,
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
        segment_rows=segment_rows,
        maturity_s=MATURITY_S,
    )
    for name, kind, entity, field in _FEATURES:
        text += _LOOKED_UP.format(name=name, type=kind, entity=entity, field=field)
        if entity != "plane":
            text += _HOURLY
    path = directory / "penstock.toml"
    path.write_text(text)
    return path
