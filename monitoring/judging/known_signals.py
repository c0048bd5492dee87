"""What a reference profile knows of the signals in a summary: how each was binned, and its reference for a monitor."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.counting.binning import Binning, log_signal
from penstock.monitoring.histograms.reference import HistogramReference, fit_reference
from penstock.schemas.columns import Layout
from penstock.schemas.profile import SLOTS, CategoryProfile, NumericProfile, ReferenceProfile
from penstock.schemas.summaries import Signal

FEWEST_SEGMENTS = 50
"""Of a reference: with fewer, the dispersion between segments cannot be told (`drift-design`: 32 times the budget)."""


class KnownSignals:
    """One profile, or none, against one length of segments.

    Segments of the profile that are shorter than the stream's are joined; longer ones serve as they are: dispersion is
    that of the long run, and everything else counts per row.
    """

    def __init__(
        self,
        profile: ReferenceProfile | None,
        segment_rows: int,
        *,
        sensitive: Collection[str] = (),
        seasonal: bool = True,
    ) -> None:
        self._profile, self._segment_rows, self._seasonal = profile, segment_rows, seasonal
        self._binning = Binning.of(_layout_of(profile), (), profile, reference="", sensitive=sensitive)
        self._sensitive = frozenset(sensitive)

    def signal(self, name: str, slots: int) -> Signal:
        """How the signal was binned, judged by its name and its number of slots."""
        try:
            known = self._binning.signal(name)
        except KeyError:
            known = None
        if known is not None and _slots_of(known) == slots:
            return known
        sensitive = name.partition(":")[2] in self._sensitive
        if slots == SLOTS and not name.startswith("class:"):
            return log_signal(name, sensitive=sensitive)
        values = tuple(str(value) for value in range(slots - 2))
        return Signal(name, "categories", np.empty(0), values, sensitive=sensitive)

    def is_coarse(self, name: str, slots: int) -> bool:
        """Whether the signal is a number in logarithmic bins, for want of a profile."""
        return self.signal(name, slots).scale == "log"

    def reference(self, signal: Signal) -> HistogramReference | None:
        """None where the profile says nothing of the signal, or too little: then the stream must teach it."""
        column = self.column(signal.name)
        if self._profile is None or column is None or column.counts.shape[1] != _slots_of(signal):
            return None
        counts, times = _joined(column.counts.astype(np.int64), self._profile, self._segment_rows)
        if len(counts) < FEWEST_SEGMENTS:
            return None
        mean = deviation = float("nan")
        if isinstance(column, NumericProfile):
            mean, deviation = column.moments.mean, column.moments.deviation
        reference = fit_reference(counts, signal, times if self._seasonal else None, mean=mean, deviation=deviation)
        return reference if reference.segments else None

    def column(self, name: str) -> NumericProfile | CategoryProfile | None:
        """The profile of what the signal counts."""
        if self._profile is None:
            return None
        kind, _, subject = name.partition(":")
        if kind == "feature":
            return self._profile.features.get(subject)
        return self._profile.scores if kind == "score" else None


def _joined(
    counts: NDArray[np.int64], profile: ReferenceProfile, segment_rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Counts per segment of about `segment_rows` rows, and the segments' middle times where they are known."""
    each = max(1, min(round(segment_rows / profile.segment_rows), len(counts) // FEWEST_SEGMENTS))
    starts = np.arange(0, len(counts), each)
    joined = np.add.reduceat(counts, starts, axis=0)
    if not len(profile.segment_times):
        return joined, None
    ends = np.minimum(starts + each, len(counts)) - 1
    return joined, (profile.segment_times[starts, 0] + profile.segment_times[ends, 1]) // 2


def _layout_of(profile: ReferenceProfile | None) -> Layout:
    """The features of a profile; a vector too wide for its sample passes for its norm, as which it is binned."""
    if profile is None:
        return Layout()
    sampled = profile.sample.numbers
    vectors = {name: values.shape[1] for name, values in sampled.items() if values.ndim > 1}
    numbers = [name for name, column in profile.features.items() if isinstance(column, NumericProfile)]
    return Layout(
        floats=tuple(name for name in numbers if name not in vectors),
        categories=tuple(name for name, column in profile.features.items() if isinstance(column, CategoryProfile)),
        vectors=tuple(vectors.items()),
    )


def _slots_of(signal: Signal) -> int:
    return len(signal.values) + 2 if signal.scale == "categories" else SLOTS
