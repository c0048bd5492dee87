"""Cells: rows and losses by time bucket and group of keys, of a candidate against what it is compared with.

Sums of integers, so that adding and merging them in any order comes to the same, bit by bit; what a verdict needs of
a bucket is worked out once, when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.schemas.comparison import CellSums
from penstock.schemas.gates import KEY_GROUPS
from penstock.schemas.summaries import FIXED_POINT

_FRACTION = FIXED_POINT.bit_length() - 1
CHAMPION, CANDIDATE = 0, 1
"""The arms of what is not paired."""

Floats = NDArray[np.float64]


class Stratum(NamedTuple):
    """What a verdict needs of one cluster in time: a bucket, or a block.

    rows           of the candidate
    weight         what its difference is worth: its rows when paired, else n₀ n₁ / (n₀ + n₁)
    difference     of the mean losses in it: the candidate's minus the champion's
    group_rows     [arms, 64]
    group_weights  [64] each group's part of the weight
    group_sums     [64] paired: sums of the differences; else each group's part of weight × difference, centred
    scatter        Σ over the groups of the squared deviations of their sums, whose expectation is
    scattered      times the variance of one row's loss
    """

    rows: float
    weight: float
    difference: float
    group_rows: Floats
    group_weights: Floats
    group_sums: Floats
    scatter: float
    scattered: float


class CellsState(msgspec.Struct, frozen=True):
    """A snapshot: `rows` [buckets, arms, 64] and `losses` [buckets, arms, 64, 2] as little-endian int64."""

    width_ms: int
    arms: int
    buckets: list[int]
    excluded: list[int]
    rows: bytes
    losses: bytes


class _Bucket(NamedTuple):
    """rows [arms, 64], losses [arms, 64, 2] with fractions in [0, 2^32)."""

    rows: NDArray[np.int64]
    losses: NDArray[np.int64]


class Cells:
    """What one test looks at. Paired: one arm, whose loss is the candidate's minus the champion's on the same rows.

    `width_ms` is the length of a time bucket. It must be as long as what makes rows alike lasts: days where days
    differ.

    >>> ones = CellSums(np.ones(64, np.int64), np.stack([np.ones(64, np.int64), np.zeros(64, np.int64)], 1))
    >>> cells = Cells(86_400_000)
    >>> cells.add(0, ones)
    >>> cells.add(0, ones)
    >>> [(stratum.rows, stratum.difference) for stratum in cells.strata(86_400_000)]
    [(128.0, 1.0)]
    """

    def __init__(self, width_ms: int, *, paired: bool = True) -> None:
        self.width_ms = width_ms
        self.paired = paired
        self._arms = 1 if paired else 2
        self._buckets: dict[int, _Bucket] = {}
        self._excluded: set[int] = set()
        self._strata: dict[int, Stratum | None] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def add(self, bucket: int, sums: CellSums, arm: int = CHAMPION) -> None:
        """Rows of the bucket that starts at `bucket` (Unix ms); `arm` matters only to what is not paired."""
        self._add(bucket, arm, sums.rows, sums.losses)

    def add_arms(self, bucket: int, champion: CellSums | None, candidate: CellSums | None) -> None:
        """Rows of both arms, each its own. Raises ValueError where the cells are paired."""
        if self.paired:
            raise ValueError("paired cells have no arms")
        for arm, sums in ((CHAMPION, champion), (CANDIDATE, candidate)):
            if sums is not None:
                self._add(bucket, arm, sums.rows, sums.losses)

    def _add(self, bucket: int, arm: int | slice, rows: NDArray[np.int64], losses: NDArray[np.int64]) -> None:
        if (known := self._buckets.get(bucket)) is None:
            shape = (self._arms, KEY_GROUPS)
            known = self._buckets[bucket] = _Bucket(np.zeros(shape, np.int64), np.zeros((*shape, 2), np.int64))
        known.rows[arm] += rows
        summed = known.losses[arm]
        summed += losses
        summed[..., 0] += summed[..., 1] >> _FRACTION
        summed[..., 1] &= FIXED_POINT - 1
        self._strata.pop(bucket, None)

    def merge(self, other: Cells) -> None:
        """All rows of the other, too. Raises ValueError where it is of another kind."""
        if (other.paired, other.width_ms) != (self.paired, self.width_ms):
            raise ValueError("cells of another kind cannot be merged")
        for bucket, counts in other._buckets.items():
            self._add(bucket, slice(None), counts.rows, counts.losses)
        self._excluded |= other._excluded

    def exclude(self, bucket: int) -> None:
        """Leave this bucket out: the share of the candidate changed within it.

        Before and after such a change its arms have rows of different hours, so that a base rate that moves within the
        bucket passes for a difference of the models. Paired rows do not mind.
        """
        self._excluded.add(bucket)

    def forget(self, before: int) -> None:
        """Drop the buckets that ended by then (Unix ms)."""
        for bucket in [bucket for bucket in self._buckets if bucket + self.width_ms <= before]:
            del self._buckets[bucket]
            self._strata.pop(bucket, None)
        self._excluded = {bucket for bucket in self._excluded if bucket + self.width_ms > before}

    def reversed(self) -> Cells:
        """The same with the roles of candidate and champion swapped."""
        swapped = Cells(self.width_ms, paired=self.paired)
        for bucket, counts in self._buckets.items():
            losses = -counts.losses if self.paired else counts.losses[::-1]
            swapped._add(bucket, slice(None), counts.rows[::-1], losses)
        swapped._excluded = set(self._excluded)
        return swapped

    def strata(self, matured_before: int) -> list[Stratum]:
        """Of the buckets that ended by `matured_before` (Unix ms) and have rows of every arm, in order of time."""
        found = []
        for bucket in sorted(self._buckets):
            if bucket + self.width_ms > matured_before:
                break
            if bucket in self._excluded:
                continue
            if bucket not in self._strata:
                counts = self._buckets[bucket]
                self._strata[bucket] = stratum(counts.rows, counts.losses)
            if (one := self._strata[bucket]) is not None:
                found.append(one)
        return found

    def state(self) -> CellsState:
        buckets = sorted(self._buckets)
        every = [self._buckets[bucket] for bucket in buckets]
        return CellsState(
            self.width_ms,
            self._arms,
            buckets,
            sorted(self._excluded),
            b"".join(counts.rows.astype("<i8").tobytes() for counts in every),
            b"".join(counts.losses.astype("<i8").tobytes() for counts in every),
        )

    @classmethod
    def restored(cls, state: CellsState) -> Cells:
        """What `state` was taken of. Raises ValueError where the arrays have not the size of the buckets."""
        cells = cls(state.width_ms, paired=state.arms == 1)
        shape = (len(state.buckets), state.arms, KEY_GROUPS)
        rows = np.frombuffer(state.rows, "<i8").reshape(shape)
        losses = np.frombuffer(state.losses, "<i8").reshape(*shape, 2)
        for at, bucket in enumerate(state.buckets):
            cells._add(bucket, slice(None), rows[at], losses[at])
        cells._excluded = set(state.excluded)
        return cells


def total(several: Iterable[CellSums]) -> CellSums | None:
    """The cells of all rows together; None without any: of a block whose rows lie in two time buckets, say."""
    every = list(several)
    if not every:
        return None
    rows = np.sum([sums.rows for sums in every], axis=0)
    losses = np.sum([sums.losses for sums in every], axis=0)
    losses[:, 0] += losses[:, 1] >> _FRACTION
    losses[:, 1] &= FIXED_POINT - 1
    return CellSums(rows, losses)


def stratum(rows: NDArray[np.int64], losses: NDArray[np.int64]) -> Stratum | None:
    """From rows [arms, 64] and losses [arms, 64, 2]; None where an arm has no rows.

    Comparing the arms within buckets, and weighing the buckets' differences by n₀ n₁ / (n₀ + n₁), keeps a ramp of
    the share under a changing base rate honest (stratification; Cochran 1954).
    """
    n = rows.astype(np.float64)
    y = losses[..., 0] + losses[..., 1] / FIXED_POINT
    rows_of = n.sum(1)
    if not rows_of.all():
        return None
    means = y.sum(1) / rows_of
    centred = y - n * means[:, None]
    scatter = float((centred * centred).sum())
    if len(n) == 1:
        count = float(rows_of[0])
        return Stratum(count, count, float(means[0]), n, n[0], y[0], scatter, count)
    weight = float(rows_of[CHAMPION] * rows_of[CANDIDATE] / rows_of.sum())
    of_one = (weight / rows_of)[:, None]
    parts = centred * of_one
    return Stratum(
        float(rows_of[CANDIDATE]),
        weight,
        float(means[CANDIDATE] - means[CHAMPION]),
        n,
        (n * of_one * of_one).sum(0),
        parts[CANDIDATE] - parts[CHAMPION],
        scatter,
        float(rows_of.sum()),
    )
