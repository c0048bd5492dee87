"""The wire form of quality summaries: exact both ways, and nonsense is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.schemas.profile import SLOTS
from penstock.schemas.quality import (
    QUALITY_SCHEMA,
    CorruptQuality,
    QualitySummary,
    QualitySums,
    decode_quality,
    encode_quality,
    merge_sums,
)
from penstock.schemas.quality_sums import SCORE_BINS, decode_groups, encode_groups, merge_groups
from penstock.schemas.records import SCHEMA_HEADER

COUNT = st.integers(0, 2**40)
LARGE = st.integers(-(2**90), 2**90)


@st.composite
def bins(draw: st.DrawFn) -> dict[str, Any]:
    if not draw(st.booleans()):
        return {}
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = rng.integers(1, 2**40, (2, SCORE_BINS)) * (rng.random((2, SCORE_BINS)) < 0.3)
    return {"bins": rows, "bin_scores": rows * rng.integers(0, 2**20)}


SUMS = st.builds(
    lambda counts, sums, histogram: QualitySums(*counts, *sums, **histogram),
    st.tuples(COUNT, COUNT, COUNT, COUNT),
    st.tuples(LARGE, LARGE, LARGE, LARGE, LARGE),
    bins(),
)
GROUPS = st.dictionaries(
    st.tuples(st.integers(-(2**50), 2**50), st.text(max_size=3), st.text(max_size=3)), SUMS, max_size=4
)


def plain(sums: QualitySums) -> list[Any]:
    values = [getattr(sums, name) for name in sums.__struct_fields__]
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in values]


def summary(groups: dict[Any, QualitySums]) -> QualitySummary:
    return QualitySummary(
        partition=1, segment=2, part=3, complete=False, first_offset=4, last_offset=5, rows=10, labelled=4, silent=3,
        missing=2, invalid=1, late=6, event_times=(-7, 8), watermark=9, served={("champion", "delay@3", 7): 10},
        errors={"champion": (7, 2)}, delays=np.arange(SLOTS), groups=groups,
    )  # fmt: skip


@given(GROUPS)
@settings(max_examples=100, deadline=None)
def test_a_summary_survives_the_wire(groups: dict[Any, QualitySums]) -> None:
    before = summary(groups)
    after = decode_quality(*encode_quality(before))
    for name in before.__struct_fields__:
        if name not in ("groups", "delays"):
            assert getattr(after, name) == getattr(before, name)
    assert after.delays.tolist() == before.delays.tolist()
    assert {group: plain(sums) for group, sums in after.groups.items()} == {g: plain(s) for g, s in groups.items()}
    assert decode_groups(encode_groups(groups)).keys() == groups.keys()


@given(SUMS, SUMS, SUMS)
@settings(max_examples=100, deadline=None)
def test_sums_are_a_commutative_monoid(a: QualitySums, b: QualitySums, c: QualitySums) -> None:
    assert plain(merge_sums(a, QualitySums())) == plain(a)
    assert plain(merge_sums(a, b)) == plain(merge_sums(b, a))
    assert plain(merge_sums(merge_sums(a, b), c)) == plain(merge_sums(a, merge_sums(b, c)))
    merged = merge_groups({(0, "", ""): a, (1, "", ""): b}, {(0, "", ""): c})
    assert plain(merged[0, "", ""]) == plain(merge_sums(a, c))
    assert plain(merged[1, "", ""]) == plain(b)


def test_a_full_group_takes_2_kb_and_a_small_one_little() -> None:
    full = QualitySums(bins=np.full((2, SCORE_BINS), 300), bin_scores=np.full((2, SCORE_BINS), 2**40))
    assert len(encode_groups({(0, "champion", "origin=JFK"): full})) <= 2048
    assert len(encode_groups({(0, "champion", "origin=JFK"): QualitySums(rows=3)})) <= 100


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_nonsense_is_named(value: bytes) -> None:
    with pytest.raises(CorruptQuality, match="partition 4"):
        decode_quality(value, [QUALITY_SCHEMA], place="partition 4")


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_summary_is_named_or_read_never_worse(data: st.DataObject) -> None:
    groups = {
        (0, "champion", ""): QualitySums(
            5, bins=np.eye(2, SCORE_BINS, dtype=np.int64), bin_scores=np.zeros((2, 64), np.int64)
        )
    }
    value, headers = encode_quality(summary(groups))
    damaged = bytearray(value)
    damaged[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decode_quality(bytes(damaged), headers)
    except CorruptQuality:
        return


def test_another_schema_is_named() -> None:
    value, _ = encode_quality(summary({}))
    with pytest.raises(CorruptQuality, match="summary/1"):
        decode_quality(value, [(SCHEMA_HEADER, b"summary/1")])
