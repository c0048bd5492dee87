"""The reference profile counts every row once, whatever the training data look like, and comes back from its bytes."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from penstock.models.profiling import MAX_CATEGORIES, MAX_SAMPLE_ROWS, build_profile, profile_numbers
from penstock.schemas.columns import Category, Columns, Layout
from penstock.schemas.profile import (
    BINS,
    INVALID,
    MISSING,
    OVER,
    SLOTS,
    UNDER,
    CategoryProfile,
    NumericProfile,
    UnreadableProfile,
    decode_profile,
    encode_profile,
    slots_of,
)

any_numbers = arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32) | st.just(np.nan))


@given(any_numbers, st.integers(1, 20))
def test_every_row_is_counted_once_and_none_of_the_reference_is_outside(
    values: np.ndarray[tuple[int], np.dtype[np.float64]], segment_rows: int
) -> None:
    profile = profile_numbers(values, segment_rows)
    starts = range(0, len(values), segment_rows)
    assert profile.counts.sum(1).tolist() == [len(values[start : start + segment_rows]) for start in starts]
    assert profile.counts[:, [UNDER, OVER, INVALID]].sum() == 0
    assert profile.counts[:, MISSING].sum() == np.isnan(values).sum()
    finite = values[~np.isnan(values)]
    assert profile.moments.count == len(finite)
    if len(finite):
        assert (profile.edges[0], profile.edges[-1]) == (finite.min(), finite.max())
        assert len(profile.edges) <= BINS
        assert (np.diff(profile.edges) > 0).all()


@given(any_numbers, st.floats(allow_nan=True, allow_infinity=True))
def test_a_value_lands_in_the_slot_that_its_definition_says(
    values: np.ndarray[tuple[int], np.dtype[np.float64]], value: float
) -> None:
    edges = profile_numbers(values).edges
    slot = int(slots_of(np.array([value]), edges)[0])
    if np.isnan(value):
        assert slot == MISSING
    elif np.isinf(value):
        assert slot == INVALID
    elif len(edges) == 0 or value > edges[-1]:
        assert slot == OVER
    elif value < edges[0]:
        assert slot == UNDER
    else:
        assert value <= edges[slot]
        assert slot == 0 or value > edges[slot - 1]


@pytest.mark.parametrize("value", [3.25, 0.0, np.nan])
def test_constant_and_absent_features_have_a_profile(value: float) -> None:
    profile = profile_numbers(np.full(100, value))
    assert profile.counts[:, [0, MISSING]].sum(1).tolist() == [100]
    assert np.isnan(profile.moments.skewness)


def test_moments_of_a_large_offset_are_exact() -> None:
    values = 1e9 + np.array([1.0, 2.0, 3.0, 4.0] * 500)
    profile = profile_numbers(values)
    assert profile.moments.deviation == pytest.approx(np.sqrt(1.25))
    assert profile.moments.kurtosis == pytest.approx(1.64)
    np.testing.assert_allclose(profile.deviations, np.sqrt(1.25), rtol=1e-6)


def flights(rows: int) -> Columns:
    random = np.random.default_rng(3)
    words = tuple(f"A{i:03}" for i in range(MAX_CATEGORIES + 10))
    codes = np.minimum(random.geometric(0.05, rows) - 2, len(words) - 1).astype(np.int32)
    return Columns(
        Layout(("distance", "income"), ("seats",), ("carrier",), (("wind", 2),)),
        random.normal(size=(rows, 2)).astype(np.float32),
        random.integers(0, 9, (rows, 1)),
        (Category(codes, words),),
        (random.normal(size=(rows, 2)).astype(np.float32),),
    )


def test_it_comes_back_from_its_bytes() -> None:
    columns = flights(3000)
    profile = build_profile(columns, scores=columns.floats[:, 0], times=np.arange(3000), sensitive={"income"})
    data = encode_profile(profile)
    again = decode_profile(data)
    assert encode_profile(again) == data
    assert again.rows == 3000
    carrier, distance = again.features["carrier"], again.features["distance"]
    assert isinstance(carrier, CategoryProfile)
    assert isinstance(distance, NumericProfile)
    assert len(carrier.values) == MAX_CATEGORIES
    assert carrier.counts.sum(1).tolist() == distance.counts.sum(1).tolist() == [512] * 5 + [440]
    assert distance.counts.shape == (6, SLOTS)
    assert carrier.counts[:, -1].sum() == (columns.categories[0].codes == -1).sum()


def test_the_sample_is_bounded_and_leaves_sensitive_features_out() -> None:
    columns = flights(3000)
    sample = build_profile(columns, labels=np.arange(3000.0), sensitive={"income", "carrier"}).sample
    assert len(sample.rows) == MAX_SAMPLE_ROWS
    assert set(sample.numbers) == {"distance", "seats", "wind"}
    assert sample.categories == {}
    np.testing.assert_array_equal(sample.numbers["distance"], columns.floats[sample.rows, 0])
    np.testing.assert_array_equal(sample.labels, sample.rows)


def test_rows_are_put_in_the_order_of_time() -> None:
    columns = flights(2000)
    times = np.arange(2000)
    shuffled = np.random.default_rng(0).permutation(2000)
    assert encode_profile(build_profile(columns.take(shuffled), times=times[shuffled])) != encode_profile(
        build_profile(columns.take(shuffled), times=times)
    )
    assert encode_profile(build_profile(columns.take(shuffled), times=times[shuffled])) == encode_profile(
        build_profile(columns, times=times)
    )


def test_of_a_long_reference_the_latest_segments_stay() -> None:
    columns = Columns.missing(Layout(("a",)), 2500)
    columns.floats[:, 0] = np.arange(2500)
    profile = build_profile(columns, segment_rows=2)
    distance = profile.features["a"]
    assert isinstance(distance, NumericProfile)
    assert (profile.rows, distance.edges[0], distance.edges[-1]) == (2000, 500, 2499)


@pytest.mark.parametrize("data", [b"", b"\x80\x04", b"\x81", msgspec.msgpack.encode({"schema_version": 1})])
def test_other_bytes_are_no_profile(data: bytes) -> None:
    with pytest.raises(UnreadableProfile, match="it is no reference profile"):
        decode_profile(data)


def test_a_newer_schema_is_refused() -> None:
    with pytest.raises(UnreadableProfile, match="schema version 9; this Penstock reads up to 2"):
        decode_profile(msgspec.msgpack.encode({"schema_version": 9}))


def test_an_array_that_is_none_is_refused() -> None:
    document = msgspec.msgpack.decode(encode_profile(build_profile(flights(10))))
    document["sample"]["rows"] = ["|O8", [1], b"12345678"]
    with pytest.raises(UnreadableProfile, match="dtype"):
        decode_profile(msgspec.msgpack.encode(document))
    document["sample"]["rows"] = ["<i8", [7], b"12345678"]
    with pytest.raises(UnreadableProfile, match="reshape"):
        decode_profile(msgspec.msgpack.encode(document))
