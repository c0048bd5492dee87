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

from penstock.schemas.evidence import draw
from penstock.schemas.profile import BINS, INVALID, MISSING, OVER, UNDER
from penstock.schemas.summaries import CLIP, FIXED_POINT

_UNIT = float(FIXED_POINT)
_LAST = np.uint64(2**64 - 1)
_READ_ONLY = Array(float32, 2, "C", readonly=True)


def _count_below(
    column: NDArray[np.float64],
    edges: NDArray[np.float64],
    used: int,
    coarse: NDArray[np.int64],
    counted: NDArray[np.int64],
) -> int:
    """Count rows by the number of edges below them, and return those below the first edge.

    First every fourth edge, which the compiler makes one wide comparison for many rows, then the three in between.
    """
    for row in range(len(column)):
        value = column[row]
        coarse[row] = (
            np.int64(edges[3] < value) + np.int64(edges[7] < value) + np.int64(edges[11] < value)
            + np.int64(edges[15] < value) + np.int64(edges[19] < value) + np.int64(edges[23] < value)
            + np.int64(edges[27] < value) + np.int64(edges[31] < value)
        )  # fmt: skip
    under = 0
    first = edges[0] if used else -np.inf
    for row in range(len(column)):
        value = column[row]
        below = 4 * coarse[row]
        if below < BINS:
            below += (
                np.int64(edges[below] < value) + np.int64(edges[below + 1] < value) + np.int64(edges[below + 2] < value)
            )
        counted[below] += 1
        under += value < first
    return under


_draw = njit(error_model="numpy")(draw)
_place = njit(inline="always", error_model="numpy")(_count_below)


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
    rows = values.shape[1]
    moved, coarse = np.empty(rows), np.empty(rows, np.int64)
    for signal in range(values.shape[0]):
        column = values[signal]
        centre, inverse, allowed_from, allowed_to = (
            scaling[signal, 0], scaling[signal, 1], scaling[signal, 2], scaling[signal, 3],
        )  # fmt: skip
        missing = below_all = above_all = outside = 0
        total = squares = np.int64(0)
        lowest, highest = np.inf, -np.inf
        for row in range(rows):
            value = column[row]
            finite = value - value == 0.0
            missing += value != value
            below_all += value == -np.inf
            above_all += value == np.inf
            z = (value - centre) * inverse if finite else 0.0
            z = -CLIP if z < -CLIP else CLIP if z > CLIP else z
            total += np.int64(np.rint(z * _UNIT))
            squares += np.int64(np.rint(z * z * _UNIT))
            outside += finite & ((value < allowed_from) | (value > allowed_to))
        for row in range(rows):  # a loop of its own: together the compiler would make neither a wide one
            value = column[row]
            finite = value - value == 0.0
            low, high = (value if finite else np.inf), (value if finite else -np.inf)
            lowest, highest = (low if low < lowest else lowest), (high if high > highest else highest)
        if season[signal] >= 0:
            by_phase = shifts[season[signal]]
            for row in range(rows):
                moved[row] = (column[row] - by_phase[phases[row], 0]) / by_phase[phases[row], 1]
            column = moved
        counted = np.zeros(BINS + 1, np.int64)
        under = _place(column, edges[signal], used[signal], coarse, counted)
        counted[0] -= missing + below_all
        counted[used[signal]] -= above_all
        slots[signal, :BINS] = counted[:BINS]
        if used[signal]:
            under -= below_all
            slots[signal, 0] -= under
        if used[signal] < BINS:
            slots[signal, used[signal]] = 0
        slots[signal, UNDER] = under
        slots[signal, OVER] = counted[used[signal]]
        slots[signal, MISSING] = missing
        slots[signal, INVALID] = below_all + above_all
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


def _first_drawn(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
    """Write into `rows` which offsets are drawn as evidence, in the order of the draw."""
    order = _draw(offsets)
    for place in range(len(rows)):
        rows[place] = np.argmin(order)
        order[rows[place]] = _LAST


def _compiled(signature: Any, function: Any) -> Any:
    try:
        return njit(signature, cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # numba finds no folder that it may keep compiled code in: compile at every start
        return njit(signature, nogil=True, error_model="numpy")(function)


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
first_drawn = _compiled(void(_integers, _integers), _first_drawn)
norms = _compiled(void(_READ_ONLY, _floats), _norms)
