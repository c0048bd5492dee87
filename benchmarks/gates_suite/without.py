"""What becomes of the bounds when a part of the gate is left out."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri

from penstock.monitoring.gates.bounds import student, tuned_bound
from penstock.monitoring.gates.cells import CANDIDATE, CHAMPION, Cells
from penstock.monitoring.gates.estimate import Bounds, Estimate, Source

NOTHING, PEEKING, NORMAL, NO_GROUPS, ROWS, POOLED = (
    "primary metric at all of α",
    "naive peeking",
    "no t quantile",
    "no key groups",
    "rows as clusters",
    "pooled over time",
)


def bounds_without(cells: Cells, seen: Estimate, source: Source, alpha: float, tune: float) -> dict[str, Bounds]:
    """Name of what is left out → bounds.

    naive peeking      a test for one look, at every look
    no t quantile      the mixture bound as it is, whatever the number of clusters
    no key groups      time buckets as the only clusters
    rows as clusters   every row independent
    pooled over time   the arms' means over all rows, not compared within buckets; every row independent
    """
    z = tuned_bound(seen.information, tune, alpha)
    error = max(seen.time_error, seen.key_error)
    of_rows = seen.deviation / math.sqrt(seen.information)
    found = {
        PEEKING: _around(seen.difference, -float(ndtri(alpha)) * error),
        NORMAL: _around(seen.difference, z * error),
        NO_GROUPS: _around(seen.difference, student(z, seen.time_degrees) * seen.time_error),
        ROWS: _around(seen.difference, z * of_rows),
    }
    if source == "canary":
        found[POOLED] = _around(_pooled(cells), z * of_rows)
    return found


def _around(middle: float, half: float) -> Bounds:
    return Bounds(middle - half, middle + half)


def _pooled(cells: Cells) -> float:
    state = cells.state()
    shape = (len(state.buckets), 2, -1)
    rows = np.frombuffer(state.rows, "<i8").reshape(shape).sum((0, 2))
    losses = np.frombuffer(state.losses, "<i8").reshape(*shape, 2).sum((0, 2))
    sums = losses @ np.array([1.0, 2.0**-32])
    return float(sums[CANDIDATE] / rows[CANDIDATE] - sums[CHAMPION] / rows[CHAMPION])
