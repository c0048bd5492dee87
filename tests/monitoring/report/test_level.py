"""News is what chance does not make."""

from __future__ import annotations

import histories
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.monitoring.report.level import FEWEST_ROWS, auc_error, training_level
from penstock.schemas.profile import ReferenceProfile

PROFILE = histories.profile(np.random.default_rng(1), 512)
rows = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.9]), st.booleans()), min_size=FEWEST_ROWS, max_size=60
).filter(lambda found: len({label for _, label in found}) == 2)


def sampled(scores: list[float], labels: list[float]) -> ReferenceProfile:
    sample = replace(PROFILE.sample, scores=np.array(scores, np.float32), labels=np.array(labels, np.float64))
    return replace(PROFILE, sample=sample)


@given(rows)
def test_the_auc_of_the_training_sample_is_that_of_all_pairs(found: list[tuple[float, bool]]) -> None:
    level = training_level(sampled([score for score, _ in found], [float(label) for _, label in found]), "binary")
    yes = [score for score, label in found if label]
    no = [score for score, label in found if not label]
    pairs = [(a > b) + 0.5 * (a == b) for a in yes for b in no]
    assert level is not None
    assert abs(level.figure - np.mean(pairs)) < 1e-9


def test_the_error_is_that_of_repeated_draws() -> None:
    rng = np.random.default_rng(3)
    yes, no = 150, 250
    found = [np.mean(rng.normal(1.0, 1.0, yes)[:, None] > rng.normal(0.0, 1.0, no)[None, :]) for _ in range(400)]
    assert 0.8 < auc_error(float(np.mean(found)), yes, no) / np.std(found) < 1.25


def test_a_sample_without_labels_has_no_level() -> None:
    assert training_level(sampled([0.5] * 100, []), "binary") is None
    assert training_level(sampled([0.5] * 100, [1.0] * 100), "binary") is None
    assert training_level(sampled([0.5] * 100, [np.nan] * 100), "regression") is None
    assert training_level(None, "regression") is None
    errors = training_level(sampled([0.5] * 100, [1.5, -0.5] * 50), "regression")
    assert errors == (1.0, 0.0)
