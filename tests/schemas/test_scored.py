"""The scored log: blocks come back as they went in, whole records stay small, and damage never passes as data."""

from __future__ import annotations

import json
import zlib
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_rows import block_of

from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, Layout
from penstock.schemas.records import CHECKSUM_HEADER
from penstock.schemas.scored import (
    CorruptBlock,
    EncodedRecord,
    RowTooLarge,
    ScoredBlock,
    decode,
    encode,
    without_repeats,
)
from penstock.schemas.scored_joining import join
from penstock.schemas.topics import SCORED_RECORD_LIMIT

FULL = Layout(("distance", "score"), ("seats", "holiday"), ("origin", "tail"), (("legs", 2),))


def category(rng: np.random.Generator, rows: int, values: tuple[str, ...], *, lowest: int = -1) -> Category:
    return Category(rng.integers(lowest, len(values), rows).astype(np.int32), values)


def block(rows: int = 5, *, layout: Layout = FULL, outputs: int = 0, aged: tuple[str, ...] = ("seats",)) -> ScoredBlock:
    rng = np.random.default_rng(rows)
    columns = Columns(
        layout,
        rng.normal(size=(rows, len(layout.floats))).astype(np.float32),
        rng.integers(-9, 9, (rows, len(layout.integers))),
        tuple(category(rng, rows, ("JFK", "LGA", "naïve ✈")) for _ in layout.categories),
        tuple(rng.normal(size=(rows, width)).astype(np.float32) for _, width in layout.vectors),
    )
    columns.floats[rng.random(columns.floats.shape) < 0.2] = np.nan
    columns.integers[rng.random(columns.integers.shape) < 0.2] = MISSING_INTEGER
    return ScoredBlock(
        ids=[f"flight-{row}" for row in range(rows)],
        keys=[None if row % 3 == 0 else b"k\x00%d" % row for row in range(rows)],
        offsets=np.arange(100, 100 + 2 * rows, 2),
        event_times=rng.integers(0, 10**13, rows),
        timestamps=rng.integers(0, 10**13, rows),
        columns=columns,
        aged=aged,
        ages=rng.random((rows, len(aged)), np.float32),
        defaulted=rng.random((rows, len(layout.names))) < 0.3,
        score=rng.random(rows, np.float32),
        scores=rng.random((rows, outputs), np.float32) if outputs else None,
        variants=category(rng, rows, ("champion", "canary"), lowest=0),
        models=category(rng, rows, ("delay@3", "delay@4"), lowest=0),
        routing_revisions=rng.integers(0, 9, rows),
        partition=3,
        scored_at=1_357_034_400_000,
        runtime="torch 2.15, CPU",
        sizes=rng.integers(0, 9_000, rows).astype(np.int32),
        took_us=20 * rows,
    )


def assert_equal(found: Any, expected: Any) -> None:
    """Same rows, whatever dictionary a category uses."""
    assert type(found) is type(expected)
    if isinstance(found, Category):
        assert found.decoded() == expected.decoded()
    elif isinstance(found, np.ndarray):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    elif isinstance(found, Columns):
        assert found.layout == expected.layout
        for name in ("floats", "integers", "categories", "vectors"):
            assert_equal(getattr(found, name), getattr(expected, name))
    elif isinstance(found, tuple):
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    elif isinstance(found, ScoredBlock):
        for field in fields(found):
            assert_equal(getattr(found, field.name), getattr(expected, field.name))
    else:
        assert found == expected


def only(records: list[EncodedRecord]) -> EncodedRecord:
    [record] = records
    return record


@given(st.integers(1, 40), st.integers(0, 3), st.sets(st.sampled_from(FULL.names)), st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_a_block_comes_back_as_it_went_in(rows: int, outputs: int, names: set[str], aged: int) -> None:
    layout = Layout(
        tuple(name for name in FULL.floats if name in names),
        tuple(name for name in FULL.integers if name in names),
        tuple(name for name in FULL.categories if name in names),
        tuple(vector for vector in FULL.vectors if vector[0] in names),
    )
    original = block(rows, layout=layout, outputs=outputs, aged=("a", "b")[:aged])
    record = only(encode(original))
    assert (record.first_offset, record.last_offset, record.rows) == (100, 98 + 2 * rows, rows)
    assert_equal(decode(record.value, record.headers), original)


def test_records_of_before_sizes_and_times_were_written_read_back_without() -> None:
    before = replace(block(5), sizes=None, took_us=None)
    record = only(encode(before))
    assert "size" not in pa.ipc.open_stream(record.value).read_all().column_names
    assert_equal(decode(record.value, record.headers), before)
    batch = pa.ipc.open_stream(record.value).read_next_batch()
    metadata = json.loads(batch.schema.metadata[b"penstock"])
    del metadata["took_us"]
    sink = pa.BufferOutputStream()
    older = batch.replace_schema_metadata({b"penstock": json.dumps(metadata).encode()})
    with pa.ipc.new_stream(sink, older.schema) as writer:
        writer.write_batch(older)
    value = sink.getvalue().to_pybytes()
    assert_equal(decode(value, sealed(value)), before)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4))
@settings(deadline=None)
def test_joined_blocks_add_their_times_up_and_parts_share_theirs_out(rows: list[int]) -> None:
    together = join([block(count) for count in rows])
    assert together.took_us == 20 * sum(rows)
    halves = together.take(slice(0, 1)), together.take(slice(1, None))
    assert [half.took_us for half in halves] == [20, 20 * (sum(rows) - 1)]
    assert join([block(2), replace(block(2), took_us=None)]).took_us is None


def test_no_rows_make_no_record() -> None:
    assert encode(block(0)) == []


def test_rows_taken_by_slice_or_index_are_the_same() -> None:
    whole = block(10, outputs=2)
    assert_equal(whole.take(slice(2, 8, 3)), whole.take(np.array([2, 5])))
    assert whole.take(slice(2, 8, 3)).ids == ["flight-2", "flight-5"]


def test_a_block_is_cut_so_that_no_record_exceeds_the_limit() -> None:
    original = block(2000)
    records = encode(original, limit=20_000)
    assert len(records) > 2
    assert max(len(record.value) for record in records) <= 20_000
    parts = [decode(record.value, record.headers) for record in records]
    assert [id for part in parts for id in part.ids] == original.ids  # noqa: A001
    assert_equal(Columns.concatenate([part.columns for part in parts]), original.columns)
    assert [record.first_offset for record in records] == [part.offsets[0] for part in parts]
    assert [record.last_offset for record in records] == [part.offsets[-1] for part in parts]


def test_a_cut_carries_only_the_strings_its_rows_use() -> None:
    rows = 64
    layout = Layout(categories=("note",))
    original = block(rows, layout=layout, aged=())
    rng = np.random.default_rng(0)
    notes = tuple(rng.bytes(20_000).hex() for _ in range(rows))
    original.columns.categories = (Category(np.arange(rows, dtype=np.int32), notes),)
    records = encode(original)
    assert 2 < len(records) < 16
    assert max(len(record.value) for record in records) <= SCORED_RECORD_LIMIT
    decoded = [decode(record.value, record.headers).columns.categories[0].decoded() for record in records]
    assert [note for part in decoded for note in part] == list(notes)


def test_a_row_that_fits_no_record_is_named() -> None:
    original = block(4)
    original.ids[2] = np.random.default_rng(0).bytes(600_000).hex()
    with pytest.raises(RowTooLarge, match="partition 3, offset 104") as caught:
        encode(original)
    assert caught.value.offset == 104
    rest = original.take(np.array([0, 1, 3]))
    assert only(encode(rest)).rows == 3


def test_withheld_features_read_back_as_missing_and_leave_no_trace() -> None:
    original = block(50)
    record = only(encode(original, withhold={"distance", "holiday", "origin", "tail", "legs", "unknown"}))
    found = decode(record.value, record.headers).columns
    assert np.isnan(found.floats[:, 0]).all()
    assert (found.integers[:, 1] == MISSING_INTEGER).all()
    assert [c.decoded() for c in found.categories] == [[None] * 50] * 2
    assert [c.values for c in found.categories] == [(), ()]
    assert np.isnan(found.vectors[0]).all()
    np.testing.assert_array_equal(found.floats[:, 1], original.columns.floats[:, 1])
    np.testing.assert_array_equal(found.integers[:, 0], original.columns.integers[:, 0])
    assert not np.isnan(original.columns.floats[:, 0]).all()


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_every_flipped_bit_and_every_cut_is_found(data: st.DataObject) -> None:
    record = ENCODED
    damaged = bytearray(record.value)
    if data.draw(st.booleans(), label="flip"):
        bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
        damaged[bit // 8] ^= 1 << bit % 8
    else:
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    with pytest.raises(CorruptBlock, match="checksum"):
        decode(bytes(damaged), record.headers)


ENCODED = only(encode(block(3)))


def sealed(value: bytes) -> list[tuple[str, bytes]]:
    """Headers with a right checksum for any content."""
    return [*ENCODED.headers[:1], (CHECKSUM_HEADER, b"%08x" % zlib.crc32(value))]


def other_arrow() -> bytes:
    sink = pa.BufferOutputStream()
    batch = pa.RecordBatch.from_pydict({"id": pa.array([1])}, metadata={b"penstock": b"{}"})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize(
    "value", [b"", b"nope", b"\xff" * 100, ENCODED.value[:40], ENCODED.value[:-300], other_arrow()]
)
def test_content_that_is_no_scored_block_is_refused_even_under_a_right_checksum(value: bytes) -> None:
    with pytest.raises(CorruptBlock, match=r"flights\.scored 0@7: .* content is not"):
        decode(value, sealed(value), place="flights.scored 0@7")


@pytest.mark.parametrize(
    ("value", "headers", "says"),
    [
        (None, ENCODED.headers, "checksum"),
        (ENCODED.value, [], "schema is None"),
        (ENCODED.value, ENCODED.headers[:1], "checksum"),
        (ENCODED.value, [("penstock-schema", b"scored/2"), ENCODED.headers[1]], "scored/2"),
        (ENCODED.value, [ENCODED.headers[0], (CHECKSUM_HEADER, b"\xff")], "checksum"),
    ],
)
def test_a_record_without_its_headers_or_value_is_refused(value: bytes | None, headers: Any, says: str) -> None:
    with pytest.raises(CorruptBlock, match=says):
        decode(value, headers)


def test_newer_columns_and_metadata_are_ignored() -> None:
    [batch] = pa.ipc.open_stream(ENCODED.value).read_all().to_batches()
    metadata = batch.schema.metadata[b"penstock"][:-1] + b',"newer":[1]}'
    names = [*batch.schema.names, "newer"]
    newer = pa.RecordBatch.from_arrays([*batch.columns, pa.nulls(3)], names).replace_schema_metadata(
        {b"penstock": metadata}
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, newer.schema) as writer:
        writer.write_batch(newer)
    value = sink.getvalue().to_pybytes()
    assert_equal(decode(value, sealed(value)), block(3))


def rewritten(column: str, array: Any = None, **about: Any) -> bytes:
    """ENCODED, by a writer with other ideas about a column, or about the metadata."""
    [batch] = pa.ipc.open_stream(ENCODED.value).read_all().to_batches()
    metadata = {**json.loads(batch.schema.metadata[b"penstock"]), **about}
    arrays = {**dict(zip(batch.schema.names, batch.columns, strict=True)), **({} if array is None else {column: array})}
    other = pa.RecordBatch.from_pydict(arrays, metadata={b"penstock": json.dumps(metadata).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, other.schema) as writer:
        writer.write_batch(other)
    return bytes(sink.getvalue().to_pybytes())


def of_text(indices: Any, values: Any) -> Any:
    return pa.DictionaryArray.from_arrays(indices, values)


@pytest.mark.parametrize(
    "value",
    [
        rewritten("offset", pa.array([1.0, 2.0, 3.0])),
        rewritten("offset", pa.array([1, None, 3])),
        rewritten("event_time", pa.array([1, 2, 3], pa.timestamp("ms"))),
        rewritten("score", pa.array([1, 2, 3])),
        rewritten("size", pa.array([1, 2, 3], pa.int8())),
        rewritten("id", pa.nulls(3)),
        rewritten("id", pa.array(["a", None, "c"])),
        rewritten("key", pa.array(["a", "b", "c"])),
        rewritten("floats", pa.array([[1, 2]] * 3, pa.list_(pa.int64(), 2))),
        rewritten("defaulted", pa.array([b"abc"] * 3, pa.binary(3))),
        rewritten("variant", of_text(pa.array([0, 0, 0], pa.int8()), pa.array(["champion"]))),
        rewritten("variant", of_text(pa.array([0, None, 0], pa.int32()), pa.array(["champion"]))),
        rewritten("category:origin", of_text(pa.array([0, 1, 0], pa.int32()), pa.array(["JFK", None]))),
        rewritten("scores", pa.array([[1.0]] * 3, pa.list_(pa.float32())), outputs=-1),
        rewritten("", outputs=2**40),
        rewritten("", floats=["seats", "score"]),
    ],
)
def test_columns_of_other_types_never_pass_as_data(value: bytes) -> None:
    with pytest.raises(CorruptBlock, match="content is not"):
        decode(value, sealed(value))


def test_any_arrow_reader_opens_the_value() -> None:
    table = pa.ipc.open_stream(ENCODED.value).read_all()
    assert table["id"].to_pylist() == ["flight-0", "flight-1", "flight-2"]
    assert table["floats"].type == pa.list_(pa.float32(), 2)


def test_a_table_names_each_feature_and_says_null_for_missing() -> None:
    original = block(30, outputs=2)
    table = original.to_table()
    assert table["id"].to_pylist() == original.ids
    assert table["feature:score"].null_count == np.isnan(original.columns.floats[:, 1]).sum() > 0
    assert table["score"].to_pylist() == original.score.tolist()
    assert table["origin"].to_pylist() == original.columns.categories[0].decoded()
    assert table["seats"].null_count == (original.columns.integers[:, 0] == MISSING_INTEGER).sum() > 0
    assert table["legs"].to_pylist() == original.columns.vectors[0].tolist()
    assert table["event_time"].cast(pa.int64()).to_pylist() == original.event_times.tolist()
    assert table["defaulted"][0].as_py() == [
        name for name, bit in zip(FULL.names, original.defaulted[0], strict=True) if bit
    ]
    assert table["age_s:seats"].to_pylist() == original.ages[:, 0].tolist()
    assert table["scores"].to_pylist() == np.asarray(original.scores).tolist()


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 30), st.integers(1, 8)), max_size=20))
def test_rows_that_come_again_after_crashes_come_once(starts: list[tuple[int, int, int]]) -> None:
    """Each worker goes on from some committed offset, at most where the one before it stopped."""
    written: list[ScoredBlock] = []
    reached = [0, 0]
    for partition, back, rows in starts:
        start = max(reached[partition] - back, 0)
        written.append(replace(block_of(range(start, start + rows)), partition=partition))
        reached[partition] = max(reached[partition], start + rows)
    for partition in (0, 1):
        once = [row for kept in without_repeats(written) if kept.partition == partition for row in kept.ids]
        assert once == [str(offset) for offset in range(reached[partition])]
