"""Labels on the bus: good ones are read whatever stands beside them, bad ones are told apart by their position."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.schemas.events import Rejection
from penstock.schemas.labels import LabelBatch, decode_labels, encode_label, encode_watermark
from penstock.schemas.records import Label, Source

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
LABELS = st.builds(
    Label,
    id=TEXT,
    label=st.floats(width=32, allow_nan=False, allow_infinity=False),
    time=st.integers(-62_135_596_800_000, 253_402_300_799_999),
    key=st.none() | TEXT,
    source=st.none() | st.builds(Source, st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1)),
    origin=st.none() | TEXT,
)


def read(values: list[bytes | None]) -> LabelBatch:
    return decode_labels([SimpleNamespace(value=value) for value in values])


@given(st.lists(LABELS | st.integers(-(2**40), 2**40) | st.binary(max_size=9).filter(lambda value: b"{" not in value)))
@settings(max_examples=150, deadline=None)
def test_labels_watermarks_and_nonsense_go_their_own_ways(records: list[Label | int | bytes]) -> None:
    labels = {at: record for at, record in enumerate(records) if isinstance(record, Label)}
    marks = [record for record in records if isinstance(record, int)]
    values: list[bytes | None] = [
        encode_label(record)[0]
        if isinstance(record, Label)
        else encode_watermark(record)[0]
        if isinstance(record, int)
        else record
        for record in records
    ]
    batch = read(values)
    assert batch.positions.tolist() == list(labels)
    assert batch.values.tolist() == [label.label for label in labels.values()]
    assert batch.times.tolist() == [label.time for label in labels.values()]
    assert batch.hashes.tolist() == [xxhash.xxh3_64_intdigest(label.id.encode()) for label in labels.values()]
    assert batch.sources.tolist() == [
        [label.source.partition, label.source.offset] if label.source else [-1, -1] for label in labels.values()
    ]
    assert batch.watermark == max(marks, default=None)
    assert batch.origins == {
        name: sum((label.origin or "") == name for label in labels.values())
        for name in {label.origin or "" for label in labels.values()}
    }
    assert [bad.position for bad in batch.rejected] == [
        at for at, record in enumerate(records) if isinstance(record, bytes)
    ]


def test_what_producers_write_is_taken_as_it_is_meant() -> None:
    """Bools, whole numbers, ids that are numbers, and fields that nobody here knows."""
    batch = read([
        b'{"id": "a", "label": true, "time": 1, "extra": [1]}', b'{"id": 42, "label": 0, "time": 2}',
        b'{"time": 3, "label": 1e-3, "id": "c"}',
    ])  # fmt: skip
    assert (batch.values.tolist(), batch.rejected) == ([1.0, 0.0, 0.001], [])
    assert batch.hashes[1] == xxhash.xxh3_64_intdigest(b"42")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, "tombstone", "The record is a tombstone: it has no value."),
        (b"", "empty", "The record's value is empty."),
        (b'{"id": "a", "label": NaN, "time": 1}', "not_json", "The value is not JSON"),
        (b'{"id": "a", "label": "late", "time": 1}', "wrong_type", "label is a string; expected a number, true or"),
        (b'{"id": "a", "label": [1], "time": 1}', "wrong_type", "label is no single number"),
        (b'{"id": "a", "label": 1e39, "time": 1}', "not_finite", "label is too large for a float32"),
        (b'{"id": "a", "label": 1e999, "time": 1}', "not_finite", "label is too large for a float32"),
        (b'{"id": "a", "label": null, "time": 1}', "missing_field", "label is missing"),
        (b'{"id": "", "label": 1, "time": 1}', "missing_field", "id is an empty string"),
        (b'{"label": 1, "time": 1}', "missing_field", "id is missing"),
        (b'{"id": "a", "label": 1}', "missing_field", "time is missing"),
        (b'{"id": "a", "label": 1, "time": 1792000000000000}', "wrong_type", "time is no time in Unix milliseconds"),
        (b'{"id": "a", "label": 1, "time": "2013-03-01"}', "wrong_type", "time is no time in Unix milliseconds"),
        (b'{"id": "a", "label": 1, "time": 1, "source": {"partition": -1, "offset": 0}}', "wrong_type", "source.part"),
    ],
)
def test_a_bad_label_says_why_and_harms_no_neighbour(value: bytes | None, error: str, message: str) -> None:
    good = b'{"id": "good", "label": 1, "time": 1}'
    batch = read([good, value, good])
    assert batch.positions.tolist() == [0, 2]
    [bad] = batch.rejected
    assert (bad.position, bad.error) == (1, error)
    assert bad.message.startswith(message)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2),
)


@given(st.dictionaries(st.sampled_from(["id", "label", "time", "source", "origin", "key", "watermark"]), JSON))
@settings(max_examples=300, deadline=None)
def test_any_object_is_a_label_a_watermark_or_a_rejection(document: dict[str, Any]) -> None:
    batch = read([json.dumps(document).encode()])
    assert batch.rows + len(batch.rejected) + (batch.watermark is not None) == 1
    assert all(math.isfinite(value) for value in batch.values.tolist())
    assert all(isinstance(bad, Rejection) for bad in batch.rejected)
