"""Guardrails keep their error however often they are looked at, and see gross trouble at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.config import RolloutConfig
from penstock.monitoring.gates.estimate import Outcomes
from penstock.monitoring.rollouts.guardrails import FEWEST_READINGS, Counts, Guards, nats_above
from penstock.schemas.gates import Guardrail
from penstock.schemas.operations import VariantReading

NOBODY = Outcomes(0, 0, 0, 0)
PLAN = RolloutConfig(min_rows=1_000, max_latency_ratio=3.0)


def latency(guards: Guards) -> Guardrail:
    return guards.judge(PLAN, NOBODY, alpha=0.001)[2]


def reading(rows: int, us_per_row: float, us_per_call: float = 0.0, calls: int = 10) -> VariantReading:
    return VariantReading("m@1", rows, calls=calls, took_us=round(rows * us_per_row + calls * us_per_call))


def test_a_share_at_its_limit_breaks_the_guardrail_as_rarely_as_promised() -> None:
    limit, alpha, rows = 0.01, 0.05, 50
    random = np.random.default_rng(5)
    histories = np.cumsum(random.binomial(rows, limit, (400, 100)), axis=1)  # a look every 50 rows
    broken = [
        any(nats_above(bad, rows * (look + 1), limit) >= -math.log(alpha) for look, bad in enumerate(history))
        for history in histories.tolist()
    ]
    assert 0 < np.mean(broken) <= alpha


def test_a_share_of_four_times_the_limit_breaks_it_soon() -> None:
    rows = next(rows for rows in range(100, 10_000, 100) if nats_above(4 * rows // 100, rows, 0.01) >= math.log(2_000))
    assert rows <= 700


@given(bad=st.integers(0, 50), rows=st.integers(51, 10_000), limit=st.floats(1e-4, 0.4))
def test_more_bad_rows_are_more_evidence_and_good_ones_less(bad: int, rows: int, limit: float) -> None:
    assert nats_above(bad, rows + 1, limit) <= nats_above(bad, rows, limit) <= nats_above(bad + 1, rows, limit)


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_the_same_model_called_with_fewer_rows_is_not_slow(share: float) -> None:
    guards = Guards()
    for _ in range(2 * FEWEST_READINGS):
        guards.champion.add(reading(round(100_000 * (1 - share)), us_per_row=1.0, us_per_call=300.0))
        guards.candidate.add(reading(round(100_000 * share), us_per_row=1.0, us_per_call=300.0))
    assert latency(guards).held


def test_a_slow_model_is_seen_when_there_are_enough_rows() -> None:
    guards, held = Guards(), []
    for _ in range(FEWEST_READINGS + 2):
        guards.champion.add(reading(1_000, us_per_row=1.0, us_per_call=100.0))
        guards.candidate.add(reading(500, us_per_row=10.0, us_per_call=1_000.0))
        held.append(latency(guards).held)
    assert held == [True] * (FEWEST_READINGS - 1) + [False] * 3


def test_shadow_rows_count_for_finite_scores_and_not_for_failures() -> None:
    counts = Counts()
    counts.add_paired(100, 3)
    counts.add(VariantReading("m@1", 50, non_finite=1, failed=2))
    assert (counts.rows, counts.non_finite, counts.routed, counts.failed) == (150, 4, 50, 2)


def test_a_difference_of_labelled_shares_counts_beyond_chance() -> None:
    few, many = Outcomes(1_000, 900, 10, 7), Outcomes(100_000, 90_000, 1_000, 700)
    held = [Guards().judge(PLAN, outcomes, alpha=0.001)[3].held for outcomes in (few, many)]
    assert held == [True, False]
