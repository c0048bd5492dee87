"""Training tables become the same columns, wherever they come from; what serving would reject is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pytest

from penstock.models.features import Catalogue, Feature
from penstock.models.tables import columns_from, digest_of
from penstock.schemas.columns import MISSING_INTEGER, Category, FeatureType
from penstock.schemas.errors import ConfigurationError

CATALOGUE = Catalogue(
    (
        Feature("distance", FeatureType("float"), missing="nan"),
        Feature("seats", FeatureType("int"), missing="default", default=150),
        Feature("late", FeatureType("bool"), missing="nan"),
        Feature("origin", FeatureType("category"), missing="default", default="JFK"),
        Feature("wind", FeatureType("vector", 2), missing="nan"),
    )
)
TABLE: dict[str, list[Any]] = {
    "distance": [1.5, None, 3.0],
    "seats": [None, 5, 7],
    "late": [True, None, False],
    "origin": ["LGA", None, "LGA"],
    "wind": [[1.0, 2.0], None, [3.0, 4.0]],
    "not a feature": [1, 2, 3],
}


@pytest.mark.parametrize("made", [lambda: TABLE, lambda: pa.table(TABLE), lambda: pd.DataFrame(TABLE)])
def test_any_table_gives_the_same_columns(made: Any) -> None:
    columns = columns_from(CATALOGUE, made())
    np.testing.assert_array_equal(columns.floats, np.array([[1.5], [np.nan], [3]], np.float32))
    assert columns.integers.tolist() == [[150, 1], [5, MISSING_INTEGER], [7, 0]]
    assert columns.categories[0].decoded() == ["LGA", "JFK", "LGA"]
    np.testing.assert_array_equal(columns.vectors[0], np.array([[1, 2], [np.nan, np.nan], [3, 4]], np.float32))


def test_only_the_features_asked_for_need_be_there() -> None:
    columns = columns_from(CATALOGUE, {"distance": np.arange(3)}, ["distance"])
    assert columns.layout.names == ("distance",)
    assert columns_from(CATALOGUE, columns) is columns


@pytest.mark.parametrize(
    ("feature", "values", "sentence"),
    [
        ("distance", ["far", 1.0, 2.0], r"distance is <U32 of shape \(3,\); expected one number per row"),
        ("distance", ["far", None, 2.0], "distance is not all numbers; expected numbers, or None"),
        ("distance", [1e39, 1.0, 2.0], r"distance is infinite \(as float32\) in 1 rows"),
        ("distance", [[1.0], [1.0], [1.0]], r"distance is float64 of shape \(3, 1\); expected one number per row"),
        ("distance", [1.0], "rows long; expected"),
        ("seats", [1.5, 2, 3], "seats is not whole everywhere"),
        ("late", [2, 0, 1], "late is neither 0 nor 1 somewhere; expected booleans"),
        ("origin", ["JFK", 3, "LGA"], "origin is 3 in row 1; expected strings"),
        ("wind", [[1.0], [2.0], [3.0]], r"wind is 1 wide; expected vector\(2\)"),
        ("wind", [[1.0, 2.0], [1.0], None], "wind is not a matrix"),
    ],
)
def test_a_column_that_serving_would_reject_is_refused(feature: str, values: list[Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        columns_from(CATALOGUE, {**TABLE, feature: values})


def test_missing_values_without_a_policy_are_refused() -> None:
    catalogue = Catalogue((Feature("distance", FeatureType("float")),))
    with pytest.raises(ConfigurationError, match="distance is missing in 1 of 3 rows; expected a value in every row"):
        columns_from(catalogue, TABLE)


def test_an_absent_or_unknown_feature_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"distance is missing or unknown; expected a column .*found seats"):
        columns_from(CATALOGUE, {"seats": [1]})
    with pytest.raises(ConfigurationError, match="speed is missing or unknown; expected a feature of the catalogue"):
        columns_from(CATALOGUE, TABLE, ["speed"])


def test_the_digest_is_of_values_not_of_dictionaries() -> None:
    columns = columns_from(CATALOGUE, TABLE)
    again = columns_from(CATALOGUE, TABLE)
    again.categories = (Category(np.array([2, 0, 2], np.int32), ("JFK", "EWR", "LGA")),)
    assert digest_of(again) == digest_of(columns)
    columns.floats[0] += 1
    assert digest_of(again) != digest_of(columns)
