"""The loops over a segment's values, compiled once and cached: the only place that knows numba.

Each treats a row by itself and sums integers, so that results depend neither on where a run of rows is cut nor on the
processor: no fast-math, no BLAS, whose sums take another order for other shapes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, float64, int64, njit, void
from numba.types import Array
from numpy.typing import NDArray

from penstock.schemas.profile import BINS, INVALID, MISSING, OVER, UNDER
from penstock.schemas.summaries import CLIP, FIXED_POINT

_UNIT = float(FIXED_POINT)
_READ_ONLY = Array(float32, 2, "C", readonly=True)


def _count_numbers(
    values: NDArray[np.float64],
    edges: NDArray[np.float64],
    used: NDArray[np.int64],
    scaling: NDArray[np.float64],
    season: NDArray[np.int64],
    shifts: NDArray[np.float64],
    phases: NDArray[np.int64],
    slots: NDArray[np.int64],
    sums: NDArray[np.int64],
    extremes: NDArray[np.float64],
) -> None:
    """Count [signals, rows] values; `slots`, `sums` and `extremes` are written.

    edges     [signals, 32] ascending, the unused ones at the end infinite; used [signals] says how many are not
    scaling   [signals, 4] centre, 1 / spread, lowest and highest value of the catalogue's range
    season    [signals] row of `shifts`, or -1
    shifts    [seasonal signals, phases of the week, 2] what is taken from a value, and what it is then divided by
    phases    [rows]
    slots     [signals, 36]
    sums      [signals, 3] Σz and Σz² in fixed point, values out of range
    extremes  [signals, 2] lowest and highest finite value
    """
    for signal in range(values.shape[0]):
        bounds = edges[signal]
        first = bounds[0] if used[signal] else -np.inf
        centre, inverse, allowed_from, allowed_to = (
            scaling[signal, 0], scaling[signal, 1], scaling[signal, 2], scaling[signal, 3],
        )  # fmt: skip
        counted = np.zeros(BINS + 1, np.int64)
        missing = invalid = under = outside = 0
        total = squares = np.int64(0)
        lowest, highest = np.inf, -np.inf
        for row in range(values.shape[1]):
            value = values[signal, row]
            if value - value != 0.0:
                if value != value:
                    missing += 1
                else:
                    invalid += 1
                continue
            z = min(max((value - centre) * inverse, -CLIP), CLIP)
            total += np.int64(np.rint(z * _UNIT))
            squares += np.int64(np.rint(z * z * _UNIT))
            lowest, highest = min(lowest, value), max(highest, value)
            outside += (value < allowed_from) | (value > allowed_to)
            if season[signal] >= 0:
                mu, sigma = shifts[season[signal], phases[row], 0], shifts[season[signal], phases[row], 1]
                value = (value - mu) / sigma
            below = 16 * (bounds[15] < value)  # how many edges: a binary search without a branch to mispredict
            below += 8 * (bounds[below + 7] < value)
            below += 4 * (bounds[below + 3] < value)
            below += 2 * (bounds[below + 1] < value)
            below += bounds[below] < value
            below += bounds[below] < value
            counted[below] += 1
            under += value < first
        slots[signal, :BINS] = counted[:BINS]
        slots[signal, 0] -= under
        if used[signal] < BINS:
            slots[signal, used[signal]] = 0
        slots[signal, UNDER] = under
        slots[signal, OVER] = counted[used[signal]]
        slots[signal, MISSING] = missing
        slots[signal, INVALID] = invalid
        sums[signal, 0], sums[signal, 1], sums[signal, 2] = total, squares, outside
        extremes[signal, 0], extremes[signal, 1] = lowest, highest


def _observe_times(
    times: NDArray[np.int64], timestamps: NDArray[np.int64], limits: NDArray[np.int64], seen: NDArray[np.int64]
) -> None:
    """Follow the watermark through [rows] event times; a time too far in the future becomes the broker's, in place.

    limits  how far in the future and how far out of order a time may be, ms
    seen    [5] the watermark before and after, late rows, rows with a bad time, first and last time; is written
    """
    watermark, late, bad = seen[0], 0, 0
    for row in range(len(times)):
        if timestamps[row] >= 0 and times[row] - limits[0] > timestamps[row]:
            bad += 1
            times[row] = timestamps[row]
            continue
        late += times[row] < watermark
        watermark = max(watermark, times[row] - limits[1])
    seen[0], seen[1], seen[2] = watermark, late, bad
    seen[3], seen[4] = times.min(), times.max()


def _distances(
    values: NDArray[np.float64], mean: NDArray[np.float64], whitening: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """‖W (x - mean)‖² of each row of [features, rows] values; a value that is not finite stands at the mean.

    whitening  [features, features] lower triangle: the inverse of the Cholesky factor of the covariance
    """
    features, rows = values.shape
    centred = np.empty((features, rows))
    for feature in range(features):
        for row in range(rows):
            value = values[feature, row] - mean[feature]
            centred[feature, row] = value if value - value == 0.0 else 0.0
    out[:] = 0.0
    projected = np.empty(rows)
    for axis in range(features):
        projected[:] = 0.0
        for feature in range(axis + 1):
            weight = whitening[axis, feature]
            for row in range(rows):
                projected[row] += weight * centred[feature, row]
        for row in range(rows):
            out[row] += projected[row] * projected[row]


def _norms(vectors: NDArray[np.float32], out: NDArray[np.float64]) -> None:
    """The Euclidean norm of each row of [rows, width]; NaN where any component is."""
    for row in range(vectors.shape[0]):
        total = 0.0
        for component in range(vectors.shape[1]):
            value = float64(vectors[row, component])
            total += value * value
        out[row] = np.sqrt(total)


def _compiled(signature: Any, function: Any) -> Any:
    return njit(signature, cache=True, nogil=True, error_model="numpy")(function)


_matrix, _floats, _integers = float64[:, ::1], float64[::1], int64[::1]
count_numbers = _compiled(
    void(
        _matrix, _matrix, _integers, _matrix, _integers, float64[:, :, ::1], _integers,
        int64[:, ::1], int64[:, ::1], _matrix,
    ),
    _count_numbers,
)  # fmt: skip
observe_times = _compiled(void(_integers, _integers, _integers, _integers), _observe_times)
distances = _compiled(void(_matrix, _floats, _matrix, _floats), _distances)
norms = _compiled(void(_READ_ONLY, _floats), _norms)
