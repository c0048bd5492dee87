"""Slices: parts of the stream by a feature's value, whose quality is told apart."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.schemas.columns import MISSING_INTEGER, Category, Columns
from penstock.schemas.profile import CategoryProfile, ReferenceProfile

SLICES = 20
"""Values of a feature that are told apart; the rest goes together."""
OTHER, MISSING = "…other", "…missing"


class Sliced(NamedTuple):
    """One feature's slices. `codes` [rows] index into `names`, which are FEATURE=VALUE."""

    feature: str
    codes: NDArray[np.intp]
    names: tuple[str, ...]


def of_features(sliced: Iterable[Sliced], features: Collection[str]) -> list[Sliced]:
    """Those of these features."""
    return [one for one in sliced if one.feature in features]


class Slices:
    """Which values of which features are slices of their own: those given, then those seen first, up to 20 a feature.

    `values` is all there is to keep: feature → values, in order.

    >>> from penstock.schemas.columns import Layout
    >>> slices = Slices({"origin": ["JFK"]})
    >>> columns = Columns.missing(Layout(categories=("origin",)), 3)
    >>> columns.categories = (Category(np.array([0, 1, -1], np.int32), ("LGA", "JFK")),)
    >>> [sliced] = slices.of(columns)
    >>> [sliced.names[code] for code in sliced.codes]
    ['origin=LGA', 'origin=JFK', 'origin=…missing']
    >>> slices.values
    {'origin': ['JFK', 'LGA']}
    """

    def __init__(self, values: Mapping[str, Iterable[str]]) -> None:
        self.values = {feature: list(known)[:SLICES] for feature, known in values.items()}

    @classmethod
    def profiled(cls, features: Iterable[str], profile: ReferenceProfile | None) -> Slices:
        """Slices by these features; first come the values that are frequent in the profile, where it has the feature.

        >>> Slices.profiled(["origin"], None).values
        {'origin': []}
        """
        profiles = profile.features if profile else {}
        known = {feature: profiles.get(feature) for feature in features}
        return cls({name: found.values if isinstance(found, CategoryProfile) else () for name, found in known.items()})

    def of(self, columns: Columns) -> list[Sliced]:
        """Each feature's slices; values that are new join the known ones. A feature that is not there is missing."""
        return [self._sliced(feature, known, columns) for feature, known in self.values.items()]

    def _sliced(self, feature: str, known: list[str], columns: Columns) -> Sliced:
        codes, values = _category(feature, columns)
        if len(known) < SLICES and not set(values) <= set(known):
            self._learn(known, codes, values)
        at = {value: code for code, value in enumerate(known)}
        table = np.array([*(at.get(value, len(known)) for value in values), len(known) + 1], np.intp)
        return Sliced(feature, table[codes], tuple(f"{feature}={value}" for value in (*known, OTHER, MISSING)))

    @staticmethod
    def _learn(known: list[str], codes: NDArray[np.integer], values: Sequence[str]) -> None:
        seen, first = np.unique(codes, return_index=True)
        for code in seen[np.argsort(first)].tolist():
            if len(known) < SLICES and code >= 0 and values[code] not in known:
                known.append(values[code])


def _category(feature: str, columns: Columns) -> Category:
    layout = columns.layout
    if feature in layout.categories:
        return columns.categories[layout.categories.index(feature)]
    if feature not in layout.integers:
        return Category(np.full(columns.rows, -1, np.int32), ())
    numbers, codes = np.unique(columns.integers[:, layout.integers.index(feature)], return_inverse=True)
    missing = int(len(numbers) > 0 and numbers[0] == MISSING_INTEGER)  # the lowest there is
    return Category((codes - missing).astype(np.int32), tuple(map(str, numbers[missing:].tolist())))
