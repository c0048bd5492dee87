"""Rows by group: exact sums over time bucket, model, slice and the like, columnar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.quality.slices import Sliced
from penstock.schemas.summaries import FIXED_POINT

_Type = TypeVar("_Type", np.float64, np.intp)


class Factor(NamedTuple):
    """One thing that tells rows apart.

    codes   [rows] into values; or one code, where the rows share it
    values  int or str
    """

    codes: NDArray[np.integer] | int
    values: Sequence[int] | Sequence[str]


def buckets(times: NDArray[np.int64], bucket_ms: int) -> Factor:
    """The time buckets of the rows, by their start."""
    found, codes = distinct(times // bucket_ms)
    return Factor(codes, [start * bucket_ms for start in found.tolist()])


def distinct(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The values that there are, and which of them stands in each row; nearly always there is one."""
    if (values == values[:1]).all():
        return values[:1], np.zeros(len(values), np.intp)
    return np.unique(values, return_inverse=True)


@dataclass(frozen=True, slots=True)
class Grouped:
    """Each row once for every group that it is in; at most 65,535 rows.

    codes   [entries] into keys
    keys    the groups that hold rows: one value per factor, then the slice; in the order of the factors' values
    copies  how often the rows stand there, one after the other
    """

    codes: NDArray[np.intp]
    keys: list[tuple[int | str, ...]]
    copies: int

    @classmethod
    def by(cls, factors: Sequence[Factor], slices: Sequence[Sliced], rows: NDArray[np.intp] | slice) -> Grouped:
        """Group rows by all factors together, and then by slice: "" is every row.

        `rows` are those of the slices' rows that are grouped; the factors' codes are of these rows alone.
        """
        base: NDArray[np.integer] | int = 0
        size = 1
        for codes, values in factors:
            base = base * len(values) + codes
            size *= len(values)
        names = ["", *(name for sliced in slices for name in sliced.names)]
        base = np.asarray(base, np.intp) * len(names)
        families, offset = [base], 1
        for sliced in slices:
            families.append(base + (sliced.codes[rows] + offset))
            offset += len(sliced.names)
        cells = families[0] if len(families) == 1 else np.concatenate(families)
        used = np.bincount(cells, minlength=size * len(names)) > 0
        keys = []
        for cell in np.nonzero(used)[0].tolist():
            rest, name = divmod(cell, len(names))
            key: list[int | str] = [names[name]]
            for _, values in reversed(factors):
                rest, at = divmod(rest, len(values))
                key.append(values[at])
            keys.append(tuple(reversed(key)))
        return cls((np.cumsum(used) - 1)[cells], keys, len(families))

    def rows(self) -> NDArray[np.int64]:
        """Per group, [groups]."""
        return np.bincount(self.codes, minlength=len(self.keys))

    def count(self, kinds: NDArray[np.intp], of: int) -> NDArray[np.int64]:
        """Rows per group and kind, [groups, of]; `kinds` [rows] < of."""
        return np.bincount(self._cells(kinds, of), minlength=len(self.keys) * of).reshape(-1, of)

    def sum(self, values: NDArray[np.float64], kinds: NDArray[np.intp] | None = None, of: int = 1) -> NDArray[np.int64]:
        """Fixed-point sums per group and kind, [groups, of]. Exact: |values| ≤ 8, rows ≤ 65,535: below 2^53."""
        return self._wholes(np.rint(values * FIXED_POINT), kinds, of)

    def halves(
        self, values: NDArray[np.float64], kinds: NDArray[np.intp] | None = None, of: int = 1
    ) -> NDArray[np.int64]:
        """The same for |values| ≤ 2^37, whose sums may outgrow 64 bits: wholes and fractions apart, [groups, of, 2]."""
        wholes = np.floor(values)
        return np.stack((self._wholes(wholes, kinds, of), self.sum(values - wholes, kinds, of)), axis=-1)

    def sum_large(self, values: NDArray[np.float64]) -> list[int]:
        """Fixed-point sums per group of |values| ≤ 2^37, [groups]."""
        wholes = np.floor(values)
        highs, lows = self._wholes(wholes, None, 1)[:, 0].tolist(), self.sum(values - wholes)[:, 0].tolist()
        return [high * FIXED_POINT + low for high, low in zip(highs, lows, strict=True)]

    def _wholes(self, wholes: NDArray[np.float64], kinds: NDArray[np.intp] | None, of: int) -> NDArray[np.int64]:
        cells = self.codes if kinds is None else self._cells(kinds, of)
        sums = np.bincount(cells, self._each(wholes), len(self.keys) * of)
        return sums.astype(np.int64).reshape(-1, of)

    def _cells(self, kinds: NDArray[np.intp], of: int) -> NDArray[np.intp]:
        return self.codes * of + self._each(kinds)

    def _each(self, values: NDArray[_Type]) -> NDArray[_Type]:
        return values if self.copies == 1 else np.concatenate([values] * self.copies)
