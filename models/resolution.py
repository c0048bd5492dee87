"""What happens to values that are missing, stale, malformed or unanswered: the catalogue's policy, a window at a time.

Staleness is measured against the event's time, never against the clock, so a replay comes to the same values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.models.features import Catalogue, Feature
from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, Floats

Reason = Literal["missing", "stale", "malformed", "unanswered"]
_NO_LIMIT = int(np.iinfo(np.int64).max)


class RejectedRow(NamedTuple):
    """A row that becomes a dead letter, with the first feature (in the layout's order) that its policy rejects."""

    row: int
    feature: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Resolution:
    """What was found.

    ages       [rows, R] float32: seconds from each looked-up value's writing to the event, negative where it was
               written later; NaN where there is no value or its time of writing is unknown
    defaulted  [rows, len(layout.names)] bool: the value was missing, stale, malformed or not answered for, and now is
               the default, or stays missing because the catalogue says "nan"
    rejected   one entry per rejected row, ascending
    counts     (feature, reason) → rows; only what occurred
    """

    ages: Floats
    defaulted: NDArray[np.bool_]
    rejected: list[RejectedRow]
    counts: dict[tuple[str, Reason], int]


def resolve(
    catalogue: Catalogue,
    columns: Columns,
    written: NDArray[np.int64],
    malformed: NDArray[np.bool_],
    event_times: NDArray[np.int64],
    unanswered: NDArray[np.bool_] | None = None,
) -> Resolution:
    """Apply every feature's `max_age_s`, `missing` and `default` to `columns`, in place.

    Args:
        catalogue: where `columns.layout` comes from.
        columns: looked-up values included; what the policy replaces is written here.
        written: [rows, R] Unix ms when each looked-up value was written, 0 unknown; `catalogue.looked_up_features`.
        malformed: [rows, R] True where Redis held something that is not of the feature's type.
        event_times: [rows] Unix ms.
        unanswered: [rows, R] True where nobody knows what Redis holds, as it did not answer; None: it answered for all.

    A value whose time of writing is unknown is stale where a maximum age is set: it cannot be shown to be fresh.
    """
    absent = absences(columns)
    age_ms = event_times[:, None] - written
    ages = (age_ms * 0.001).astype(np.float32)
    limits = np.array([_age_limit_ms(feature) for feature in catalogue.looked_up_features], np.int64)
    old = age_ms > limits
    known = written != 0
    if not known.all():
        ages[~known] = np.nan
        old = np.where(known, old, limits < _NO_LIMIT)

    names = columns.layout.names
    reasons: dict[int, dict[Reason, NDArray[np.bool_]]] = {}
    lost = np.zeros_like(malformed) if unanswered is None else unanswered
    if old.any() or malformed.any() or lost.any():
        places = {name: place for place, name in enumerate(names)}
        for r in np.flatnonzero((old | malformed | lost).any(axis=0)).tolist():
            place = places[catalogue.looked_up_features[r].name]
            bad, gone = malformed[:, r], absent[:, place].copy()
            stale = old[:, r] & ~gone & ~bad
            gone &= ~bad
            silent = gone & lost[:, r]
            reasons[place] = {"malformed": bad, "stale": stale, "missing": gone & ~silent, "unanswered": silent}
            absent[:, place] |= bad | stale

    counts: dict[tuple[str, Reason], int] = {}
    rejected: dict[int, RejectedRow] = {}
    for place in np.flatnonzero(absent.any(axis=0)).tolist() if absent.any() else ():
        feature, mask = catalogue.by_name[names[place]], absent[:, place]
        for reason, rows in reasons.get(place, {"missing": mask}).items():
            if found := int(np.count_nonzero(rows)):
                counts[feature.name, reason] = found
                if feature.missing == "reject":
                    for row in np.flatnonzero(rows).tolist():
                        rejected.setdefault(row, RejectedRow(row, feature.name, reason))
        if feature.missing == "reject":
            absent[:, place] = False
        else:
            fill(columns, feature, mask)
    return Resolution(ages, absent, sorted(rejected.values()), counts)


def _age_limit_ms(feature: Feature) -> int:
    return _NO_LIMIT if feature.max_age_s is None else round(feature.max_age_s * 1000)


def absences(columns: Columns) -> NDArray[np.bool_]:
    """[rows, len(layout.names)]: True where a value is missing; a vector counts as missing when any element is NaN."""
    layout = columns.layout
    absent = np.empty((columns.rows, len(layout.names)), np.bool_)
    first, second = len(layout.floats), len(layout.floats) + len(layout.integers)
    np.isnan(columns.floats, out=absent[:, :first])
    np.equal(columns.integers, MISSING_INTEGER, out=absent[:, first:second])
    for place, column in enumerate(columns.categories, start=second):
        np.less(column.codes, 0, out=absent[:, place])
    for place, vector in enumerate(columns.vectors, start=second + len(layout.categories)):
        np.isnan(vector).any(axis=1, out=absent[:, place])
    return absent


def fill(columns: Columns, feature: Feature, rows: NDArray[np.bool_]) -> None:
    """Give the feature its default in `rows`, or make it missing there where the catalogue has none. In place."""
    layout, name = columns.layout, feature.name
    default = feature.default if feature.missing == "default" else None
    match feature.type.kind:
        case "float":
            columns.floats[rows, layout.floats.index(name)] = np.nan if default is None else default
        case "int" | "bool":
            columns.integers[rows, layout.integers.index(name)] = MISSING_INTEGER if default is None else default
        case "vector":
            place = [known for known, _ in layout.vectors].index(name)
            columns.vectors[place][rows] = np.nan if default is None else default
        case "category":
            place = layout.categories.index(name)
            column = columns.categories[place]
            values, code = column.values, -1
            if default is not None:
                if default not in values:
                    values = (*values, str(default))
                code = values.index(str(default))
            codes = np.where(rows, np.int32(code), column.codes)
            columns.categories = (
                *columns.categories[:place],
                Category(codes, values),
                *columns.categories[place + 1 :],
            )
