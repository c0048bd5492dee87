"""What the codecs cost, in µs per event: decoding, predictions, the scored log. One thread, windows of 2,048 events.

    python benchmarks/codec.py [--json FILE]

Each figure is the best of many runs: what the code costs when nothing else wants the processor.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from penstock.schemas.columns import Category, FeatureType, Layout
from penstock.schemas.events import DecodedEvents, EventFeature, EventSchema
from penstock.schemas.json_events import JsonCodec
from penstock.schemas.predictions import PredictionEncoder
from penstock.schemas.records import ModelRef
from penstock.schemas.scored import ScoredBlock, decode, encode

ROWS = 2048
FEATURES = tuple(f"feature_{i}" for i in range(16))
LAYOUT = Layout(FEATURES)


class Record(NamedTuple):
    value: bytes | None
    offset: int
    key: bytes | None = b"JFK"
    timestamp: int = 1_357_034_400_000
    headers: tuple[tuple[str, bytes], ...] = ()


def schema(*, required: bool) -> EventSchema:
    features = tuple(EventFeature(name, name, FeatureType("float"), required) for name in FEATURES)
    return EventSchema(LAYOUT, features, id="id", time="time")


def window(*, bad: float = 0.0, null: float = 0.0) -> list[Record]:
    """Events of about 435 bytes; a share of them bad, a share of their features null."""
    rng = random.Random(7)

    def event(number: int) -> bytes:
        if rng.random() < bad:
            return rng.choice([b"nope", b"", b'{"id": "a"}', b'{"id": "a", "time": 5, "feature_0": "x"}'])
        values = {name: None if rng.random() < null else round(rng.gauss(0, 100), 4) for name in FEATURES}
        return json.dumps({"id": f"flight-{number:06d}", "time": 1_357_034_400_000 + number, **values}).encode()

    return [Record(event(number), number) for number in range(ROWS)]


def block(events: DecodedEvents) -> ScoredBlock:
    offsets, rng = np.arange(ROWS), np.random.default_rng(7)
    return ScoredBlock(
        ids=events.ids,
        keys=events.keys,
        offsets=offsets,
        event_times=events.times,
        timestamps=events.times + 5,
        columns=events.columns,
        aged=(),
        ages=np.empty((ROWS, 0), np.float32),
        defaulted=np.zeros((ROWS, len(FEATURES)), np.bool_),
        score=rng.random(ROWS, np.float32),
        scores=None,
        variants=Category(np.zeros(ROWS, np.int32), ("champion",)),
        models=Category(np.zeros(ROWS, np.int32), ("delay@3",)),
        routing_revisions=np.full(ROWS, 7),
        partition=0,
        scored_at=1_357_034_400_000,
        runtime="benchmark",
    )


def best(run: Callable[[], object], *, seconds: float = 1.0) -> float:
    """µs per event of the fastest run within `seconds`."""
    fastest, end = float("inf"), time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        run()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest / ROWS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()

    partitions = [0] * ROWS
    strict, lenient = JsonCodec(schema(required=True)), JsonCodec(schema(required=False))
    good, some_bad, some_null = window(), window(bad=0.1), window(null=0.05)
    scored = block(strict.decode(good, partitions))
    [record] = encode(scored)
    masks = np.zeros((ROWS, len(FEATURES)), np.bool_)
    masks[::3, 4] = masks[::5, 7] = True
    encoder = PredictionEncoder(FEATURES)

    def predictions(defaulted: np.ndarray | None) -> list[bytes]:
        return encoder.encode(
            ModelRef("delay", 3), "champion", 7, ids=scored.ids, score=scored.score, scores=None,
            event_times=scored.event_times, partition=0, offsets=scored.offsets, defaulted=defaulted,
        )  # fmt: skip

    figures = {
        "decode, 16 floats": best(lambda: strict.decode(good, partitions)),
        "decode, 10 % bad events": best(lambda: strict.decode(some_bad, partitions)),
        "decode, 5 % of the features null": best(lambda: lenient.decode(some_null, partitions)),
        "predictions": best(lambda: predictions(None)),
        "predictions, four masks of defaults": best(lambda: predictions(masks)),
        "scored, encode": best(lambda: encode(scored)),
        "scored, decode": best(lambda: decode(record.value, record.headers)),
        "scored, of which the checksum": best(lambda: zlib.crc32(record.value)),
    }
    for name, microseconds in figures.items():
        print(f"{name:40}{microseconds:8.3f} µs/event")
    print(f"{'scored, size':40}{len(record.value) / ROWS:8.1f} bytes/event")
    if arguments.json:
        rounded = {name: round(microseconds, 4) for name, microseconds in figures.items()}
        arguments.json.write_text(json.dumps({"us_per_event": rounded}, indent=2) + "\n")


if __name__ == "__main__":
    main()
