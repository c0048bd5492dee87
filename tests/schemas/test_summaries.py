"""Summaries come back from their bytes, damage never passes as data, and merging is a commutative monoid."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.schemas.evidence import EVIDENCE_ROWS, Evidence
from penstock.schemas.profile import SLOTS, slots_of
from penstock.schemas.records import CHECKSUM_HEADER
from penstock.schemas.summaries import (
    LOG_EDGES,
    CorruptSummary,
    SignalCounts,
    Summary,
    decode_summary,
    encode_summary,
    merge,
    merge_counts,
)

whole = st.integers(0, 2**40)
counts = st.builds(
    SignalCounts,
    slots=st.lists(st.integers(0, 70_000), min_size=SLOTS, max_size=SLOTS).map(np.array),
    finite=whole,
    sum_z=st.integers(-(2**52), 2**52),
    sum_z2=whole,
    lowest=st.floats(allow_nan=False),
    highest=st.floats(allow_nan=False),
    out_of_range=whole,
    defaulted=whole,
)
times = st.tuples(st.integers(-(2**62), 2**62), st.integers(-(2**62), 2**62))


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    offsets = draw(st.lists(st.integers(0, 10**6), max_size=EVIDENCE_ROWS, unique=True))
    values: list[float | str | None] = draw(
        st.lists(st.none() | st.text(max_size=4), min_size=len(offsets), max_size=len(offsets))
    )
    return Evidence(offsets, [f"e{offset}" for offset in offsets], {"origin": values}, [0.5] * len(offsets))


summaries = st.builds(
    Summary,
    partition=st.integers(0, 9),
    segment=whole,
    part=st.integers(0, 9),
    complete=st.booleans(),
    first_offset=whole,
    last_offset=whole,
    rows=st.integers(1, 2**31),
    reference=st.just("delay@3"),
    signals=st.dictionaries(st.sampled_from(["feature:wind", "lag", "score:canary"]), counts),
    event_times=times,
    timestamps=times,
    watermark=st.integers(-(2**63), 2**62),
    late_rows=whole,
    bad_time=whole,
    served=st.dictionaries(
        st.tuples(st.sampled_from(["champion", "canary"]), st.just("delay@3"), st.integers(0, 3)), whole
    ),
    evidence=st.none(),
)


@given(summaries, st.none() | evidence())
@settings(max_examples=60, deadline=None)
def test_a_summary_comes_back_as_it_went_in(summary: Summary, found: Evidence | None) -> None:
    summary = msgspec.structs.replace(summary, evidence=found)
    value, headers = encode_summary(summary)
    again = decode_summary(value, headers)
    assert encode_summary(again) == (value, headers)
    assert again.served == summary.served
    assert again.evidence == found
    for name, expected in summary.signals.items():
        assert again.signals[name].slots.tolist() == expected.slots.tolist()
        assert again.signals[name].sum_z == expected.sum_z


@given(summaries, summaries, summaries)
@settings(max_examples=60, deadline=None)
def test_merging_is_associative_and_commutative(a: Summary, b: Summary, c: Summary) -> None:
    assert encode_summary(merge(a, b)) == encode_summary(merge(b, a))
    assert encode_summary(merge(merge(a, b), c)) == encode_summary(merge(a, merge(b, c)))


@given(evidence(), evidence())
def test_of_much_evidence_the_same_few_rows_stay(a: Evidence, b: Evidence) -> None:
    blank = Summary(0, 0, 0, True, 0, 0, 1, "", {}, (0, 0), (0, 0), 0, 0, 0, {})
    one, other = msgspec.structs.replace(blank, evidence=a), msgspec.structs.replace(blank, evidence=b)
    merged = merge(one, other).evidence
    assert merged is not None
    assert len(merged.offsets) == min(len(a.offsets) + len(b.offsets), EVIDENCE_ROWS)
    assert sorted(merged.offsets) == sorted(np.array(merge(other, one).evidence.offsets).tolist())  # type: ignore[union-attr]


def test_summaries_against_different_references_do_not_merge() -> None:
    one = Summary(0, 0, 0, True, 0, 0, 1, "delay@3", {}, (0, 0), (0, 0), 0, 0, 0, {})
    with pytest.raises(ValueError, match=r"delay@3 and against delay@4"):
        merge(one, msgspec.structs.replace(one, reference="delay@4"))
    with pytest.raises(ValueError, match="2 and of 3 slots"):
        merge_counts(SignalCounts(np.zeros(2, np.int64)), SignalCounts(np.zeros(3, np.int64)))


def test_thirty_features_stay_small() -> None:
    rng = np.random.default_rng(0)
    signals = {
        f"feature:number_{i}": SignalCounts(
            np.append(rng.multinomial(512, np.full(32, 1 / 32)), [0] * 4), 512, 12345678901, 2_200_000_000_000, -3.1, 3
        )
        for i in range(30)
    }
    summary = Summary(0, 9, 0, True, 0, 511, 512, "delay@3", signals, (0, 0), (0, 0), 0, 0, 0, {})
    assert len(encode_summary(summary)[0]) < 4_000


VALUE, HEADERS = encode_summary(
    Summary(
        3, 7, 0, True, 3584, 4095, 512, "delay@3", {"lag": SignalCounts(np.arange(SLOTS))}, (1, 2), (3, 4), 5, 6, 7,
        {("champion", "delay@3", 1): 512}, Evidence([3600], ["e"], {"wind": [1.5]}, [0.25]),
    )
)  # fmt: skip


@given(st.integers(0, 8 * len(VALUE) - 1))
@settings(deadline=None)
def test_every_flipped_bit_is_found(bit: int) -> None:
    damaged = bytearray(VALUE)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptSummary, match="checksum"):
        decode_summary(bytes(damaged), HEADERS)


def sealed(value: bytes) -> list[tuple[str, bytes]]:
    return [HEADERS[0], (CHECKSUM_HEADER, b"%08x" % zlib.crc32(value))]


def altered(**fields: Any) -> bytes:
    return msgspec.msgpack.encode({**msgspec.msgpack.decode(VALUE), **fields})


@pytest.mark.parametrize(
    "value",
    [
        b"", b"\x80", VALUE[:-1], altered(rows="many"), altered(signals={"lag": [3, b"123", *[0] * 7]}),
        altered(signals={"lag": [4, b"123", *[0] * 7]}), altered(served=[["champion", "delay@3"]]),
        altered(evidence={"offsets": [1, 2], "ids": ["e"], "values": {"wind": [1.5]}, "scores": [0.25]}),
        altered(evidence={"offsets": [1], "ids": ["e"], "values": {"wind": []}, "scores": [0.25]}),
        altered(evidence={"offsets": [2**63], "ids": ["e"], "values": {"wind": [1.5]}, "scores": [0.25]}),
    ],
)  # fmt: skip
def test_content_that_is_no_summary_is_refused_even_under_a_right_checksum(value: bytes) -> None:
    with pytest.raises(CorruptSummary, match=r"flights\.summaries 0@7: .* content is not"):
        decode_summary(value, sealed(value), place="flights.summaries 0@7")


@pytest.mark.parametrize(
    ("value", "headers", "says"),
    [
        (None, HEADERS, "checksum"),
        (VALUE, HEADERS[:1], "checksum"),
        (VALUE, [], "its schema is None"),
        (VALUE, [("penstock-schema", b"summary/2"), HEADERS[1]], r"summary/2.* update this Penstock"),
    ],
)
def test_a_record_without_its_headers_or_of_a_newer_schema_is_refused(
    value: bytes | None, headers: Any, says: str
) -> None:
    with pytest.raises(CorruptSummary, match=says):
        decode_summary(value, headers)


def test_newer_fields_are_ignored() -> None:
    value = altered(newer=[1])
    assert encode_summary(decode_summary(value, sealed(value)))[0] == VALUE


def test_logarithmic_edges_hold_numbers_of_either_sign() -> None:
    assert len(LOG_EDGES) == 32
    assert (np.diff(LOG_EDGES) > 0).all()
    assert len(set(slots_of(np.array([-5e8, -5.0, 0.0, 0.005, 5.0, 50.0, 5e8, 5e9, -5e9]), LOG_EDGES).tolist())) == 9
