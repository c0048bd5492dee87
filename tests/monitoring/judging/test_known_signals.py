"""What a profile says of the signals that watch counted with it."""

from __future__ import annotations

import numpy as np
import pytest
from judged import LAYOUT, PROFILE, ROWS, block, profile, summary

from penstock.models.profiling import build_profile
from penstock.monitoring.counting.binning import Binning
from penstock.monitoring.judging.known_signals import KnownSignals
from penstock.schemas.columns import Columns, Layout
from penstock.schemas.profile import SLOTS


def test_every_signal_is_known_as_watch_binned_it() -> None:
    binning = Binning.of(LAYOUT, (), PROFILE, reference="delay@1")
    known = KnownSignals(PROFILE, ROWS)

    for name, counts in summary(block(0)).signals.items():
        mine, theirs = known.signal(name, len(counts.slots)), binning.signal(name)
        assert (mine.name, mine.scale, mine.values) == (theirs.name, theirs.scale, theirs.values)
        np.testing.assert_array_equal(mine.edges, theirs.edges)
        assert (mine.centre, mine.spread) == (theirs.centre, theirs.spread)


def test_features_and_scores_have_a_reference_and_the_rest_learns_one() -> None:
    known = KnownSignals(PROFILE, ROWS)

    with_reference = {
        name
        for name, counts in summary(block(0)).signals.items()
        if known.reference(known.signal(name, len(counts.slots))) is not None
    }

    assert with_reference == {
        "feature:price", "feature:distance", "feature:stops", "feature:airport", "score:champion",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stream_rows", "segments"), [(ROWS, 200), (4 * ROWS, 50), (2 * ROWS, 100), (ROWS // 2, 200), (8 * ROWS, 50)]
)
def test_short_segments_of_the_profile_are_joined_as_far_as_fifty_are_left(stream_rows: int, segments: int) -> None:
    known = KnownSignals(PROFILE, stream_rows)

    reference = known.reference(known.signal("feature:price", SLOTS))

    assert reference is not None
    assert reference.segments == pytest.approx(segments, rel=0.01)
    assert reference.rows == 200 * ROWS


def test_a_reference_of_few_segments_is_none() -> None:
    known = KnownSignals(profile(segments=40), ROWS)

    assert known.reference(known.signal("feature:price", SLOTS)) is None


def test_vectors_are_known_by_their_norm() -> None:
    layout = Layout(floats=("x", "y"), vectors=(("embedding", 3), ("wide", 100)))
    random = np.random.default_rng(0)
    vectors = tuple(random.normal(size=(6_000, width)).astype(np.float32) for _, width in layout.vectors)
    rows = Columns(
        layout, random.normal(size=(6_000, 2)).astype(np.float32), np.empty((6_000, 0), np.int64), (), vectors
    )

    known = KnownSignals(build_profile(rows, segment_rows=100), 100)

    for name in ("feature:embedding", "feature:wide", "feature:x", "distance"):
        assert known.signal(name, SLOTS).scale == "bins", name
