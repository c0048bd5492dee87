"""The JSON codec: what it reads, what it refuses, and that no event touches its neighbours."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.schemas import json_events
from penstock.schemas.columns import MISSING_INTEGER, Columns, FeatureType, Layout
from penstock.schemas.errors import ConfigurationError
from penstock.schemas.events import DecodedEvents, EventFeature, EventSchema, KeyPart
from penstock.schemas.json_events import JsonCodec


@dataclass
class Record:
    value: bytes | None
    offset: int = 0
    key: bytes | None = b"own"
    timestamp: int = 1_700_000_000_000
    headers: list[tuple[str, bytes]] = field(default_factory=list)


FLIGHT = EventSchema(
    Layout(
        floats=("distance", "wind", "visibility"),
        integers=("seats", "holiday"),
        categories=("origin", "tail"),
        vectors=(("legs", 2),),
    ),
    (
        EventFeature("distance", "distance", FeatureType("float"), True),
        EventFeature("wind", "weather.wind", FeatureType("float"), False),
        EventFeature("seats", "plane.seats", FeatureType("int"), False),
        EventFeature("holiday", "holiday", FeatureType("bool"), False),
        EventFeature("origin", "origin", FeatureType("category"), True),
        EventFeature("tail", "plane.built.tail no.", FeatureType("category"), False),
        EventFeature("legs", "legs", FeatureType("vector", 2), False),
    ),
    id="id",
    time="when.ms",
    key="origin",
    key_parts=(KeyPart("origin", "string"), KeyPart("plane.seats", "string"), KeyPart("arrival", "time")),
)
CODEC = JsonCodec(FLIGHT)
GOOD: dict[str, Any] = {
    "id": "UA1",
    "when": {"ms": 1_357_034_400_000},
    "distance": 1400,
    "weather": {"wind": 7.5},
    "plane": {"seats": 149, "built": {"tail no": {"": "N14228"}}},
    "holiday": True,
    "origin": "EWR",
    "legs": [1, 2.5],
    "arrival": 1_357_041_600_000,
    "unknown": {"deep": [None, {"er": "…"}]},
}


def decode(*values: Any, schema: EventSchema = FLIGHT) -> DecodedEvents:
    """Values that are not bytes are written as JSON."""
    texts = [v if v is None or isinstance(v, bytes) else json.dumps(v).encode() for v in values]
    return JsonCodec(schema).decode([Record(text, offset) for offset, text in enumerate(texts)], [3] * len(texts))


def refusal(value: Any, schema: EventSchema = FLIGHT) -> tuple[str, str]:
    events = decode(value, schema=schema)
    assert events.rows == 0
    [bad] = events.rejected
    return bad.error, bad.message


def schema_of(type: str, *, required: bool = False, path: str = "x", **rest: Any) -> EventSchema:
    feature_type = FeatureType.parse(type)
    groups: dict[str, Any] = {
        "float": {"floats": ("x",)},
        "int": {"integers": ("x",)},
        "bool": {"integers": ("x",)},
        "category": {"categories": ("x",)},
        "vector": {"vectors": (("x", feature_type.width),)},
    }
    return EventSchema(Layout(**groups[feature_type.kind]), (EventFeature("x", path, feature_type, required),), **rest)


def test_an_event_becomes_a_row() -> None:
    events = decode(GOOD)
    assert events.accepted.tolist() == [0]
    assert events.ids == ["UA1"]
    assert events.times.tolist() == [1_357_034_400_000]
    assert events.keys == [b"EWR"]
    np.testing.assert_array_equal(events.columns.floats, np.array([[1400, 7.5, np.nan]], np.float32))
    assert events.columns.integers.tolist() == [[149, 1]]
    assert events.columns.categories[0].decoded() == ["EWR"]
    assert events.columns.vectors[0].tolist() == [[1, 2.5]]
    assert events.key_parts["origin"] == ["EWR"]
    assert events.key_parts["plane.seats"] == ["149"]
    assert np.asarray(events.key_parts["arrival"]).tolist() == [1_357_041_600_000]
    assert events.rejected == []


@pytest.mark.parametrize(
    "without",
    [
        {"weather": None, "plane": None, "holiday": None, "legs": None, "arrival": None},
        {"weather": {"wind": None}, "plane": {"seats": None, "built": None}, "holiday": None, "legs": None},
        {"plane": {"built": {"tail no": None}}},
        {},
    ],
    ids=["null objects", "null values", "null inner object", "absent"],
)
def test_what_is_optional_may_be_absent_or_null(without: dict[str, Any]) -> None:
    bare = {name: GOOD[name] for name in ("id", "when", "distance", "origin")}
    events = decode(GOOD, {**bare, **without}, GOOD)
    assert events.rows == 3
    row = events.columns.take(slice(1, 2))
    assert row.floats.tolist()[0][0] == 1400
    assert np.isnan(row.floats[0, 1:]).all()
    assert row.integers.tolist() == [[MISSING_INTEGER, MISSING_INTEGER]]
    assert events.columns.categories[1].decoded() == ["N14228", None, "N14228"]
    assert np.isnan(row.vectors[0]).all()
    assert events.key_parts["plane.seats"] == ["149", None, "149"]
    assert np.asarray(events.key_parts["arrival"]).tolist()[1] == MISSING_INTEGER
    assert events.columns.floats[[0, 2], 1].tolist() == [7.5, 7.5]


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (None, "tombstone", "no value"),
        (b"", "empty", "empty"),
        (b"nope", "not_json", "not JSON"),
        (b'{"id": "a"', "not_json", "truncated"),
        (b"\xff\xfe", "not_json", "not JSON"),
        (b'\xef\xbb\xbf{"id": "a"}', "not_json", "byte order mark"),
        (b'{"id": "a"}{"id": "b"}', "missing_field", "is missing"),
        (json.dumps(GOOD).encode() * 2, "not_json", "one record must hold one event"),
        (b"[" * 10_000_000, "wrong_type", "The value has the wrong type"),
        (b'{"id": ' + b"[" * 10_000_000, "wrong_type", "id has the wrong type"),
        (b'{"unknown": ' + b"[" * 10_000_000, "not_json", "nested too deeply"),
        (b'{"id": "\xff"}', "not_json", "UTF-8"),
        (b'{"id": "\\ud800"}', "not_json", "not JSON"),
        (b'{"distance": NaN}', "not_json", "not JSON"),
        (b'{"distance": 1e400}', "not_finite", "distance"),
        (b'{"distance": 1e39}', "not_finite", "distance"),
        (b'{"distance": -1e39}', "not_finite", "distance"),
        (b'{"distance": ' + b"9" * 5000 + b"}", "not_finite", "distance"),
        (b'{"distance": "7"}', "wrong_type", "distance has the wrong type: expected float, got str"),
        (b'{"distance": true}', "wrong_type", "distance"),
        (b'{"distance": null}', "missing_field", "distance is null"),
        (b"[1]", "wrong_type", "expected object, got array"),
        (b"null", "wrong_type", "expected object, got null"),
        ({**GOOD, "distance": None}, "missing_field", "distance is null"),
        ({"id": "a"}, "missing_field", "is missing"),
        ({**GOOD, "id": ""}, "missing_field", "id is an empty string"),
        ({**GOOD, "id": None}, "missing_field", "id is null"),
        ({**GOOD, "id": 1.5}, "wrong_type", "id"),
        ({**GOOD, "id": True}, "wrong_type", "id"),
        ({**GOOD, "when": {}}, "missing_field", "when.ms is missing"),
        ({**GOOD, "when": None}, "missing_field", "when is null"),
        ({**GOOD, "when": {"ms": None}}, "missing_field", "when.ms is null"),
        ({**GOOD, "when": {"ms": "noon"}}, "wrong_type", "when.ms"),
        ({**GOOD, "when": {"ms": 1e18}}, "wrong_type", "when.ms is no time"),
        ({**GOOD, "plane": {"seats": 1.0}}, "wrong_type", "plane.seats"),
        ({**GOOD, "plane": {"seats": 2**63}}, "wrong_type", "plane.seats"),
        ({**GOOD, "plane": {"seats": MISSING_INTEGER}}, "wrong_type", "plane.seats"),
        ({**GOOD, "plane": 7}, "wrong_type", "plane"),
        ({**GOOD, "holiday": 1}, "wrong_type", "holiday"),
        ({**GOOD, "origin": 5}, "wrong_type", "origin"),
        ({**GOOD, "legs": [1]}, "wrong_type", "legs"),
        ({**GOOD, "legs": [1, 2, 3]}, "wrong_type", "legs"),
        ({**GOOD, "legs": [1, None]}, "wrong_type", "legs[1] is null"),
        ({**GOOD, "legs": [1, 1e39]}, "not_finite", "legs[1]"),
        ({**GOOD, "arrival": "soon"}, "wrong_type", "arrival"),
    ],
)  # fmt: skip
def test_a_bad_event_is_refused_with_a_sentence(value: Any, error: str, says: str) -> None:
    found, message = refusal(value)
    assert found == error
    assert says in message
    assert message.endswith(".")
    assert len(message) < 200


def test_of_duplicate_keys_the_last_wins() -> None:
    assert decode(b'{"x": 1, "x": 2}', schema=schema_of("float")).columns.floats.tolist() == [[2]]


def test_negative_zero_keeps_its_sign() -> None:
    assert math.copysign(1, decode(b'{"x": -0.0}', schema=schema_of("float")).columns.floats[0, 0]) == -1


def test_the_largest_float32_is_accepted_however_it_is_written() -> None:
    largest = float(np.finfo(np.float32).max)
    events = decode(b'{"x": 3.4028235e38}', {"x": largest}, {"x": -largest}, schema=schema_of("float"))
    assert events.columns.floats.ravel().tolist() == [largest, largest, -largest]


def test_what_would_round_to_a_float32_infinity_is_refused() -> None:
    assert refusal(b'{"x": 3.4028235677973366e38}', schema_of("float"))[0] == "not_finite"


@pytest.mark.parametrize("text", ["line\nbreak", 'say "no"', "naïve ✈ 🛫", "\x00", "a,b\\c"])
def test_ids_and_categories_are_any_text(text: str) -> None:
    events = decode({"x": text, "id": text}, schema=schema_of("category", id="id"))
    assert events.ids == [text]
    assert events.columns.categories[0].decoded() == [text]


@pytest.mark.parametrize(("value", "text"), [(7, "7"), (-1, "-1"), (10**30, "1" + "0" * 30), ("7", "7")])
def test_an_id_may_be_a_whole_number_of_any_size(value: Any, text: str) -> None:
    assert decode({"id": value}, schema=schema_of("float", id="id")).ids == [text]


def test_without_an_id_path_the_source_names_the_event() -> None:
    assert decode({}, b"bad", {}, schema=schema_of("float")).ids == ["3-0", "3-2"]


def test_without_a_time_path_the_brokers_time_counts() -> None:
    assert decode({}, schema=schema_of("float")).times.tolist() == [1_700_000_000_000]


@pytest.mark.parametrize(
    ("value", "key"), [("EWR", b"EWR"), ("", b""), (7, b"7"), (1.5, b"1.5"), (None, b"own"), ("é", "é".encode())]
)
def test_the_key_is_text_and_null_leaves_the_records_own(value: Any, key: bytes) -> None:
    assert decode({"k": value}, schema=schema_of("float", key="k")).keys == [key]


@pytest.mark.parametrize(
    ("unit", "written", "ms"),
    [
        ("ms", 1_357_034_400_123, 1_357_034_400_123),
        ("ms", 1_357_034_400_123.0, 1_357_034_400_123),
        ("ms", -1, -1),
        ("s", 1_357_034_400, 1_357_034_400_000),
        ("s", 1_357_034_400.001, 1_357_034_400_001),
        ("iso", "2013-01-01T10:00:00", 1_357_034_400_000),
        ("iso", "2013-01-01 10:00:00.123Z", 1_357_034_400_123),
        ("iso", "2013-01-01T05:00:00-05:00", 1_357_034_400_000),
        ("iso", "2013-01-01", 1_356_998_400_000),
        ("iso", "1969-12-31T23:59:59.999", -1),
    ],
)
def test_times_in_every_unit(unit: str, written: Any, ms: int) -> None:
    schema = schema_of("float", time="t", time_unit=unit, key_parts=(KeyPart("p.t", "time"),))
    events = decode({"t": written, "p": {"t": written}}, {"t": written, "p": None}, {"t": written}, schema=schema)
    assert events.times.tolist() == [ms] * 3
    assert np.asarray(events.key_parts["p.t"]).tolist() == [ms, MISSING_INTEGER, MISSING_INTEGER]


@pytest.mark.parametrize("written", ["noon", "", "0001-01-01T00:00:00+10:00", "2013-13-01", 7])
def test_a_bad_iso_time_is_refused(written: Any) -> None:
    schema = schema_of("float", time="t", time_unit="iso")
    events = decode({"t": "2013-01-01"}, {"t": written}, {"t": "2013-01-02"}, schema=schema)
    assert events.accepted.tolist() == [0, 2]
    assert events.times.tolist() == [1_356_998_400_000, 1_357_084_800_000]
    assert (events.rejected[0].error, events.rejected[0].stage) == ("wrong_type", "validate")
    assert "t " in events.rejected[0].message


def test_looked_up_features_stay_missing_to_the_right() -> None:
    schema = EventSchema(
        Layout(("a", "up"), ("n", "up2"), ("c", "up3"), (("v", 1), ("up4", 2))),
        tuple(
            EventFeature(name, name, FeatureType.parse(kind), True)
            for name, kind in (("a", "float"), ("n", "int"), ("c", "category"), ("v", "vector(1)"))
        ),
    )
    columns = decode({"a": 1, "n": 2, "c": "x", "v": [3]}, schema=schema).columns
    np.testing.assert_array_equal(columns.floats, np.array([[1, np.nan]], np.float32))
    assert columns.integers.tolist() == [[2, MISSING_INTEGER]]
    assert [category.decoded() for category in columns.categories] == [["x"], [None]]
    assert np.isnan(columns.vectors[1]).all()


def test_a_path_serves_several_uses() -> None:
    schema = schema_of("int", required=True, id="x", key="x", time="x", key_parts=(KeyPart("x", "string"),))
    events = decode({"x": 7}, {"x": "7"}, {"x": 7.0}, schema=schema)
    assert (events.ids, events.keys, events.times.tolist()) == (["7"], [b"7"], [7])
    assert [bad.error for bad in events.rejected] == ["wrong_type", "wrong_type"]


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (schema_of("float", time="x", time_unit="iso"), "used as a time and as float"),
        (schema_of("bool", id="x"), "used as bool and as the event's id"),
        (schema_of("float", id="x.id"), "an object with fields of its own"),
        (schema_of("float", path="x.y", id="x"), "an object with fields of its own"),
    ],
)
def test_a_path_with_contradicting_uses_is_refused(schema: EventSchema, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        JsonCodec(schema)


def test_an_empty_window_has_no_rows() -> None:
    events = decode()
    assert (events.rows, events.columns.rows, events.rejected) == (0, 0, [])


def _mutations(event: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Good events, and events with something replaced by anything that JSON can say."""
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["seats", "ms"]), inner, max_size=2)
        ),
        max_leaves=4,
    )
    return st.dictionaries(st.sampled_from([*event, "new"]), anything, max_size=2).map(
        lambda change: {**event, **change}
    )


_VALUES = st.one_of(
    _mutations(GOOD).map(lambda event: json.dumps(event).encode()),
    _mutations(GOOD).map(lambda event: json.dumps(event)[:-3].encode()),
    st.binary(max_size=20),
    st.none(),
    st.sampled_from([b'{"unknown": ' + b"[" * 5000, b'},{"id": 1', b'{"id": "a"},{"id": "b"}', b'"', b"{}"]),
)


@given(st.lists(_VALUES, max_size=12), st.sampled_from([1, 3, 128]))
@settings(max_examples=300, deadline=None)
def test_neighbours_never_touch_each_other(values: list[bytes | None], stretch: int) -> None:
    """A window decodes to exactly what its records decode to one by one, in however long stretches it is decoded."""
    with patch.object(json_events, "_STRETCH", stretch):
        assert_decoded_one_by_one(CODEC, values)


@pytest.mark.parametrize("unit", ["ms", "iso"])
def test_bad_events_in_a_large_window_touch_no_others(unit: Literal["ms", "iso"]) -> None:
    feature = EventFeature("x", "x", FeatureType("float"), False)
    codec = JsonCodec(EventSchema(Layout(floats=("x",)), (feature,), id="id", time="t", time_unit=unit))
    values: list[bytes | None] = []
    for number in range(3 * json_events._STRETCH):
        when = number if unit == "ms" else f"2024-01-01T00:00:00.{number:03}Z"
        values.append(json.dumps({"id": str(number), "t": when, "x": None if number % 7 == 0 else number}).encode())
    for edge in (0, json_events._STRETCH, 2 * json_events._STRETCH):
        values[edge], values[edge + 1], values[edge - 1] = b"no JSON", None, b'{"id": "1", "t": "no time"}'
    assert_decoded_one_by_one(codec, values)


def assert_decoded_one_by_one(codec: JsonCodec, values: list[bytes | None]) -> None:
    records = [Record(value, offset, key=str(offset).encode()) for offset, value in enumerate(values)]
    window = codec.decode(records, [3] * len(records))
    alone = [codec.decode([record], [3]) for record in records]

    assert window.accepted.tolist() == [offset for offset, one in enumerate(alone) if one.rows]
    assert window.rejected == [
        bad._replace(position=offset) for offset, one in enumerate(alone) for bad in one.rejected
    ]
    assert len(window.accepted) + len(window.rejected) == len(records)
    good = [one for one in alone if one.rows]
    assert window.ids == [event for one in good for event in one.ids]
    assert window.keys == [key for one in good for key in one.keys]
    assert window.times.tolist() == [time for one in good for time in one.times.tolist()]
    for path, found in window.key_parts.items():
        assert list(found) == [part for one in good for part in one.key_parts[path]]
    if good:
        assert_equal(window.columns, Columns.concatenate([one.columns for one in good]))


FLAT = EventSchema(
    Layout(floats=("a", "b", "up"), integers=("n", "m")),
    (
        EventFeature("n", "n", FeatureType("int"), False),
        EventFeature("a", "a", FeatureType("float"), False),
        EventFeature("m", "m", FeatureType("bool"), False),
        EventFeature("b", "b", FeatureType("float"), True),
    ),
)
_ABSENT = object()
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-(2**53), 2**53)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "a": st.sampled_from([_ABSENT, None]) | _NUMBERS,
                "b": st.sampled_from([_ABSENT, None]) | _NUMBERS,
                "n": st.sampled_from([_ABSENT, None, MISSING_INTEGER]) | st.integers(-(2**70), 2**70),
                "m": st.sampled_from([_ABSENT, None, True, False]),
            }
        ),
        max_size=8,
    )
)
def test_columns_hold_what_the_events_say(events: list[dict[str, Any]]) -> None:
    """Against the plainest reading: a loop over parsed JSON. Here all numbers lie at the top of the event."""
    written = [{name: value for name, value in event.items() if value is not _ABSENT} for event in events]
    good = [event for event in written if event.get("b") is not None and abs(event.get("n") or 0) < 2**63]
    found = decode(*written, schema=FLAT)
    floats = [[np.nan if event.get(name) is None else event[name] for name in ("a", "b", "up")] for event in good]
    integers = [[MISSING_INTEGER if event.get(name) is None else event[name] for name in ("n", "m")] for event in good]
    np.testing.assert_array_equal(found.columns.floats, np.array(floats, np.float32).reshape(-1, 3))
    np.testing.assert_array_equal(found.columns.integers, np.array(integers, np.int64).reshape(-1, 2))


def assert_equal(found: Columns, expected: Columns) -> None:
    np.testing.assert_array_equal(found.floats, expected.floats)
    np.testing.assert_array_equal(found.integers, expected.integers)
    for category, other in zip(found.categories, expected.categories, strict=True):
        assert category.decoded() == other.decoded()
    for vector, other_vector in zip(found.vectors, expected.vectors, strict=True):
        np.testing.assert_array_equal(vector, other_vector)
    assert np.isfinite(found.floats[~np.isnan(found.floats)]).all()
