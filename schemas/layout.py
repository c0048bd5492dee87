"""What features are and where each lies in the columns of a window. Without numpy: settings and commands start fast."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

Kind = Literal["float", "int", "bool", "category", "vector"]

MISSING_INTEGER = -(2**63)
"""The value of a missing int or bool: the one int64 that no event can carry (decoders reject it)."""

_VECTOR = re.compile(r"vector\((\d+)\)")


class FeatureType(NamedTuple):
    """A feature's type as the catalogue writes it: float, int, bool, category or vector(n).

    >>> FeatureType.parse("vector(8)")
    FeatureType(kind='vector', width=8)
    >>> str(FeatureType.parse("category"))
    'category'
    """

    kind: Kind
    width: int = 1

    @classmethod
    def parse(cls, text: str) -> FeatureType:
        """Raises ValueError when `text` names no type."""
        match text:
            case "float" | "int" | "bool" | "category":
                return cls(text)
        found = _VECTOR.fullmatch(text)
        if found is None or not 1 <= int(found[1]) <= 4096:
            raise ValueError(f"{text!r} is no feature type: float, int, bool, category or vector(1…4096)")
        return cls("vector", int(found[1]))

    def __str__(self) -> str:
        return f"vector({self.width})" if self.kind == "vector" else self.kind


@dataclass(frozen=True)
class Layout:
    """Where each feature lies. Names are unique over all four groups.

    `integers` holds int and bool features; `vectors` maps names to widths.
    """

    floats: tuple[str, ...] = ()
    integers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    vectors: tuple[tuple[str, int], ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All features, in the order in which masks and reports number them."""
        return (*self.floats, *self.integers, *self.categories, *(name for name, _ in self.vectors))
