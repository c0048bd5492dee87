"""Streams of numbers and categories as a monitor of histograms sees them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.models.profiling import profile_numbers
from penstock.monitoring.alarms import Alarm
from penstock.monitoring.histograms.monitor import HistogramMonitor
from penstock.monitoring.histograms.reference import HistogramReference, fit_reference
from penstock.schemas.profile import INVALID, MISSING, SLOTS, slots_of
from penstock.schemas.seasons import at_the_average_hour
from penstock.schemas.summaries import FIXED_POINT, Signal, SignalCounts

ROWS = 500
MINUTE_MS = 60_000


class Feature:
    """One number with a reference profile; `times` are the reference's, one per row, Unix ms."""

    def __init__(self, name: str, reference: NDArray[np.float64], times: NDArray[np.int64] | None = None) -> None:
        profile = profile_numbers(reference, ROWS, times)
        mean, deviation = profile.moments.mean, profile.moments.deviation
        self.signal = Signal(
            f"feature:{name}",
            "bins",
            profile.edges,
            centre=mean if np.isfinite(mean) else 0.0,
            spread=deviation if deviation > 0 else 1.0,
            season=profile.season,
        )
        middles = None if times is None else times[ROWS // 2 :: ROWS][: len(profile.counts)]
        self.reference: HistogramReference = fit_reference(profile.counts, self.signal, middles)

    def counts(self, values: NDArray[np.float64], times: NDArray[np.int64] | None = None) -> SignalCounts:
        finite = values[np.isfinite(values)]
        z = np.clip((finite - self.signal.centre) / self.signal.spread, -16, 16)
        usual = values
        if self.signal.season is not None and times is not None:
            usual = at_the_average_hour(self.signal.season, values, times)
        return SignalCounts(
            np.bincount(slots_of(usual, self.signal.edges), minlength=SLOTS),
            len(finite),
            int(z.sum() * FIXED_POINT),
            int((z * z).sum() * FIXED_POINT),
        )


def watch(*features: Feature, segments_per_alarm: float = 1000.0, among: int = 30) -> HistogramMonitor:
    return HistogramMonitor(
        {feature.signal.name: feature.signal for feature in features},
        {feature.signal.name: feature.reference for feature in features},
        segments_per_alarm=segments_per_alarm,
        features=among,
    )


def one_segment(
    monitor: HistogramMonitor, *pairs: tuple[Feature, NDArray[np.float64]], time_ms: int = 0
) -> list[Alarm]:
    counts = {feature.signal.name: feature.counts(values) for feature, values in pairs}
    return monitor.update(counts, rows=len(pairs[0][1]), time_ms=time_ms)


def whole_slot(slot: int, rows: int = ROWS) -> SignalCounts:
    """Every row is missing, or invalid."""
    slots = np.zeros(SLOTS, np.int64)
    slots[slot] = rows
    return SignalCounts(slots)


ALL_MISSING, ALL_INVALID = whole_slot(MISSING), whole_slot(INVALID)
