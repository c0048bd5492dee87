"""What every feature store keeps, on a real Redis and on the one in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

import numpy as np
import pytest
import pytest_asyncio
import redis as redis_client
from numpy.typing import NDArray

from penstock.models.features import Catalogue, Feature
from penstock.models.key_templates import KeyTemplate
from penstock.schemas.columns import MISSING_INTEGER, Columns, FeatureType, Layout
from penstock.schemas.errors import ConfigurationError
from penstock.schemas.events import DecodedEvents
from penstock.streams.features.memory import InMemoryFeatures
from penstock.streams.features.store import FeatureStore, NoFeatures, RedisFeatureStore

NAN = float("nan")
HOUR_MS = 3_600_000


def looked_up(
    name: str, type: str, entity: str, *, field: str | None = None, max_age_s: float | None = None
) -> Feature:
    return Feature(name, FeatureType.parse(type), entity=entity, field=field, missing="nan", max_age_s=max_age_s)


CATALOGUE = Catalogue(
    features=(
        Feature("distance", FeatureType("float")),
        looked_up("seats", "int", "plane"),
        looked_up("visibility", "float", "weather", field="visib", max_age_s=7200),
        looked_up("maker", "category", "plane"),
        looked_up("wind", "float", "weather"),
        looked_up("cargo", "bool", "plane"),
        looked_up("route", "vector(2)", "plane"),
    ),
    entity_keys={
        "weather": ("w", KeyTemplate.parse("{origin}:{time:hour-1}")),
        "plane": ("plane", KeyTemplate.parse("{tail}")),
    },
)
# The order of `LookedUp`: by entity, then as in the catalogue.
VISIBILITY, WIND, SEATS, MAKER, CARGO, ROUTE = range(6)

Hashes = Mapping[str, Mapping[str, str]]
MakeStore = Callable[[Hashes], Awaitable[FeatureStore]]


def decoded(rows: Iterable[tuple[str | None, str | None, int]]) -> DecodedEvents:
    """Events of (origin, tail, time)."""
    origins, tails, times = zip(*rows, strict=True)
    key_parts: dict[str, list[str | None] | NDArray[np.int64]] = {"origin": list(origins), "tail": list(tails)}
    return DecodedEvents(
        accepted=np.arange(len(times)),
        ids=[str(row) for row in range(len(times))],
        times=np.array(times, np.int64),
        keys=[None] * len(times),
        columns=Columns.missing(CATALOGUE.layout, len(times)),
        key_parts=key_parts,
        rejected=[],
    )


@pytest_asyncio.fixture(params=[pytest.param("redis", marks=pytest.mark.redis), "memory"])
async def make_store(request: pytest.FixtureRequest) -> AsyncIterator[MakeStore]:
    stores: list[FeatureStore] = []

    async def make(hashes: Hashes) -> FeatureStore:
        store: FeatureStore
        if request.param == "memory":
            store = InMemoryFeatures(CATALOGUE, hashes)
        else:
            url: str = request.getfixturevalue("redis_url")
            with redis_client.Redis.from_url(url) as client:
                for name, fields in hashes.items():
                    client.hset(
                        name.encode("utf-8", "surrogateescape"),
                        mapping={field: text.encode("utf-8", "surrogateescape") for field, text in fields.items()},
                    )
            store = RedisFeatureStore(CATALOGUE, url=url, deadline_ms=10_000)
        stores.append(store)
        return store

    yield make
    for store in stores:
        await store.close()


async def test_values_and_their_times_arrive_in_their_columns(make_store: MakeStore) -> None:
    store = await make_store(
        {
            "w:JFK:1970-01-01T01": {"visib": "8.5", "wind": "-3", "_ts": "5000"},
            "plane:N1": {"seats": "55", "maker": "BOEING", "cargo": "true", "route": "[1,2.5]", "_ts": "7000"},
            "plane:N2": {"seats": "12", "maker": "CESSNA", "cargo": "0", "route": "[0, -1]", "_ts": "8000"},
        }
    )
    events = decoded([("JFK", "N2", 2 * HOUR_MS), ("JFK", "N1", 2 * HOUR_MS + 1), ("JFK", "N2", 3 * HOUR_MS - 1)])

    found = await store.look_up(events)

    columns = events.columns
    assert columns.layout.floats == ("distance", "visibility", "wind")
    np.testing.assert_array_equal(columns.floats, np.array([[NAN, 8.5, -3]] * 3, np.float32))
    assert columns.integers.tolist() == [[12, 0], [55, 1], [12, 0]]
    assert columns.categories[0].decoded() == ["CESSNA", "BOEING", "CESSNA"]
    assert columns.vectors[0].tolist() == [[0, -1], [1, 2.5], [0, -1]]
    assert found.written.tolist() == [[5000] * 2 + [8000] * 4, [5000] * 2 + [7000] * 4, [5000] * 2 + [8000] * 4]
    assert not found.malformed.any()
    assert found.outage is None


async def test_what_is_not_there_is_missing(make_store: MakeStore) -> None:
    store = await make_store({"w:JFK:1970-01-01T00": {"visib": "8.5", "_ts": "5000"}})
    events = decoded([("JFK", None, HOUR_MS), (None, "N1", HOUR_MS)])

    found = await store.look_up(events)

    np.testing.assert_array_equal(events.columns.floats, np.array([[NAN, 8.5, NAN], [NAN] * 3], np.float32))
    assert (events.columns.integers == MISSING_INTEGER).all()
    assert events.columns.categories[0].decoded() == [None, None]
    assert np.isnan(events.columns.vectors[0]).all()
    assert found.written.tolist() == [[5000, 0, 0, 0, 0, 0], [0] * 6]
    assert not found.malformed.any()
    assert (store.counts.rows, store.counts.rows_without_key, store.counts.keys_fetched) == (4, 2, 2)


@pytest.mark.parametrize(
    ("field", "text", "place"),
    [
        ("visib", "clear", VISIBILITY),
        ("visib", "nan", VISIBILITY),
        ("visib", "-inf", VISIBILITY),
        ("visib", "1e39", VISIBILITY),
        ("visib", "1e400", VISIBILITY),
        ("visib", "", VISIBILITY),
        ("visib", "1,2", VISIBILITY),
        ("visib", "1_0", VISIBILITY),
        ("visib", "true", VISIBILITY),
        ("seats", "3.5", SEATS),
        ("seats", str(2**63), SEATS),
        ("seats", "1,2", SEATS),
        ("cargo", "2", CARGO),
        ("maker", "\udcff", MAKER),
        ("route", "[1]", ROUTE),
        ("route", "[1,2,3]", ROUTE),
        ("route", "[1,2],[3,4]", ROUTE),
        ("route", "[1,null]", ROUTE),
        ("route", "[1,1e39]", ROUTE),
        ("route", "1", ROUTE),
        ("route", "[" * 100_000, ROUTE),
    ],
)
async def test_a_malformed_value_is_flagged_and_its_neighbours_are_right(
    make_store: MakeStore, field: str, text: str, place: int
) -> None:
    weather = {"visib": "8.5", "wind": "1", "_ts": "5000"}
    plane = {"seats": "5", "maker": "BOEING", "cargo": "1", "route": "[1,2]", "_ts": "5000"}
    bad_weather, bad_plane = ({**fields, field: text} if field in fields else fields for fields in (weather, plane))
    store = await make_store(
        {"w:JFK:1970-01-01T00": bad_weather, "w:LGA:1970-01-01T00": weather, "plane:N1": bad_plane, "plane:N2": plane}
    )
    events = decoded([("LGA", "N2", HOUR_MS), ("JFK", "N1", HOUR_MS), ("LGA", "N2", HOUR_MS)])

    found = await store.look_up(events)

    assert np.argwhere(found.malformed).tolist() == [[1, place]]
    assert found.written[1, place] == 0
    assert np.count_nonzero(found.written == 5000) == 17
    for row in (0, 2):
        assert events.columns.floats[row, 1:].tolist() == [8.5, 1]
        assert events.columns.integers[row].tolist() == [5, 1]
        assert events.columns.categories[0].decoded()[row] == "BOEING"
        assert events.columns.vectors[0][row].tolist() == [1, 2]


async def test_a_field_may_have_a_time_of_its_own_where_its_age_matters(make_store: MakeStore) -> None:
    store = await make_store(
        {
            "w:JFK:1970-01-01T00": {"visib": "1", "wind": "2", "_ts": "5000", "visib@ts": "900", "wind@ts": "900"},
            "w:LGA:1970-01-01T00": {"visib": "1", "wind": "2", "_ts": "5000", "visib@ts": "yesterday"},
            "w:EWR:1970-01-01T00": {"visib": "1", "wind": "2"},
        }
    )
    events = decoded([("JFK", None, HOUR_MS), ("LGA", None, HOUR_MS), ("EWR", None, HOUR_MS)])

    found = await store.look_up(events)

    assert found.written[:, [VISIBILITY, WIND]].tolist() == [[900, 5000], [0, 5000], [0, 0]]
    assert not found.malformed.any()


async def test_integers_are_exact_however_they_are_written(make_store: MakeStore) -> None:
    written = ["12", "-7", "3.0", "1e3", str(2**53 + 1), str(2**63 - 1), str(-(2**63) + 1), "null"]
    read = [12, -7, 3, 1000, 2**53 + 1, 2**63 - 1, -(2**63) + 1, MISSING_INTEGER]
    store = await make_store({f"plane:N{i}": {"seats": text, "_ts": "5000"} for i, text in enumerate(written)})
    for places in (range(4), range(len(written))):
        events = decoded([(None, f"N{i}", 0) for i in places])

        found = await store.look_up(events)

        assert events.columns.integers[:, 0].tolist() == [read[i] for i in places]
        assert not found.malformed.any()


@pytest.mark.parametrize("key", ["Zürich", "", "a b\r\n", "{x}", "\udcff"])
async def test_any_text_is_a_key(make_store: MakeStore, key: str) -> None:
    store = await make_store({f"plane:{key}": {"seats": "2"}, "plane:other": {"seats": "3"}})
    events = decoded([(None, key, 0), (None, "other", 0), (None, key, 0)])

    await store.look_up(events)

    assert events.columns.integers[:, 0].tolist() == [2, 3, 2]


async def test_large_windows_and_many_repeats(make_store: MakeStore) -> None:
    store = await make_store({f"plane:N{i}": {"seats": str(i), "maker": f"M{i % 7}"} for i in range(3000)})
    tails = [f"N{(i * 7919) % 3000}" for i in range(10_000)]
    events = decoded([(None, tail, 0) for tail in tails])

    found = await store.look_up(events)

    assert found.outage is None
    assert events.columns.integers[:, 0].tolist() == [int(tail[1:]) for tail in tails]
    assert events.columns.categories[0].decoded() == [f"M{int(tail[1:]) % 7}" for tail in tails]
    assert len(events.columns.categories[0].values) == 7


async def test_an_empty_window(make_store: MakeStore) -> None:
    store = await make_store({})
    events = decoded([("JFK", "N1", 0)])
    nothing = DecodedEvents(
        np.arange(0), [], events.times[:0], [], events.columns.take(slice(0)), {"origin": [], "tail": []}, []
    )

    found = await store.look_up(nothing)

    assert found.written.shape == found.malformed.shape == (0, 6)


async def test_a_catalogue_without_look_ups_needs_no_store() -> None:
    store = NoFeatures()
    events = DecodedEvents(
        np.arange(2), ["a", "b"], np.zeros(2, np.int64), [None] * 2, Columns.missing(Layout(), 2), {}, []
    )

    found = await store.look_up(events)
    await store.close()

    assert found.written.shape == found.malformed.shape == (2, 0)
    assert found.outage is None


def test_a_wrong_url_is_refused_without_being_quoted() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        RedisFeatureStore(CATALOGUE, url="http://user:hush@localhost")

    assert "redis.url" in str(refusal.value)
    assert "hush" not in str(refusal.value)
