"""Named projections of a segment's counts: what detectors of numbers see of a histogram."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.alarms import Aspect
from penstock.monitoring.histograms.learning import moments
from penstock.schemas.profile import MISSING, CategoryProfile, NumericProfile
from penstock.schemas.summaries import FIXED_POINT, Signal, SignalCounts


class Projection(NamedTuple):
    """One number per segment. `aspect` is what an alarm about it says, `figure` what it is called."""

    aspect: Aspect
    figure: str
    value: float


def projections(signal: Signal, counts: SignalCounts) -> list[Projection]:
    """Mean, spread and missing share of numbers; unseen and missing share of categories. NaN where there is none.

    >>> signal = Signal("feature:x", "categories", np.empty(0), values=("a",))
    >>> projections(signal, SignalCounts(np.array([6, 3, 1])))  # doctest: +NORMALIZE_WHITESPACE
    [Projection(aspect='unseen', figure='unseen', value=0.3),
     Projection(aspect='missing', figure='missing', value=0.1)]
    """
    rows = int(counts.slots.sum())
    if signal.scale == "categories":
        unseen, missing = counts.slots[-2:].tolist()
        return [
            Projection("unseen", "unseen", _share(unseen, rows)),
            Projection("missing", "missing", _share(missing, rows)),
        ]
    mean, deviation = moments(signal, counts.finite, counts.sum_z / FIXED_POINT, counts.sum_z2 / FIXED_POINT)
    return [
        Projection("location", "mean", mean),
        Projection("spread", "deviation", deviation),
        Projection("missing", "missing", _share(int(counts.slots[MISSING]), rows)),
    ]


def reference_of(column: NumericProfile | CategoryProfile | None, aspect: Aspect) -> NDArray[np.float64] | None:
    """The same number for each segment of the reference, [m]; None where the profile does not know it."""
    if column is None:
        return None
    if isinstance(column, NumericProfile) and aspect in ("location", "spread"):
        return column.means if aspect == "location" else column.deviations
    slot = {"unseen": -2, "missing": -1}[aspect] if isinstance(column, CategoryProfile) else MISSING
    rows = column.counts.sum(axis=1, dtype=np.int64)
    shares: NDArray[np.float64] = column.counts[:, slot] / np.maximum(rows, 1)
    return shares


def _share(some: int, of: int) -> float:
    return some / of if of else float("nan")
