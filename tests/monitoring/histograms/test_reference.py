"""A reference turns counts into channels that are fair bets, whatever the counts."""

from __future__ import annotations

import numpy as np
import pytest
from histogram_streams import ROWS, Feature
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter

from penstock.monitoring.histograms.reference import DEGREES, fit_reference, normal_scores
from penstock.monitoring.histograms.tilts import aspect_of, system_slots, tilts_of
from penstock.schemas.profile import INVALID, MISSING, OVER, SLOTS, UNDER
from penstock.schemas.seasons import DAY_MS
from penstock.schemas.summaries import Signal

NUMBER = Signal("feature:x", "bins", np.arange(32.0))
COLOUR = Signal("feature:colour", "categories", np.empty(0), values=("red", "blue"))
any_totals = st.lists(st.integers(0, 500), min_size=SLOTS, max_size=SLOTS).map(lambda row: np.array(row, np.int64))
any_counts = st.lists(any_totals, min_size=1, max_size=60).map(np.stack)


@given(any_totals)
def test_scores_are_orthonormal_under_the_valid_rows(totals: NDArray[np.int64]) -> None:
    valid = totals.copy()
    valid[[MISSING, INVALID]] = 0
    scores = normal_scores(totals, NUMBER)
    known = scores[scores.any(axis=1)]
    if len(known):
        share = valid / valid.sum()
        np.testing.assert_allclose(known @ share, 0, atol=1e-6)
        np.testing.assert_allclose((known * share) @ known.T, np.eye(len(known)), atol=1e-6)


def test_the_first_score_rises_with_the_value() -> None:
    totals = np.full(SLOTS, 100)
    totals[[UNDER, OVER]] = 5
    first = normal_scores(totals, NUMBER)[0]
    assert (np.diff(first[[UNDER, *range(32), OVER]]) > 0).all()
    assert first[MISSING] == first[INVALID] == 0


@settings(max_examples=50, deadline=None)
@given(any_counts)
def test_no_bet_pays_on_the_reference_itself(counts: NDArray[np.int64]) -> None:
    """A channel's deviation from its mean sums to zero over the reference, so all that is left of a bet is its cost."""
    reference = fit_reference(counts, NUMBER)
    if not reference.segments:
        assert not counts.any()
        return
    tilts = tilts_of(reference, NUMBER)
    assert np.isfinite([*tilts.slope, *tilts.cost, *tilts.log_weight]).all()
    assert (tilts.cost > -1e-6).all()
    assert np.exp(tilts.log_weight).sum() <= 1 + 1e-9
    assert (reference.dispersion >= 1).all()


def test_weights_of_a_full_signal_sum_to_one() -> None:
    x = Feature("x", np.random.default_rng(0).normal(size=60 * ROWS))
    assert np.exp(tilts_of(x.reference, x.signal).log_weight).sum() == pytest.approx(1)


def test_an_empty_reference_says_so() -> None:
    assert fit_reference(np.zeros((10, SLOTS), np.int64), NUMBER).segments == 0
    assert fit_reference(np.zeros((0, 4), np.int64), COLOUR).segments == 0


def test_segments_without_rows_change_nothing() -> None:
    counts = np.random.default_rng(1).multinomial(100, [0.5, 0.3, 0.1, 0.1], 80)
    gaps = np.insert(counts, range(0, 80, 7), 0, axis=0)
    found, same = fit_reference(gaps, COLOUR), fit_reference(counts, COLOUR)
    assert found.segments == same.segments == pytest.approx(80)
    np.testing.assert_array_equal(found.dispersion, same.dispersion)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_dispersion_covers_the_memory_of_the_rows(memory: float) -> None:
    noise = np.random.default_rng(2).normal(size=200 * ROWS)
    values = lfilter([np.sqrt(1 - memory**2)], [1, -memory], noise)
    true = (1 + memory) / (1 - memory)
    location = Feature("x", values).reference.dispersion[0]
    assert true * 0.95 < location < true * 1.8


def test_channels_of_a_category_follow_the_day() -> None:
    random, times = np.random.default_rng(3), np.arange(400) * DAY_MS // 40
    red = 0.5 + 0.3 * np.sin(2 * np.pi * times / DAY_MS)
    counts = np.stack([random.multinomial(ROWS, [share, 1 - share, 0, 0]) for share in red])
    seasonal, blind = fit_reference(counts, COLOUR, times), fit_reference(counts, COLOUR)
    assert len(seasonal.means) > len(blind.means) == 1
    assert seasonal.dispersion[0] < 1.5 < 20 < blind.dispersion[0]


def test_aspects_have_plain_names() -> None:
    assert [aspect_of(channel, DEGREES, NUMBER) for channel in range(DEGREES)] == [
        "location", "spread", "shape", "shape"
    ]  # fmt: skip
    assert [aspect_of(DEGREES + slot, DEGREES, NUMBER) for slot in (3, UNDER, OVER, MISSING, INVALID)] == [
        "shape", "below", "above", "missing", "invalid"
    ]  # fmt: skip
    assert [aspect_of(slot, 0, COLOUR) for slot in range(4)] == ["categories", "categories", "unseen", "missing"]
    assert set(system_slots(NUMBER)) == {UNDER, OVER, MISSING, INVALID}
