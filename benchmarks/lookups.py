"""What a Redis look-up costs the client: 8 float fields and the time of writing, windows of 2,048 events.

    uv run python benchmarks/lookups.py [--repetitions N] [--json FILE]

Three contenders on one embedded Redis, one process: Penstock's feature store with 2,048 distinct keys that are not
cached, with 95 % of the keys cached, and redis-py's pipeline of HMGETs with `float()`. CPU is this process's user and
system time; the server's is not in it. Prints the median of the repetitions and their range.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import redis.asyncio as redis

from penstock.models.features import Catalogue, Feature
from penstock.models.key_templates import KeyTemplate
from penstock.schemas.columns import Columns, FeatureType
from penstock.schemas.events import DecodedEvents
from penstock.streams.embedded import EmbeddedRedis
from penstock.streams.features.store import RedisFeatureStore
from penstock.streams.features.writer import FeatureWriter

EVENTS = 2048
FIELDS = 8
WINDOWS = 20
DISTINCT, CACHED, PEER = "penstock, distinct keys", "penstock, 95 % cached", "redis-py pipeline, distinct keys"
CATALOGUE = Catalogue(
    features=tuple(
        Feature(f"reading_{i}", FeatureType("float"), entity="sensor", field=f"r{i}", missing="nan")
        for i in range(FIELDS)
    ),
    entity_keys={"sensor": ("sensor", KeyTemplate.parse("{sensor}"))},
)

Window = list[str]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write {contender: {cpu_us_per_event, wall_us_per_event}, …} here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, EmbeddedRedis(Path(directory)) as server:
        measured = await measure(server.url, arguments.repetitions)
    print(f"{'µs per event':<32}{'CPU':>8}{'range':>16}{'wall':>8}")
    for name, (cpu, wall) in measured.items():
        middle, spread = statistics.median(cpu), f"{min(cpu):.2f}–{max(cpu):.2f}"
        print(f"{name:<32}{middle:>8.2f}{spread:>16}{statistics.median(wall):>8.2f}")
    middles = {name: statistics.median(cpu) for name, (cpu, _) in measured.items()}
    ratio = middles[PEER] / middles[DISTINCT]
    print(f"redis-py's pipeline costs {ratio:.1f} times as much as Penstock's look-up of the same keys")
    if arguments.json:
        figures: dict[str, object] = {
            name: {"cpu_us_per_event": middles[name], "wall_us_per_event": statistics.median(wall)}
            for name, (_, wall) in measured.items()
        }
        figures["ratios"] = {f"{PEER} / {DISTINCT}": ratio}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


async def measure(url: str, repetitions: int) -> dict[str, tuple[list[float], list[float]]]:
    """Contender → µs per event of CPU and of wall time, one of each per repetition; contenders alternate."""
    distinct = [[f"sensor-{w}-{i}" for i in range(EVENTS)] for w in range(WINDOWS)]
    await fill(url, [key for window in distinct for key in window])
    rng = np.random.default_rng(7)
    # 5 % of each window's keys are new, the rest are the first window's.
    cached = [
        [distinct[w][i] if new else distinct[0][i] for i, new in enumerate(rng.random(EVENTS) < 0.05)]
        for w in range(1, WINDOWS)
    ]
    results: dict[str, tuple[list[float], list[float]]] = {}

    def note(name: str, cost: tuple[float, float]) -> None:
        for values, value in zip(results.setdefault(name, ([], [])), cost, strict=True):
            values.append(value)

    for _ in range(repetitions):
        note(DISTINCT, await through_the_store(url, distinct, warm=[]))
        note(CACHED, await through_the_store(url, cached, warm=distinct[0]))
        note(PEER, await through_a_pipeline(url, distinct[:4]))
    return results


async def fill(url: str, keys: list[str]) -> None:
    values = np.random.default_rng(7).normal(100, 30, (FIELDS, len(keys))).round(3).tolist()
    writer = FeatureWriter(url)
    try:
        await writer.write(
            "sensor", keys, {f"r{i}": column for i, column in enumerate(values)}, [1_700_000_000_000] * len(keys)
        )
    finally:
        await writer.close()


async def through_the_store(url: str, windows: list[Window], warm: Window) -> tuple[float, float]:
    store = RedisFeatureStore(CATALOGUE, url=url, deadline_ms=5000.0, cache_rows=200_000)

    async def look_up(events: DecodedEvents) -> None:
        looked_up = await store.look_up(events)
        complete = looked_up.outage is None and not np.isnan(events.columns.floats).any()
        if not complete:
            raise SystemExit(f"values are missing: {looked_up.outage}")

    try:
        await look_up(decoded(warm or ["sensor-0-0"]))  # connects
        return await cost(look_up, [decoded(window) for window in windows])
    finally:
        await store.close()


async def through_a_pipeline(url: str, windows: list[Window]) -> tuple[float, float]:
    fields = [f"r{i}" for i in range(FIELDS)] + ["_ts"]
    async with redis.Redis.from_url(url) as client:
        await client.ping()

        async def look_up(events: DecodedEvents) -> None:
            pipeline = client.pipeline(transaction=False)
            for key in events.key_parts["sensor"]:
                pipeline.hmget(f"sensor:{key}", fields)
            replies = await pipeline.execute()
            values = np.array([[float(cell) for cell in reply] for reply in replies])
            events.columns.floats[:] = values[:, :FIELDS]

        return await cost(look_up, [decoded(window) for window in windows])


async def cost(
    look_up: Callable[[DecodedEvents], Awaitable[None]], windows: list[DecodedEvents]
) -> tuple[float, float]:
    """µs of CPU and of wall time per event."""
    wall, cpu = time.perf_counter(), cpu_s()
    for events in windows:
        await look_up(events)
    events_seen = sum(events.rows for events in windows)
    return (cpu_s() - cpu) / events_seen * 1e6, (time.perf_counter() - wall) / events_seen * 1e6


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def decoded(keys: Window) -> DecodedEvents:
    """Events as the decoder leaves them: the key's text is new in each window."""
    rows = len(keys)
    return DecodedEvents(
        accepted=np.arange(rows),
        ids=[str(row) for row in range(rows)],
        times=np.full(rows, 1_700_000_000_000, np.int64),
        keys=[None] * rows,
        columns=Columns.missing(CATALOGUE.layout, rows),
        key_parts={"sensor": [key.encode().decode() for key in keys]},
        rejected=[],
    )


if __name__ == "__main__":
    asyncio.run(main())
