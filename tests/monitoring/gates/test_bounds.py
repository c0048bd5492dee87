"""The bounds hold over all looks, and are no wider than they need be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import binom

from penstock.monitoring.gates.bounds import (
    clustered_variance,
    effective,
    mixture_bound,
    student,
    tightest,
    tuned_bound,
)

ratios, alphas = st.floats(0.05, 1e4), st.floats(1e-4, 0.2)


@given(ratios, alphas, alphas)
def test_less_alpha_makes_wider_bounds(ratio: float, one: float, other: float) -> None:
    less, more = sorted([one, other])
    assert mixture_bound(ratio, less) >= mixture_bound(ratio, more)


@given(ratios, st.floats(1e-4, 0.05))
def test_it_is_hardly_wider_than_the_exact_mixture(ratio: float, alpha: float) -> None:
    """Of half normals: 2 (1 + r)^-½ exp(z² r / (2 (1 + r))) Φ(z √(r / (1 + r))) = 1 / α (Howard et al. 2021)."""

    def evidence(z: float) -> float:
        kept = ratio / (1 + ratio)
        return math.log(2 * alpha) - math.log1p(ratio) / 2 + z * z * kept / 2 + math.log(ndtr(z * math.sqrt(kept)))

    closed = mixture_bound(ratio, alpha)
    exact = brentq(evidence, 0.0, closed + 1) if evidence(0.0) < 0 else 0.0
    assert exact <= closed * (1 + 1e-9)
    assert closed <= exact * 1.017


@given(st.floats(0.05, 20), alphas)
def test_it_is_tightest_where_it_was_tuned(ratio: float, alpha: float) -> None:
    assert mixture_bound(tightest(alpha), alpha) <= mixture_bound(ratio, alpha) * (1 + 1e-6)
    assert tuned_bound(100.0, 100.0, alpha) == mixture_bound(tightest(alpha), alpha)


@given(st.floats(0.5, 8), st.floats(1, 500), st.floats(1, 500))
def test_fewer_degrees_of_freedom_make_wider_bounds(bound: float, one: float, other: float) -> None:
    fewer, more = sorted([one, other])
    assert student(bound, fewer) >= student(bound, more) * (1 - 1e-9)
    assert student(bound, more) >= bound * (1 - 1e-6)


def test_what_cannot_be_bounded_is_unbounded() -> None:
    assert student(3.0, 0.0) == mixture_bound(0.0, 0.05) == student(40.0, 10.0) == math.inf


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=30))
def test_unequal_clusters_are_worth_fewer(sizes: list[float]) -> None:
    assert effective(np.array(sizes)) * (1 + 1e-9) >= 1
    assert effective(np.array(sizes)) <= len(sizes) * (1 + 1e-9)


@pytest.mark.parametrize("ramp", [[1.0] * 10, [1.0] * 7 + [5.0] * 3])
def test_the_variance_of_few_unequal_clusters_is_unbiased(ramp: list[float]) -> None:
    rng, weights = np.random.default_rng(4), np.array(ramp)
    means = rng.normal(0, 1 / np.sqrt(weights), (20_000, len(weights)))
    estimates = means @ weights / weights.sum()
    residuals = weights * (means - estimates[:, None])
    seen = np.mean([clustered_variance(row, weights) for row in residuals]) / weights.sum() ** 2
    assert seen == pytest.approx(np.var(estimates), rel=0.04)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_a_random_walk_seldom_crosses_it_ever(alpha: float) -> None:
    """Ville's inequality, on 2,000 walks of 1,000 steps; one look at the end would not show it."""
    walks, steps = 2_000, np.arange(1, 1_001)
    z = np.random.default_rng(11).normal(size=(walks, len(steps))).cumsum(1) / np.sqrt(steps)
    limits = np.array([tuned_bound(step, 100.0, alpha) for step in steps.tolist()])
    crossed = int((z > limits).any(1).sum())
    assert crossed <= binom.ppf(0.9999, walks, alpha)
    assert crossed >= binom.ppf(0.0001, walks, alpha / 4), "much too wide"
    naive = int((z[:, 10:] > 1.645).any(1).sum())
    assert naive > 5 * 0.05 * walks
