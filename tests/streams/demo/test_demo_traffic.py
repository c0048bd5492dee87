from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from penstock.schemas.json_events import JsonCodec
from penstock.streams.demo.flights import Flights
from penstock.streams.demo.history import feature_columns
from penstock.streams.demo.lookups import Lookups
from penstock.streams.demo.traffic import BAD, Traffic, spoilt, traffic
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


@pytest.fixture(scope="module")
def march(year: Flights) -> Flights:
    return year.months(3, 3).thinned(3_000)


@pytest.fixture(scope="module")
def sent(march: Flights) -> Traffic:
    return traffic(march)


@pytest.fixture(scope="module")
def records(sent: Traffic) -> list[Record]:
    return [Record(value, key, offset) for offset, (key, value) in enumerate(zip(sent.keys, sent.values, strict=True))]


def test_good_events_stay_in_order_and_bad_ones_are_counted(march: Flights, sent: Traffic) -> None:
    assert sent.bad == len(spoilt(b"{}"))
    assert len(sent) == len(march) + sent.bad
    assert (sent.rows[sent.rows != BAD] == np.arange(len(march))).all()
    assert (np.diff(sent.times) >= 0).all()


def test_the_codec_takes_every_good_event_and_refuses_every_bad_one(
    sent: Traffic, records: list[Record], settings: Settings, march: Flights
) -> None:
    decoded = JsonCodec(settings.event_schema).decode(records, [0] * len(records))
    assert decoded.ids == march.id.tolist()
    assert [rejection.position for rejection in decoded.rejected] == np.flatnonzero(sent.rows == BAD).tolist()
    assert {rejection.error for rejection in decoded.rejected} >= {
        "not_json", "wrong_type", "missing_field", "empty", "tombstone",
    }  # fmt: skip


def test_training_columns_are_what_the_codec_reads(
    records: list[Record], settings: Settings, march: Flights, lookups: Lookups
) -> None:
    decoded = JsonCodec(settings.event_schema).decode(records, [0] * len(records))
    expected = feature_columns(settings.catalogue, march, lookups)
    schema = settings.event_schema
    for feature in schema.features:
        if feature.name in schema.layout.floats:
            place = schema.layout.floats.index(feature.name)
            np.testing.assert_array_equal(decoded.columns.floats[:, place], expected.floats[:, place])
        elif feature.name in schema.layout.integers:
            place = schema.layout.integers.index(feature.name)
            np.testing.assert_array_equal(decoded.columns.integers[:, place], expected.integers[:, place])
        else:
            place = schema.layout.categories.index(feature.name)
            assert decoded.columns.categories[place].decoded() == expected.categories[place].decoded()
