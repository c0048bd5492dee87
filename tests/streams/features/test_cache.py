from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.models.features import Entity, Feature
from penstock.models.key_templates import KeyTemplate
from penstock.schemas.columns import FeatureType
from penstock.streams.features.cache import FeatureCache
from penstock.streams.features.values import HashFormat, HashRows

FORMAT = HashFormat(
    Entity(
        "plane",
        "plane",
        KeyTemplate.parse("{tail}"),
        (
            Feature("seats", FeatureType("float"), entity="plane"),
            Feature("maker", FeatureType("category"), entity="plane"),
        ),
    )
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def cache_of(capacity: int, clock: Clock) -> FeatureCache:
    return FeatureCache(FORMAT, capacity=capacity, ttl_s=60, missing_ttl_s=5, stale_s=100, clock=clock)


def rows_of(values: list[float]) -> HashRows:
    rows = FORMAT.missing(len(values))
    rows.records["floats"][:, 0] = values
    rows.categories[:, 0] = [f"maker {value}" for value in values]
    return rows


def put(cache: FeatureCache, values: dict[str, float]) -> None:
    cache.put(list(values), rows_of(list(values.values())), np.ones(len(values), np.bool_))


def held(cache: FeatureCache, keys: list[str]) -> dict[str, float]:
    found = cache.find(keys)
    rows = FORMAT.missing(len(keys)) if found.rows is None else found.rows
    seats = rows.records["floats"][:, 0].tolist()
    makers = rows.categories[:, 0].tolist()
    there = {key: seats[i] for i, key in enumerate(keys) if found.current[i]}
    assert [makers[i] for i in range(len(keys)) if found.current[i]] == [f"maker {value}" for value in there.values()]
    return there


@given(st.integers(0, 6), st.lists(st.lists(st.integers(0, 15), max_size=9, unique=True), max_size=40))
def test_a_row_is_either_right_or_not_there_and_there_are_never_too_many(capacity: int, puts: list[list[int]]) -> None:
    cache = cache_of(capacity, Clock())
    latest: dict[str, float] = {}
    for turn, keys in enumerate(puts):
        values = {f"N{key}": float(turn * 100 + key) for key in keys}
        put(cache, values)
        kept = list(values.items())[:capacity]
        for key in values:
            latest.pop(key, None)
        latest |= dict(kept)

        found = held(cache, [f"N{key}" for key in range(16)])

        assert len(cache) <= capacity
        assert all(found[key] == latest[key] for key in found if key in latest)
        assert dict(kept).items() <= found.items()


def test_what_is_asked_for_again_survives_a_scan_over_new_keys(clock: Clock) -> None:
    cache = cache_of(4, clock)
    put(cache, {"hot": 1.0, "a": 2.0, "b": 3.0, "c": 4.0})

    for scan in range(20):
        held(cache, ["hot"])
        put(cache, {f"scan {scan}": 5.0})

    assert held(cache, ["hot", "a", "b", "c"]) == {"hot": 1.0}


def test_rows_run_out_and_may_stand_in_for_a_while(clock: Clock) -> None:
    cache = cache_of(4, clock)
    put(cache, {"N1": 1.0})

    states = []
    for clock.now in (59.9, 60.0, 159.9, 160.0):
        found = cache.find(["N1"])
        assert found.rows is not None
        states.append((bool(found.current[0]), bool(found.expired[0]), np.isnan(found.rows.records["floats"][0, 0])))

    assert states == [(True, False, False), (False, True, False), (False, True, False), (False, False, True)]


def test_a_key_without_a_value_is_asked_for_again_soon(clock: Clock) -> None:
    cache = cache_of(4, clock)
    cache.put(["N1"], FORMAT.missing(1), np.zeros(1, np.bool_))

    assert cache.find(["N1"]).current.tolist() == [True]
    clock.now = 5.0
    assert cache.find(["N1"]).current.tolist() == [False]


def test_events_without_a_key_and_hostile_keys_are_not_kept(clock: Clock) -> None:
    cache = cache_of(4, clock)
    put(cache, {"N" * 100_000: 1.0, "N1": 2.0})

    assert held(cache, ["N1"]) == {"N1": 2.0}
    assert len(cache) == 1
    assert not cache.find([None, "N" * 100_000]).current.any()


def test_keys_of_which_none_is_held_have_no_rows(clock: Clock) -> None:
    cache = cache_of(4, clock)
    put(cache, {"N1": 1.0})

    found = cache.find(["N2", None])

    assert found.rows is None
    assert not found.current.any()
    assert not found.expired.any()
