"""Missing, stale and malformed values, against the policy applied value by value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.models.features import Catalogue, Feature, MissingPolicy, Value
from penstock.models.key_templates import KeyTemplate
from penstock.models.resolution import RejectedRow, Resolution, absences, resolve
from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, FeatureType

NOW = 1_700_000_000_000
DEFAULTS: dict[str, Value] = {"float": 10.0, "int": 3, "category": "JFK", "vector(2)": (1.0, 2.0)}


def looked_up(type: str, missing: MissingPolicy, max_age_s: float | None = None) -> Catalogue:
    default = DEFAULTS[type] if missing == "default" else None
    feature = Feature("f", FeatureType.parse(type), None, "e", "f", missing, default, None, max_age_s)
    return Catalogue((feature,), {"e": ("e", KeyTemplate.parse("{id}"))})


def window(catalogue: Catalogue, present: list[bool]) -> Columns:
    columns = Columns.missing(catalogue.layout, len(present))
    here = np.array(present, np.bool_)
    columns.floats[here] = 5
    columns.integers[here] = 5
    columns.categories = tuple(Category(np.where(here, 0, -1).astype(np.int32), ("LGA",)) for _ in columns.categories)
    for vector in columns.vectors:
        vector[here] = 5
    return columns


def values(columns: Columns) -> list[object]:
    if columns.layout.floats:
        return [None if np.isnan(value) else value for value in columns.floats[:, 0].tolist()]
    if columns.layout.integers:
        return [None if value == MISSING_INTEGER else value for value in columns.integers[:, 0].tolist()]
    if columns.layout.categories:
        return list(columns.categories[0].decoded())
    return [None if np.isnan(row).any() else tuple(row.tolist()) for row in columns.vectors[0]]


PRESENT = {"float": 5.0, "int": 5, "category": "LGA", "vector(2)": (5.0, 5.0)}


@given(
    st.sampled_from(list(DEFAULTS)),
    st.sampled_from(["reject", "default", "nan"]),
    st.none() | st.just(60.0),
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([None, -10, 0, 30, 60, 61, 3600]), st.booleans(), st.booleans()),
        max_size=12,
    ),
)
def test_each_value_is_treated_as_its_policy_says(
    type: str, policy: MissingPolicy, max_age_s: float | None, rows: list[tuple[bool, int | None, bool, bool]]
) -> None:
    catalogue = looked_up(type, policy, max_age_s)
    present = [here and not malformed for here, _, malformed, _ in rows]
    columns = window(catalogue, present)
    written = np.array([[0 if age is None else NOW - age * 1000] for _, age, _, _ in rows], np.int64).reshape(-1, 1)
    malformed = np.array([[bad] for _, _, bad, _ in rows], np.bool_).reshape(-1, 1)
    unanswered = np.array([[lost] for *_, lost in rows], np.bool_).reshape(-1, 1)

    found = resolve(catalogue, columns, written, malformed, np.full(len(rows), NOW), unanswered)

    for i, (_, age, bad, lost) in enumerate(rows):
        stale = present[i] and max_age_s is not None and (age is None or age > max_age_s)
        gone = "unanswered" if lost else "missing"
        reason = "malformed" if bad else gone if not present[i] else "stale" if stale else None
        assert (RejectedRow(i, "f", reason) in found.rejected) == (reason is not None and policy == "reject")  # type: ignore[arg-type]
        assert found.defaulted[i, 0] == (reason is not None and policy != "reject")
        if policy != "reject":
            instead = DEFAULTS[type] if policy == "default" else None
            assert values(columns)[i] == (PRESENT[type] if reason is None else instead)
        np.testing.assert_equal(found.ages[i, 0], np.float32(np.nan if age is None else age))
    assert sum(found.counts.values()) == sum(map(bool, found.rejected or found.defaulted[:, 0]))


def test_staleness_is_measured_against_the_event_so_a_replay_comes_to_the_same() -> None:
    catalogue = looked_up("float", "nan", max_age_s=60)
    columns = window(catalogue, [True, True])
    written = np.array([[NOW], [NOW]], np.int64)
    found = resolve(catalogue, columns, written, np.zeros((2, 1), np.bool_), np.array([NOW + 59_000, NOW + 61_000]))
    assert found.counts == {("f", "stale"): 1}
    assert values(columns) == [5.0, None]


def test_a_row_is_rejected_once_whatever_its_features_lack() -> None:
    catalogue = Catalogue(
        (
            Feature("a", FeatureType("float"), missing="nan"),
            Feature("b", FeatureType("float")),
            Feature("c", FeatureType("category")),
        )
    )
    found = _events_only(catalogue, Columns.missing(catalogue.layout, 2))
    assert found.rejected == [RejectedRow(0, "b", "missing"), RejectedRow(1, "b", "missing")]
    assert found.counts == {("a", "missing"): 2, ("b", "missing"): 2, ("c", "missing"): 2}


def test_nothing_missing_changes_nothing() -> None:
    catalogue = looked_up("float", "default")
    columns = window(catalogue, [True] * 3)
    found = resolve(catalogue, columns, np.full((3, 1), NOW), np.zeros((3, 1), np.bool_), np.full(3, NOW))
    assert not found.defaulted.any()
    assert found.counts == {}
    assert found.rejected == []
    assert values(columns) == [5.0] * 3


@pytest.mark.parametrize("default", ["LGA", "JFK"])
def test_a_category_default_joins_the_dictionary_only_if_it_is_new(default: str) -> None:
    catalogue = Catalogue((Feature("c", FeatureType("category"), missing="default", default=default),))
    columns = Columns(
        catalogue.layout,
        np.empty((2, 0), np.float32),
        np.empty((2, 0), np.int64),
        (Category(np.array([0, -1], np.int32), ("LGA",)),),
        (),
    )
    _events_only(catalogue, columns)
    assert columns.categories[0].decoded() == ["LGA", default]
    assert not absences(columns).any()
    assert len(set(columns.categories[0].values)) == len(columns.categories[0].values)


def _events_only(catalogue: Catalogue, columns: Columns) -> Resolution:
    nothing = np.empty((columns.rows, 0), np.int64)
    return resolve(catalogue, columns, nothing, nothing.astype(np.bool_), np.full(columns.rows, NOW))
