"""Counting sees every row once, wherever a segment is cut and whatever its values are."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_blocks import LAYOUT, NOW, block, columns

from penstock.models.profiling import build_profile
from penstock.monitoring.counting.binning import Binning
from penstock.monitoring.counting.count import count
from penstock.schemas.columns import Category, Columns, Layout
from penstock.schemas.evidence import EVIDENCE_ROWS
from penstock.schemas.profile import INVALID, MISSING, OVER, SLOTS, UNDER, slots_of
from penstock.schemas.scored import ScoredBlock, decode, encode
from penstock.schemas.summaries import FIXED_POINT, NO_WATERMARK, Summary, encode_summary, merge

PROFILE = build_profile(
    columns(np.random.default_rng(9), 3_000), scores=np.random.default_rng(8).random(3_000, np.float32)
)
BINNING = Binning.of(LAYOUT, ("wind",), PROFILE, reference="delay@3", ranges={"distance": (-2.0, 2.0)}, outputs=3)
FLOATS = Layout(("x",))


def counted(
    rows: ScoredBlock, binning: Binning = BINNING, *, watermark: int = NO_WATERMARK, part: int = 0, segment: int = 0
) -> Summary:
    return count(
        rows,
        binning,
        segment=segment,
        part=part,
        complete=True,
        watermark_before=watermark,
        max_future_ms=3_600_000,
        max_out_of_order_ms=2_000,
        segment_rows=200_000,
    )


def numbers(values: Any, *, profile: Any = None, **options: Any) -> Summary:
    """The summary of a block with one float feature, x."""
    wanted = np.asarray(values, np.float32)[:, None]
    rows = block(len(wanted), layout=FLOATS)
    rows.columns.floats = wanted
    return counted(rows, Binning.of(FLOATS, ("wind",), profile, reference="", **options))


@given(st.integers(0, 60), st.lists(st.integers(0, 60), max_size=4), st.integers(0, 5), st.sampled_from([0, 3]))
@settings(max_examples=60, deadline=None)
def test_parts_merge_to_the_whole_bit_by_bit(rows: int, cuts: list[int], seed: int, outputs: int) -> None:
    whole = block(rows, seed=seed, outputs=outputs)
    bounds = [0, *sorted(min(cut, rows) for cut in cuts), rows]
    watermark, parts = NO_WATERMARK, []
    for start, stop in pairwise(bounds):
        parts.append(counted(whole.take(slice(start, stop)), watermark=watermark))
        watermark = parts[-1].watermark
    expected = encode_summary(counted(whole))
    assert encode_summary(reduce(merge, parts)) == expected
    assert encode_summary(reduce(merge, reversed(parts))) == expected


def test_every_row_stands_in_one_slot_of_each_signal() -> None:
    summary = counted(block(500, outputs=3))
    assert set(summary.signals) == {
        *(f"feature:{name}" for name in LAYOUT.names),
        "age:wind", "length:origin", "size", "lag", "distance",
        "score:champion", "score:canary", "class:champion", "class:canary",
    }  # fmt: skip
    for name, counts in summary.signals.items():
        if name.endswith((":champion", ":canary")):
            continue
        assert counts.slots.sum() == 500, name
    for kind in ("score", "class"):
        assert sum(summary.signals[f"{kind}:{v}"].slots.sum() for v in ("champion", "canary")) == 500
    assert sum(summary.served.values()) == summary.rows == 500


def test_numbers_fall_into_the_profiles_slots() -> None:
    rows = block(700)
    summary = counted(rows)
    values = rows.columns.floats[:, 0].astype(np.float64)
    counts, signal = summary.signals["feature:distance"], BINNING.signal("feature:distance")
    assert counts.slots.tolist() == np.bincount(slots_of(values, signal.edges), minlength=SLOTS).tolist()
    finite = values[np.isfinite(values)]
    assert (counts.finite, counts.lowest, counts.highest) == (len(finite), finite.min(), finite.max())
    z = (finite - signal.centre) / signal.spread
    assert counts.sum_z / FIXED_POINT == pytest.approx(z.sum(), abs=1e-6)
    assert counts.sum_z2 / FIXED_POINT == pytest.approx((z**2).sum(), abs=1e-6)
    assert counts.out_of_range == (np.abs(finite) > 2).sum() > 0
    assert counts.defaulted == rows.defaulted[:, 0].sum() > 0


@given(st.lists(st.floats(width=32) | st.sampled_from([0.0, -0.0, 1e38, -1e38, 1e-40, 3.25]), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_numbers_are_counted_with_and_without_a_reference(values: list[float]) -> None:
    reference = build_profile(replace(columns(np.random.default_rng(0), 300, FLOATS)))
    for profile in (None, reference):
        counts = numbers(values, profile=profile).signals["feature:x"]
        signal = Binning.of(FLOATS, (), profile, reference="").signal("feature:x")
        expected = slots_of(np.array(values, np.float32).astype(np.float64), signal.edges)
        assert counts.slots.tolist() == np.bincount(expected, minlength=SLOTS).tolist()
        assert counts.slots[MISSING] == sum(np.isnan(values))
        assert counts.slots[INVALID] == sum(np.isinf(values))
        assert abs(counts.sum_z) <= 16 * FIXED_POINT * len(values)


@pytest.mark.parametrize("constant", [3.25, 0.0, np.nan])
def test_a_constant_reference_tells_other_values_apart(constant: float) -> None:
    profile = build_profile(
        Columns(FLOATS, np.full((300, 1), constant, np.float32), np.empty((300, 0), np.int64), (), ())
    )
    same = numbers([constant] * 10, profile=profile).signals["feature:x"]
    other = numbers([7.0] * 10, profile=profile).signals["feature:x"]
    assert same.slots[MISSING if np.isnan(constant) else 0] == 10
    assert other.slots[OVER] == 10
    assert numbers([-7.0], profile=profile).signals["feature:x"].slots[[UNDER, OVER]].sum() == 1


def test_a_block_may_have_no_row_one_or_as_many_as_a_segment_can_have() -> None:
    assert counted(block(0)).signals == {}
    assert counted(block(1)).rows == 1
    many = numbers(np.random.default_rng(0).normal(size=65_535) * 1e6).signals["feature:x"]
    assert many.slots.sum() == 65_535


def test_categories_are_known_unseen_or_missing() -> None:
    rows = block(5)
    rows.columns.categories = (Category(np.array([0, 1, -1, 2, 0], np.int32), ("JFK", "XXX", "LGA")),)
    counts = counted(rows).signals["feature:origin"]
    values = BINNING.signal("feature:origin").values
    assert dict(zip(values, counts.slots.tolist(), strict=False)) == {
        **dict.fromkeys(values, 0), "JFK": 2, "LGA": 1,
    }  # fmt: skip
    assert counts.slots[-2:].tolist() == [1, 1]
    assert counted(rows).signals["length:origin"].slots[MISSING] == 1


def test_scores_that_are_no_numbers_are_missing() -> None:
    rows = block(4, outputs=3, variants=1)
    assert rows.scores is not None
    rows.scores[:] = np.array([[0, 1, 0], [0, 0, 1], [0, np.nan, 0], [1, 0, 0]])
    rows.score[2] = np.nan
    summary = counted(rows)
    assert summary.signals["class:champion"].slots.tolist() == [1, 1, 1, 0, 1]
    assert summary.signals["score:champion"].slots[MISSING] == 1


def timed(times: list[int], timestamps: list[int] | None = None, watermark: int = NO_WATERMARK) -> Summary:
    rows = block(len(times))
    rows.event_times = NOW + np.array(times)
    rows.timestamps = NOW + np.array(times if timestamps is None else timestamps)
    return counted(rows, watermark=watermark)


def test_the_watermark_follows_the_newest_event() -> None:
    summary = timed([0, 5_000, 3_100, 2_900, 6_000])
    assert summary.watermark == NOW + 4_000
    assert summary.late_rows == 1
    assert summary.event_times == (NOW, NOW + 6_000)
    assert timed([0], watermark=NOW + 1).late_rows == 1
    assert timed([0], watermark=NOW + 1).watermark == NOW + 1


def test_an_event_from_the_far_future_moves_no_watermark() -> None:
    summary = timed([0, 9_000_000, 10], [0, 5, 10])
    assert summary.bad_time == 1
    assert summary.watermark == NOW + 10 - 2_000
    assert summary.event_times == (NOW, NOW + 10)
    assert summary.late_rows == 0


def test_a_record_without_sizes_has_no_such_signal() -> None:
    rows = block(20)
    summary, without = counted(rows), counted(replace(rows, sizes=None))
    assert summary.signals.keys() - without.signals.keys() == {"size"}
    for name, counts in without.signals.items():
        assert counts.slots.tolist() == summary.signals[name].slots.tolist()


def test_a_vector_is_out_of_range_where_a_component_is() -> None:
    rows = block(3)
    rows.columns.vectors = (np.array([[0.6, 0.6], [0.1, 2.0], [np.nan, np.nan]], np.float32),)
    counts = counted(rows, Binning.of(LAYOUT, ("wind",), None, reference="", ranges={"legs": (0.0, 0.7)}))
    assert counts.signals["feature:legs"].out_of_range == 1
    assert counts.signals["feature:legs"].slots[MISSING] == 1


def test_a_block_from_the_log_counts_as_the_one_that_was_written() -> None:
    original = block(300, outputs=3)
    [record] = encode(original)
    assert encode_summary(counted(decode(record.value, record.headers))) == encode_summary(counted(original))


def test_evidence_is_few_rows_without_what_is_sensitive() -> None:
    binning = Binning.of(LAYOUT, ("wind",), PROFILE, reference="", sensitive={"wind", "origin"})
    rows = block(100)
    evidence = counted(rows, binning).evidence
    assert evidence is not None
    assert len(evidence.offsets) == len(evidence.ids) == EVIDENCE_ROWS
    assert set(evidence.values) == {"distance", "seats", "holiday"}
    row = rows.offsets.tolist().index(evidence.offsets[0])
    assert evidence.ids[0] == rows.ids[row]
    assert evidence.scores[0] == rows.score[row]


def test_extremes_of_a_sensitive_feature_are_not_told() -> None:
    binning = Binning.of(LAYOUT, ("wind",), PROFILE, reference="", sensitive={"wind"})
    told, hidden = counted(block(50)).signals["feature:wind"], counted(block(50), binning).signals["feature:wind"]
    assert told.lowest < told.highest
    assert (hidden.lowest, hidden.highest) == (np.inf, -np.inf)
    assert hidden.slots.tolist() == told.slots.tolist()


def test_rows_of_another_segment_or_layout_are_refused() -> None:
    with pytest.raises(ValueError, match="offsets 0 to 18 are not of segment 1"):
        counted(block(10), segment=1)
    with pytest.raises(ValueError, match="features are not those"):
        counted(block(10, layout=FLOATS))
