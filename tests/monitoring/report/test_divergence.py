"""A distance that is a distance, and that does not mistake a short stretch for a different one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon

from penstock.monitoring.report.divergence import distance, usual_distance

counts = arrays(np.int64, 6, elements=st.integers(0, 10**6)).filter(np.any)


@given(counts, counts)
def test_it_lies_between_0_and_1_whichever_comes_first(first: np.ndarray, second: np.ndarray) -> None:
    assert 0 <= distance(first, second) <= 1
    assert distance(first, second) == distance(second, first)
    assert distance(first, first) == 0


@given(counts, counts)
def test_with_many_rows_it_is_scipys(first: np.ndarray, second: np.ndarray) -> None:
    many = 10**9
    expected = jensenshannon(first, second, base=2)
    assert abs(distance(first * many, second * many) - np.nan_to_num(expected)) < 1e-4


def test_an_empty_histogram_has_no_distance() -> None:
    assert np.isnan(distance(np.zeros(4, np.int64), np.ones(4, np.int64)))


def test_two_samples_of_one_distribution_are_close_however_small_they_are() -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(32))
    reference = rng.multinomial(100_000, p)
    for rows in (100, 500, 5000):
        squared = [distance(rng.multinomial(rows, p), reference) ** 2 for _ in range(300)]
        raw = [jensenshannon(rng.multinomial(rows, p), reference, base=2) ** 2 for _ in range(300)]
        assert np.mean(squared) < 0.2 * np.mean(raw)


def test_what_is_usual_grows_with_the_seasons_of_the_reference() -> None:
    rng = np.random.default_rng(2)
    steady = rng.multinomial(500, np.full(8, 1 / 8), size=64)
    season = np.linspace(0.05, 0.2, 64)
    seasonal = np.array([rng.multinomial(500, [share, *[(1 - share) / 7] * 7]) for share in season])
    assert usual_distance(steady, 2000) < 0.05
    assert usual_distance(seasonal, 2000) > 0.1


def test_a_reference_of_few_segments_cannot_say_what_is_usual() -> None:
    assert np.isnan(usual_distance(np.ones((7, 4), np.int64), 100))
