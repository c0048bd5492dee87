from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from penstock.streams.offline.outcomes import outcomes_of


@pytest.mark.parametrize(
    ("label", "prediction", "task", "errors"),
    [
        ([0, 1, None], [1, 1, 1], "binary", [1, 0, np.nan]),
        ([True, False], [0.4, 0.2], "binary", [1, 0]),
        ([1.0, 0.0], [0.9, None], "binary", [0, np.nan]),
        ([2, 7, 7], [2, 7, 1], "multiclass", [0, 0, 1]),
        (["a", None, "c"], ["b", "b", "c"], "multiclass", [1, np.nan, 0]),
        ([2.5, 4.0], [2.0, 6.0], "regression", [0.5, 2.0]),
        ([3, 4], [3.5, 4.0], "regression", [0.5, 0.0]),
    ],
)
def test_the_columns_decide_the_task(label: list[Any], prediction: list[Any], task: str, errors: list[float]) -> None:
    outcomes = outcomes_of(pa.array(label), pa.array(prediction))

    assert outcomes.task == task
    np.testing.assert_array_equal(outcomes.errors, errors)


def test_probabilities_and_values_are_scores_and_classes_are_not() -> None:
    assert outcomes_of(pa.array([0, 1]), pa.array([0.2, 0.9])).scores is not None
    assert outcomes_of(pa.array([0, 1]), pa.array([0, 1])).scores is None


def test_text_and_numbers_do_not_fit() -> None:
    with pytest.raises(ValueError, match="one holds text and the other numbers"):
        outcomes_of(pa.array(["a"]), pa.array([1]))
