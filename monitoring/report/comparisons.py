"""Comparisons of a stretch, folded as they are read: time buckets into few, slices into the whole stretch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from penstock.schemas.comparison import (
    ComparisonSummary,
    LabelledPair,
    PairGroup,
    PairSums,
    merge_labelled,
    merge_pair_sums,
)

_Sums = TypeVar("_Sums")

_WHOLE = 0
"""The bucket of what is not told apart by time."""


class Comparisons:
    """The sums of all comparisons, at once and at maturity; each is to be added once.

    Of every row, the buckets are kept, joined when they become more than `max_buckets`; of slices only the whole.
    """

    def __init__(self, ladder: tuple[int, ...], max_buckets: int) -> None:
        self._ladder, self._max_buckets, self._step = ladder, max_buckets, -1
        self._pairs: dict[PairGroup, PairSums] = {}
        self._labelled: dict[PairGroup, LabelledPair] = {}
        self._latencies: dict[str, tuple[int, int]] = {}

    def add(self, summary: ComparisonSummary) -> None:
        self._fold(merge_pair_sums, self._pairs, summary.pairs)
        self._fold(merge_labelled, self._labelled, summary.labelled)
        for model, (rows, us) in summary.latencies.items():
            before = self._latencies.get(model, (0, 0))
            self._latencies[model] = before[0] + rows, before[1] + us
        while self._count() > self._max_buckets and self._step + 1 < len(self._ladder):
            self._step += 1
            finer, self._pairs = self._pairs, {}
            self._fold(merge_pair_sums, self._pairs, finer)
            finer_labelled, self._labelled = self._labelled, {}
            self._fold(merge_labelled, self._labelled, finer_labelled)

    def merged(self) -> ComparisonSummary | None:
        """All of it as one; None where nothing was compared. Segments, offsets and times mean nothing in it."""
        if not self._pairs and not self._labelled:
            return None
        return ComparisonSummary(
            partition=0, segment=0, part=0, complete=True, first_offset=0, last_offset=0, event_times=(0, 0),
            watermark=0, mature=bool(self._labelled), pairs=self._pairs, labelled=self._labelled, cells={},
            latencies=self._latencies,
        )  # fmt: skip

    def _fold(
        self,
        merge: Callable[[_Sums, _Sums], _Sums],
        into: dict[PairGroup, _Sums],
        groups: Mapping[PairGroup, _Sums],
    ) -> None:
        for (bucket, candidate, served, name), sums in groups.items():
            group = _WHOLE if name else self._start(bucket), candidate, served, name
            into[group] = merge(into[group], sums) if group in into else sums

    def _start(self, bucket: int) -> int:
        return bucket if self._step < 0 else bucket // self._ladder[self._step] * self._ladder[self._step]

    def _count(self) -> int:
        return len({group[0] for group in self._pairs.keys() | self._labelled.keys() if not group[3]})
