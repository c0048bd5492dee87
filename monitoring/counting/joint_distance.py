"""The Mahalanobis distance of a row's numbers from a reference sample: one number in which joint drift shows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_RIDGE = 1e-3
"""Added to the diagonal of the correlation matrix: of two features that are copies, their difference says nothing."""
_FEWEST_ROWS = 50
_MOST_FEATURES = 64
"""The first ones: a row's distance costs half the square of their number."""


class JointDistance(NamedTuple):
    """D² = ‖W (x - mean)‖² over some of the features (Mahalanobis 1936).

    features   positions in the signals' matrix
    mean       [features]
    whitening  [features, features] float64, lower triangle
    """

    features: NDArray[np.intp]
    mean: NDArray[np.float64]
    whitening: NDArray[np.float64]

    @classmethod
    def fit(cls, sample: NDArray[np.float64], features: NDArray[np.intp]) -> JointDistance | None:
        """From [rows, features] reference values, NaN where missing; None where they are too few to correlate.

        Features that are constant or hardly ever there are left out.

        >>> joint = JointDistance.fit(np.random.default_rng(0).normal(size=(500, 2)), np.array([0, 3]))
        >>> joint.features.tolist(), joint.of(joint.mean[None, :]).tolist()
        ([0, 3], [0.0])
        """
        values = np.where(np.isfinite(sample), sample, np.nan)
        present = np.isfinite(values)
        counts = present.sum(0)
        mean = np.where(present, values, 0.0).sum(0) / np.maximum(counts, 1)
        centred = np.where(present, values - mean, 0.0)
        deviation = np.sqrt((centred**2).sum(0) / np.maximum(counts, 1))
        kept = (counts >= max(_FEWEST_ROWS, len(sample) // 20)) & (deviation > 1e-9 * np.maximum(np.abs(mean), 1e-300))
        kept &= np.cumsum(kept) <= _MOST_FEATURES
        if kept.sum() < 2 or len(sample) < max(_FEWEST_ROWS, 5 * int(kept.sum())):
            return None
        standard = centred[:, kept] / deviation[kept]
        correlation = standard.T @ standard / len(sample) + _RIDGE * np.eye(int(kept.sum()))
        whitening = np.linalg.inv(np.linalg.cholesky(correlation)) / deviation[kept]
        return cls(features[kept], mean[kept], np.ascontiguousarray(np.tril(whitening)))

    def of(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """D² of [rows, features] values, [rows]; a missing value stands at the mean."""
        centred = np.where(np.isfinite(rows), rows - self.mean, 0.0)
        squared: NDArray[np.float64] = ((centred @ self.whitening.T) ** 2).sum(1)
        return squared
