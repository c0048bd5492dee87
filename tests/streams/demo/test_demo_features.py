from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from penstock.models.resolution import resolve
from penstock.schemas.json_events import JsonCodec
from penstock.streams.demo.flights import Flights
from penstock.streams.demo.history import feature_columns
from penstock.streams.demo.lookups import Lookups
from penstock.streams.features.store import RedisFeatureStore
from penstock.streams.features.writer import FeatureWriter
from penstock.streams.settings import Settings


@dataclass(frozen=True)
class Record:
    value: bytes | None
    key: bytes | None
    offset: int
    topic: str = "departures"
    partition: int = 0
    timestamp: int = 0
    headers: list[tuple[str, bytes]] = field(default_factory=list)


@pytest.mark.redis
async def test_serving_sees_what_training_saw_and_nothing_from_after_the_event(
    year: Flights, lookups: Lookups, settings: Settings, redis_url: str
) -> None:
    """The same flights through codec, Redis and policies, and from memory: equal to the last bit."""
    flights = year.months(1, 12).thinned(2_000)
    asked = lookups.asked_by(flights)
    writer = FeatureWriter(redis_url)
    for table in asked.tables():
        fields = {name: values.tolist() for name, values in table.fields.items()}
        await writer.write(table.prefix, table.keys.tolist(), fields, table.written.tolist())
    await writer.close()

    pairs = zip(flights.keys(), flights.events(), strict=True)
    records = [Record(value, key, offset) for offset, (key, value) in enumerate(pairs)]
    events = JsonCodec(settings.event_schema).decode(records, [0] * len(records))
    store = RedisFeatureStore(settings.catalogue, url=redis_url, deadline_ms=20_000)
    found = await store.look_up(events)
    await store.close()
    resolution = resolve(settings.catalogue, events.columns, found.written, found.malformed, events.times)

    assert found.outage is None
    assert not resolution.rejected
    assert {reason for _, reason in resolution.counts} == {"missing"}
    there = ~np.isnan(resolution.ages)
    assert (resolution.ages[there] >= 0).all()
    expected = feature_columns(settings.catalogue, flights, lookups)
    np.testing.assert_array_equal(events.columns.floats, expected.floats)
    np.testing.assert_array_equal(events.columns.integers, expected.integers)
    for served, trained in zip(events.columns.categories, expected.categories, strict=True):
        assert served.decoded() == trained.decoded()
