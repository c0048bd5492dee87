"""Hashes and draws, against the same in Python's integers: written down, they hold on every machine."""

from __future__ import annotations

import numpy as np
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from penstock.schemas.keys import group_of, hash_keys, points, routing_keys, within

WORD = 2**64 - 1

keys = st.lists(st.binary(max_size=40) | st.none(), max_size=20)
hashes = st.lists(st.integers(0, WORD), max_size=20).map(lambda found: np.array(found, np.uint64))
shares = st.floats(0, 1)


@given(keys)
def test_each_key_has_its_hash_and_a_missing_one_that_of_nothing(keys: list[bytes | None]) -> None:
    assert hash_keys(keys, len(keys)).tolist() == [xxhash.xxh3_64_intdigest(key or b"") for key in keys]
    assert hash_keys(iter(keys), len(keys)).tolist() == hash_keys(keys, len(keys)).tolist()


@given(keys)
def test_without_a_key_an_event_is_routed_by_its_id(keys: list[bytes | None]) -> None:
    ids = [f"event-{row}" for row in range(len(keys))]

    expected = [name.encode() if key is None else key for key, name in zip(keys, ids, strict=True)]
    assert routing_keys(keys, ids, len(keys)).tolist() == hash_keys(expected, len(keys)).tolist()


@given(hashes, st.text(max_size=10))
def test_points_are_those_of_splitmix(hashes: NDArray[np.uint64], salt: str) -> None:
    before = hashes.copy()

    assert points(hashes, salt).tolist() == [
        splitmix(one ^ xxhash.xxh3_64_intdigest(salt.encode())) for one in hashes.tolist()
    ]
    assert hashes.tolist() == before.tolist()


def splitmix(word: int) -> int:
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB & WORD
    return word ^ word >> 31


@given(hashes, st.tuples(shares, shares).map(sorted))
def test_a_larger_share_holds_a_smaller_one(hashes: NDArray[np.uint64], two: list[float]) -> None:
    smaller, larger = (within(hashes, "experiment", share) for share in two)

    assert (larger | ~smaller).all()
    assert not within(hashes, "experiment", 0.0).any()


def test_groups_are_of_one_size() -> None:
    rows = 64_000
    sizes = np.bincount(group_of(hash_keys((str(row).encode() for row in range(rows)), rows)), minlength=64)

    assert len(sizes) == 64
    assert ((sizes - 1000) ** 2 / 1000).sum() < 120  # chi², 63 degrees of freedom: p = 2e-5
