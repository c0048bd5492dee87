"""However many signals there are, the shares of the budget are the budget."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.monitoring.alarms import Family
from penstock.monitoring.budget import WEIGHTS, segments_per_alarm, shares, signal_shares

FAMILIES: tuple[Family, ...] = get_args(Family)


def test_every_family_has_a_weight_and_the_weights_are_the_budget() -> None:
    assert set(WEIGHTS) == set(FAMILIES)
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(FAMILIES), st.integers(0, 1000)))
def test_families_share_all_of_it_or_there_is_nobody(signals: dict[Family, int]) -> None:
    found = shares(signals)
    assert sum(found.values()) == pytest.approx(1.0 if found else 0.0)
    assert all(signals[family] > 0 and share >= WEIGHTS[family] for family, share in found.items())


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(FAMILIES),
        st.dictionaries(st.text(min_size=1, max_size=5), st.floats(0.1, 10.0), max_size=5),
    )
)
def test_false_alarms_of_all_signals_together_are_the_budget(signals: dict[Family, dict[str, float]]) -> None:
    found = signal_shares(signals)
    rate = sum(
        1.0 / segments_per_alarm(share, false_alarms_per_week=2.0, segments_per_week=1_000.0)
        for share in found.values()
    )
    assert rate == pytest.approx(2.0 / 1_000.0 if found else 0.0)
