"""Joint drift of a row's numbers: one distance, one conformal p-value, one CUSUM of e-values."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from river.base import Base

from penstock.monitoring.detectors.state import UnreadableState, decode, encode, pack, unpack

_EXPONENTS = (0.1, 0.3, 0.6)
_SHRINKAGE = 0.02
_LIMIT = 1e6
"""A value counts as at most so many deviations from the mean: squares stay finite."""
_CALM = 3.0
"""Nats: rows join the calibration only while all sums are below it."""


class ConformalDistance(Base):
    """Has the joint distribution of a row's numbers changed? It sees what no single column shows.

    The squared Mahalanobis distance D² to the mean of the first `fit` rows (covariance of the standardised columns,
    shrunk by 2 % towards the identity) turns a row into one number. The next `calibration` rows are kept to compare
    with, and grow up to four times as many while nothing is suspected. Where k of n such rows lie at least as far out,
    the conformal p-value is p = (k + 1 + √(k+1)) / (n + 1): the root is one standard error of k, without which the
    p-values are right on average over calibrations, but too small for good wherever this one was unlucky. Each p is
    bet on by e = ε·p^(ε-1) with ε of .1, .3 and .6; W = max(0, W) + ln e, and an alarm is given when one of the three
    sums exceeds ln(3A): rows being exchangeable, at most one false alarm in A rows is expected. After an alarm the next
    row starts anew, with a new fit.

    Autocorrelated rows are not exchangeable: leave trends and seasons out, or let the detector see each row's
    differences from them. For rows that turn with a period, `fit` should be a multiple of it.

    Args:
    false_alarm_every
        A. It may be moved while the detector runs.
    fit
        Rows for mean and covariance; at least ten for each column are taken.
    calibration
        Rows kept for comparison before the first judgement.

    Examples:
    Two columns whose correlation turns around, while each of them stays as it was:

    >>> rng = np.random.default_rng(7)
    >>> rows = rng.normal(size=(4_000, 2)) @ [[1.0, 0.9], [0.0, 0.44]]
    >>> rows[3_000:, 1] *= -1
    >>> detector = ConformalDistance(false_alarm_every=100_000)
    >>> for number, row in enumerate(rows):
    ...     detector.update(row)
    ...     if detector.drift_detected:
    ...         print(number)
    3008

    References:
    [^1]: Vovk, Petej, Nouretdinov, Ahlberg, Carlsson, Gammerman: Retrain or not retrain: conformal test martingales for
    change-point detection. PMLR 152, 2021.
    [^2]: Bates, Candès, Lei, Romano, Sesia: Testing for outliers with conformal p-values. Annals of Statistics 51, 2023
    (why p-values need more to hold for the calibration at hand).
    """

    name: ClassVar[str] = "conformal_distance"
    takes: ClassVar[Literal["row"]] = "row"
    calibrated: ClassVar[bool] = True

    def __init__(self, false_alarm_every: float = 3e5, *, fit: int = 500, calibration: int = 1000) -> None:
        self.false_alarm_every = false_alarm_every
        self.fit = fit
        self.calibration = calibration
        self.skipped = 0
        """Rows without one finite number: left out."""
        self.imputed = 0
        """Rows with some numbers missing or infinite: the mean stands in, which adds nothing to the distance."""
        self.reset()

    def reset(self) -> None:
        """Forget the reference, but not how much was skipped and imputed."""
        self._drift_detected = False
        self._buffer: list[NDArray[np.float64]] = []
        self._mean: NDArray[np.float64] = np.empty(0)
        self._scale: NDArray[np.float64] = np.empty(0)
        self._precision: NDArray[np.float64] = np.empty((0, 0))
        self._known: list[float] = []
        self._sums = [0.0] * len(_EXPONENTS)
        self._excursion = 0
        self._parts: NDArray[np.float64] = np.empty(0)

    @property
    def drift_detected(self) -> bool:
        return self._drift_detected

    @property
    def statistic(self) -> float:
        """The largest of the sums, nats."""
        return max(self._sums)

    @property
    def threshold(self) -> float:
        """ln(3A), nats."""
        return math.log(len(_EXPONENTS) * self.false_alarm_every)

    @property
    def before(self) -> dict[str, float]:
        """The root mean square distance of the calibration's rows."""
        return {"distance": math.sqrt(sum(self._known) / len(self._known))} if self._known else {}

    @property
    def after(self) -> dict[str, float]:
        """The root mean square distance since the change began."""
        return {"distance": math.sqrt(float(self.contributions.sum()))} if self._excursion else {}

    @property
    def since(self) -> int:
        """Rows of the present excursion: where the change began, counted back from the last row."""
        return self._excursion

    @property
    def contributions(self) -> NDArray[np.float64]:
        """[columns] each column's part z·(Pz) in the mean D² since the change began: what causes are ranked by."""
        return self._parts / max(1, self._excursion)

    def update(self, x: ArrayLike) -> None:
        """`x`: [columns] numbers; NaN and infinities count as missing. Raises ValueError for another number of them."""
        row = np.array(x, dtype=np.float64).ravel()
        if self._drift_detected:
            self.reset()
        if (known := len(self._mean) or (len(self._buffer[0]) if self._buffer else len(row))) != len(row):
            raise ValueError(f"a row of {len(row)} numbers; expected {known}")
        finite = np.isfinite(row)
        if not finite.all():
            if not finite.any():
                self.skipped += 1
                return
            self.imputed += 1
            row[~finite] = np.nan
        if not len(self._mean):
            self._buffer.append(row)
            if len(self._buffer) >= max(self.fit, 10 * len(row)):
                self._learn()
            return
        z = np.clip((row - self._mean) / self._scale, -_LIMIT, _LIMIT)
        z[np.isnan(z)] = 0.0
        parts = z * (self._precision @ z)
        self._judge(float(parts.sum()), parts)

    def _learn(self) -> None:
        rows = np.array(self._buffer)
        self._buffer = []
        with np.errstate(over="ignore"):
            low, middle, high = np.array([_quartiles(column) for column in rows.T]).T
            reach = 100.0 * np.maximum(high - low, 1e-12 + 1e-9 * np.abs(middle))
            rows = np.clip(np.where(np.isnan(rows), middle, rows), middle - reach, middle + reach)
        self._mean = rows.mean(axis=0)
        scale = rows.std(axis=0)
        self._scale = np.maximum(scale, 1e-12 + 1e-9 * np.abs(self._mean))
        z = (rows - self._mean) / self._scale
        correlation = np.atleast_2d(z.T @ z / len(z))
        shrunk = correlation * (1 - _SHRINKAGE) + _SHRINKAGE * np.eye(len(self._mean))
        self._precision = np.linalg.inv(shrunk).astype(np.float64)
        self._parts = np.zeros(len(self._mean))

    def _judge(self, distance: float, parts: NDArray[np.float64]) -> None:
        n = len(self._known)
        if n < self.calibration:
            insort(self._known, distance)
            return
        further = n - bisect_left(self._known, distance)
        log_p = min(0.0, math.log((further + 1 + math.sqrt(further + 1)) / (n + 1)))
        threshold = self.threshold
        for j, exponent in enumerate(_EXPONENTS):
            w = max(0.0, self._sums[j]) + math.log(exponent) + (exponent - 1.0) * log_p
            self._sums[j] = w
            self._drift_detected = self._drift_detected or w > threshold
        highest = max(self._sums)
        if highest > 0.0:
            self._excursion += 1
            self._parts = self._parts + parts
        else:
            self._excursion = 0
            self._parts = np.zeros_like(self._parts)
        if n < 4 * self.calibration and highest < _CALM:
            insort(self._known, distance)

    def snapshot(self) -> bytes:
        state: dict[str, Any] = {field: getattr(self, field) for field in _PLAIN}
        arrays = {"_buffer": np.array(self._buffer), "_known": np.array(self._known)}
        arrays |= {field: getattr(self, field) for field in _ARRAYS}
        state |= {field: pack(value) for field, value in arrays.items()}
        return encode(self.name, self._get_params(), state)

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """Raises UnreadableState."""
        snapshot = decode(data, cls.name)
        try:
            detector = cls(**snapshot.parameters)
            for field in _PLAIN:
                setattr(detector, field, snapshot.state[field])
            for field in _ARRAYS:
                setattr(detector, field, unpack(snapshot.state[field]))
            detector._buffer = list(unpack(snapshot.state["_buffer"]))
            detector._known = unpack(snapshot.state["_known"]).tolist()
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableState(cls.name, f"a field is missing or wrong ({error})") from error
        return detector


_PLAIN = ("_drift_detected", "_sums", "_excursion", "skipped", "imputed")
_ARRAYS = ("_mean", "_scale", "_precision", "_parts")


def _quartiles(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """[3]; 0 of a column without a number.

    >>> _quartiles(np.array([1.0, 2.0, 3.0, np.nan])).tolist()
    [1.5, 2.0, 2.5]
    """
    known = column[~np.isnan(column)]
    return np.quantile(known, [0.25, 0.5, 0.75]) if len(known) else np.zeros(3)
