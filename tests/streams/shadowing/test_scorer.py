"""Candidates are asked about the rows of their samples, about each once, whatever blocks they come in."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
from candidates import Multiplying
from hypothesis import given, settings
from hypothesis import strategies as st
from paired_blocks import assert_same
from scored_blocks import block

from penstock.schemas.columns import Layout
from penstock.schemas.keys import hash_keys, routing_keys, within
from penstock.schemas.paired_wire import join
from penstock.schemas.records import ModelRef
from penstock.streams.shadowing.scorer import SALT, ShadowScorer

SAMPLES = st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=1, max_size=3)


def scorer(*samples: float, slices: tuple[str, ...] = ("origin",)) -> ShadowScorer:
    """Candidates delay@1, delay@2 …, which multiply the distance by their version; calls take no time."""
    candidates = [
        (Multiplying(ModelRef("delay", version), factor=float(version)), sample)
        for version, sample in enumerate(samples, 1)
    ]
    return ShadowScorer(candidates, slices, clock_ns=lambda: 0)


@given(st.integers(0, 60), SAMPLES, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_each_candidate_scores_its_sample_on_what_was_logged(rows: int, samples: list[float], seed: int) -> None:
    served = block(rows, seed=seed)
    keys = routing_keys(served.keys, served.ids, rows)
    paired = scorer(*samples).score(served, record=9)
    wanted = np.flatnonzero(within(keys, SALT, max(samples)))  # samples lie within each other
    if paired is None:
        assert not len(wanted)
        return
    np.testing.assert_array_equal(paired.offsets, served.offsets[wanted])
    np.testing.assert_array_equal(paired.score, served.score[wanted])
    np.testing.assert_array_equal(paired.keys, keys[wanted])
    np.testing.assert_array_equal(paired.ids, hash_keys(map(str.encode, served.ids), rows)[wanted])
    assert paired.record == 9
    distances = served.columns.floats[wanted, 0]
    for version, (sample, candidate) in enumerate(zip(samples, paired.candidates, strict=True), 1):
        assert candidate.model == f"delay@{version}"
        np.testing.assert_array_equal(candidate.sampled, within(keys[wanted], SALT, sample))
        expected = np.where(candidate.sampled, distances * np.float32(version), np.nan)
        np.testing.assert_array_equal(candidate.score, expected)


@given(st.integers(2, 60), st.data())
@settings(max_examples=40, deadline=None)
def test_how_the_log_is_cut_changes_nothing(rows: int, data: st.DataObject) -> None:
    served = block(rows)
    cut = data.draw(st.integers(1, rows - 1))
    parts = [scorer(1.0, 0.5).score(served.take(part), 9) for part in (slice(0, cut), slice(cut, rows))]
    whole = scorer(1.0, 0.5).score(served, 9)
    assert whole is not None
    assert_same(join([part for part in parts if part is not None]), whole)


def test_only_the_slices_go_along() -> None:
    paired = scorer(1.0, slices=("seats", "origin", "unknown")).score(block(20), 0)
    assert paired is not None
    assert paired.slices.layout == Layout(integers=("seats",), categories=("origin",))
    assert paired.slices.categories[0].decoded() == block(20).columns.categories[0].decoded()


def test_a_row_on_which_a_candidate_fails_is_nan_and_fails_nobody_else() -> None:
    served = block(40, outputs=2)
    hard = float(np.nanmax(served.columns.floats[:, 0]))
    failing = Multiplying(ModelRef("delay", 1), fails=lambda x: x == hard, outputs=2)
    asking = ShadowScorer([(failing, 1.0), (Multiplying(ModelRef("delay", 2)), 1.0)], ())
    paired = asking.score(served, 0)
    assert paired is not None
    bad, good = paired.candidates
    row = int(np.nanargmax(served.columns.floats[:, 0]))
    assert np.isnan(bad.score[row])
    assert bad.scores is not None
    assert np.isnan(bad.scores[row]).all()
    missing = np.isnan(served.columns.floats[:, 0])
    np.testing.assert_array_equal(np.isnan(bad.score), missing | (np.arange(40) == row))
    np.testing.assert_array_equal(np.isnan(good.score), missing)
    assert asking.asked[0].failed == 1
    assert asking.asked[0].non_finite == missing.sum() + 1
    assert str(asking.asked[0].failure) == "this one is too hard"
    assert asking.asked[1].failure is None


def test_a_candidate_that_fails_on_everything_has_no_score_but_as_many_outputs() -> None:
    asking = ShadowScorer([(Multiplying(fails=lambda x: True, outputs=3), 1.0)], ())
    paired = asking.score(block(5, outputs=3), 0)
    assert paired is not None
    [candidate] = paired.candidates
    assert np.isnan(candidate.score).all()
    assert candidate.scores is not None
    assert candidate.scores.shape == (5, 3)
    assert asking.asked[0].failed == asking.asked[0].non_finite == 5


def test_who_reads_what_a_block_does_not_have_is_not_asked_about_it() -> None:
    """Also where the log has the name with another type."""
    wide = Multiplying(ModelRef("delay", 2), of="wind")
    catalogue = Layout(("distance", "wind"))
    asking = ShadowScorer([(Multiplying(ModelRef("delay", 1)), 1.0), (wide, 0.5)], (), catalogue=catalogue)
    for before in (Layout(("distance",)), Layout(("distance",), ("wind",))):
        paired = asking.score(block(30, layout=before), 0)
        assert paired is not None
        assert not paired.candidates[1].sampled.any()
        assert asking.asked[1].lacking == ("wind",)
        assert asking.asked[1].rows == 0
        assert 0 < asking.asked[1].unlogged < 30
    assert not any(wide.rows)
    later = asking.score(block(30, layout=catalogue), 1)
    assert later is not None
    assert later.candidates[1].sampled.any()
    assert asking.asked[1].lacking == ()


def test_nobody_sampled_makes_no_block() -> None:
    assert scorer(0.0).score(block(20), 0) is None
    assert ShadowScorer([], ()).score(block(20), 0) is None


def test_the_time_of_calls_is_theirs_and_the_served_share_is_that_of_the_rows() -> None:
    ticks = count(0, 5_000_000)
    served = replace(block(400), took_us=40_000)
    asking = ShadowScorer([(Multiplying(), 0.5)], (), clock_ns=lambda: next(ticks))
    paired = asking.score(served, 0)
    assert paired is not None
    assert paired.candidates[0].took_us == 5_000
    assert paired.took_us == 40_000 * paired.rows // 400
