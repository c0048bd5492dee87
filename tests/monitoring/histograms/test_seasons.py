"""A feature with a season is silent through its days and weeks, and found out when it leaves them."""

from __future__ import annotations

import numpy as np
import pytest
from histogram_streams import ROWS, Feature, watch
from numpy.typing import NDArray

from penstock.schemas.seasons import DAY_MS

REFERENCE, LATER = 200, 120
DAYS = {"day": 6.0, "week": 21.0}


def stretch(kind: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rows = (REFERENCE + LATER) * ROWS
    times = (np.arange(rows) * (DAYS[kind] * DAY_MS / (REFERENCE * ROWS))).astype(np.int64)
    phase = times / DAY_MS / (1 if kind == "day" else 7)
    noise = np.random.default_rng(3).normal(size=rows)
    return times, 20 + np.sin(2 * np.pi * phase) + noise * np.exp(0.2 * np.cos(2 * np.pi * phase))


@pytest.mark.parametrize("kind", ["day", "week"])
@pytest.mark.parametrize(("change", "within"), [(0.0, None), (0.5, 3)])
def test_a_season_is_no_drift_and_hides_none(kind: str, change: float, within: int | None) -> None:
    times, values = stretch(kind)
    reference = slice(0, REFERENCE * ROWS)
    feature = Feature("x", values[reference], times[reference])
    assert feature.signal.season is not None
    monitor, first = watch(feature), None
    for segment in range(REFERENCE, REFERENCE + LATER):
        rows = slice(segment * ROWS, (segment + 1) * ROWS)
        later = values[rows] + change * (segment >= REFERENCE + 40)
        counts = {feature.signal.name: feature.counts(later, times[rows])}
        if monitor.update(counts, rows=ROWS, time_ms=int(times[rows][ROWS // 2])):
            first = segment - REFERENCE - 40 + 1
            break
    if within is None:
        assert first is None
    else:
        assert first is not None
        assert 1 <= first <= within
