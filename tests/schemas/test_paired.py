"""Shadow scores: blocks come back as they went in, cut and joined as one likes, and damage never passes as data."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paired_blocks import SLICES, assert_same, block

from penstock.schemas.checksums import seal
from penstock.schemas.columns import Layout
from penstock.schemas.paired import PairedBlock
from penstock.schemas.paired_wire import (
    CorruptPaired,
    PairedRowTooLarge,
    decode,
    encode,
    join,
    joinable,
    take,
)
from penstock.schemas.records import PAIRED_SCHEMA
from penstock.schemas.topics import SCORED_RECORD_LIMIT

samples = st.dictionaries(st.sampled_from(["delay@5", "delay@6", "naïve ✈@1"]), st.floats(0, 1), max_size=3)


def through(whole: PairedBlock) -> PairedBlock:
    [(value, headers)] = encode(whole)
    return decode(value, headers)


@given(st.integers(1, 40), st.integers(0, 3), st.sets(st.sampled_from(SLICES.names)), samples, st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_block_comes_back_as_it_went_in(
    rows: int, outputs: int, names: set[str], candidates: dict[str, float], timed: bool
) -> None:
    slices = Layout(
        tuple(name for name in SLICES.floats if name in names),
        tuple(name for name in SLICES.integers if name in names),
        tuple(name for name in SLICES.categories if name in names),
        tuple(vector for vector in SLICES.vectors if vector[0] in names),
    )
    whole = block(rows, slices=slices, outputs=outputs, candidates=candidates, took_us=900 if timed else None)
    assert_same(through(whole), whole)


def lost_to_rounding(whole: PairedBlock, again: PairedBlock) -> list[int]:
    pairs = zip(whole.candidates, again.candidates, strict=True)
    return [(whole.took_us or 0) - (again.took_us or 0), *(one.took_us - other.took_us for one, other in pairs)]


def with_times_of(whole: PairedBlock, again: PairedBlock) -> PairedBlock:
    pairs = zip(whole.candidates, again.candidates, strict=True)
    candidates = tuple(replace(other, took_us=one.took_us) for one, other in pairs)
    return replace(again, took_us=whole.took_us, candidates=candidates)


def test_no_rows_make_no_record() -> None:
    assert encode(block(0)) == []


@given(st.integers(2, 60), st.data())
@settings(max_examples=60, deadline=None)
def test_cut_and_joined_again_is_the_same(rows: int, data: st.DataObject) -> None:
    whole = block(rows, outputs=data.draw(st.sampled_from([0, 2])))
    cuts = sorted(data.draw(st.sets(st.integers(1, rows - 1), max_size=5)))
    parts = [take(whole, slice(start, stop)) for start, stop in zip([0, *cuts], [*cuts, rows], strict=True)]
    assert all(joinable(parts[0], part) for part in parts)
    again = join(parts)
    for lost in lost_to_rounding(whole, again):
        assert 0 <= lost < len(parts)
    assert_same(with_times_of(whole, again), whole)


def test_rows_taken_by_slice_or_index_are_the_same() -> None:
    whole = block(10, outputs=2)
    assert_same(take(whole, slice(2, 8, 3)), take(whole, np.array([2, 5])))


def test_the_time_of_an_unknown_part_makes_the_whole_unknown() -> None:
    assert join([block(3), block(2, took_us=None)]).took_us is None


@pytest.mark.parametrize(
    "other",
    [
        block(3, slices=Layout(("wind",))),
        block(3, outputs=2),
        block(3, candidates={"delay@6": 1.0, "delay@5": 1.0}),
        block(3, candidates={"delay@5": 1.0}),
    ],
    ids=["slices", "outputs", "order", "candidates"],
)
def test_blocks_of_other_columns_are_not_joined(other: PairedBlock) -> None:
    assert joinable(block(5), block(3, first_offset=10, seed=4))
    assert not joinable(block(5), other)


def test_a_block_is_cut_so_that_no_record_exceeds_the_limit() -> None:
    whole = block(3000)
    records = encode(whole, limit=20_000)
    assert len(records) > 2
    assert max(len(value) for value, _ in records) <= 20_000
    parts = [decode(*record) for record in records]
    assert {part.record for part in parts} == {whole.record}
    np.testing.assert_array_equal(np.concatenate([part.offsets for part in parts]), whole.offsets)


def test_a_row_that_fits_no_record_is_named() -> None:
    rng = np.random.default_rng(0)
    whole = block(2)
    whole.slices.categories = (whole.slices.categories[0]._replace(values=(rng.bytes(600_000).hex(),) * 4),)
    with pytest.raises(PairedRowTooLarge, match="partition 3, offset 2"):
        encode(whole, limit=SCORED_RECORD_LIMIT)


RECORD = encode(block(3))[0]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_every_flipped_bit_and_every_cut_is_found(data: st.DataObject) -> None:
    value, headers = RECORD
    damaged = bytearray(value)
    if data.draw(st.booleans(), label="flip"):
        bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
        damaged[bit // 8] ^= 1 << bit % 8
    else:
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    with pytest.raises(CorruptPaired, match="checksum"):
        decode(bytes(damaged), headers)


def other_arrow() -> bytes:
    sink = pa.BufferOutputStream()
    batch = pa.RecordBatch.from_pydict({"id": pa.array([1])}, metadata={b"penstock": b"{}"})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize("value", [b"", b"nope", RECORD[0][:40], RECORD[0][:-300], other_arrow()])
def test_content_that_is_no_paired_block_is_refused_even_under_a_right_checksum(value: bytes) -> None:
    with pytest.raises(CorruptPaired, match=r"flights\.shadow-scores 0@7: .* content is not"):
        decode(value, seal(value, PAIRED_SCHEMA), place="flights.shadow-scores 0@7")


@pytest.mark.parametrize("column", ["offset", "id", "key", "score", "variant", "sampled:0", "score:1"])
@pytest.mark.parametrize("other", [pa.array([1, None, 3], pa.int8()), pa.array(["x"] * 3), pa.nulls(3)])
def test_columns_of_other_types_never_pass_as_data(column: str, other: Any) -> None:
    [batch] = pa.ipc.open_stream(RECORD[0]).read_all().to_batches()
    changed = batch.set_column(batch.schema.get_field_index(column), column, other)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, changed.schema) as writer:
        writer.write_batch(changed)
    value = sink.getvalue().to_pybytes()
    with pytest.raises(CorruptPaired, match="content is not"):
        decode(value, seal(value, PAIRED_SCHEMA))


@pytest.mark.parametrize(
    ("value", "headers", "says"),
    [
        (None, RECORD[1], "checksum"),
        (RECORD[0], [], "schema is None"),
        (RECORD[0], RECORD[1][:1], "checksum"),
        (RECORD[0], [("penstock-schema", b"shadow/2"), RECORD[1][1]], "shadow/2"),
    ],
)
def test_a_record_without_its_headers_or_value_is_refused(value: bytes | None, headers: Any, says: str) -> None:
    with pytest.raises(CorruptPaired, match=says):
        decode(value, headers)


def test_newer_columns_and_metadata_are_ignored() -> None:
    [batch] = pa.ipc.open_stream(RECORD[0]).read_all().to_batches()
    metadata = batch.schema.metadata[b"penstock"][:-1] + b',"newer":[1]}'
    newer = pa.RecordBatch.from_arrays(
        [*batch.columns, pa.nulls(3)], [*batch.schema.names, "newer"]
    ).replace_schema_metadata({b"penstock": metadata})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, newer.schema) as writer:
        writer.write_batch(newer)
    value = sink.getvalue().to_pybytes()
    assert_same(decode(value, seal(value, PAIRED_SCHEMA)), block(3))


def test_the_seal_is_the_crc_of_the_value() -> None:
    value, headers = RECORD
    assert dict(headers) == {"penstock-schema": b"shadow/1", "penstock-crc32": b"%08x" % zlib.crc32(value)}
