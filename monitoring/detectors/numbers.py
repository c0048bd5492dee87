"""Drift of one number that comes once per segment: volume, freshness, a quality value."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from statistics import NormalDist
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from river.base import DriftDetector

from penstock.monitoring.detectors.state import UnreadableState, decode, encode, pack, unpack
from penstock.schemas.seasons import DAY_HARMONICS, DAY_MS, WEEK_HARMONICS, basis, harmonics

Side = Literal["both", "rises", "falls"]

_TILTS = (0.25, 0.5, 1.0, 2.0)
_NAMES: dict[Side, str] = {"both": "number_cusum", "rises": "number_cusum_rises", "falls": "number_cusum_falls"}
_CALM = 3.0
"""Nats: values join the reference only while all sums are below it."""
_NORMAL = NormalDist()


class NumberCUSUM(DriftDetector):
    """CUSUM of e-values for a shift of one number, whatever its distribution, season and autocorrelation.

    The first `learn` values are the reference. What is seasonal in them by the hour of the day and of the week is taken
    away; a value becomes a normal score, z = Φ⁻¹(its rank in the reference): bounded, so that neither heavy tails nor
    an outlier matter. For tilts λ of ±¼, ±½, ±1 and ±2, each looking for a shift of so many deviations,
    W = max(0, W) + (λz - K)/φ, and an alarm is given when one of the k sums exceeds ln(k·A). K is the larger of λ²/2
    and the reference's own log-moment, plus |λ| standard errors of its mean. φ = f·(1 + √(2f/m)) makes up for
    autocorrelation: f, the larger of (1+ρ)/(1-ρ) and the integrated autocorrelation time, is what the variance of a
    sum is larger by than that of independent values, ρ is corrected for the bias of m values, and the bracket for the
    error of f itself. The reference grows to four times `learn` values while nothing is suspected, and is learnt anew
    after an alarm.

    Args:
        false_alarm_every: A, in updates. It may be moved while the detector runs.
        side: which shifts count.
        learn: values of the reference before the first judgement.
        seasonal: compare with the same hour of the week: needs times, and judges not before the reference covers two
            days or four times `learn` values. The week's season needs two weeks of them.

    Examples:
    >>> from random import Random
    >>> random = Random(1)
    >>> detector = NumberCUSUM(false_alarm_every=10_000, side="falls")
    >>> for segment in range(400):
    ...     detector.update(random.gauss(100, 5) if segment < 300 else random.gauss(90, 5))
    ...     if detector.drift_detected:
    ...         print(segment, {name: round(value) for name, value in detector.after.items()}, detector.since)
    309 {'value': 91} 10
    """

    takes: ClassVar[Literal["number"]] = "number"
    calibrated: ClassVar[bool] = True

    def __init__(
        self, false_alarm_every: float = 1e4, *, side: Side = "both", learn: int = 200, seasonal: bool = False
    ) -> None:
        super().__init__()
        self.false_alarm_every = false_alarm_every
        self.side = side
        self.learn = learn
        self.seasonal = seasonal
        self.name = _NAMES[side]
        self.skipped = 0
        signs = {"both": (1.0, -1.0), "rises": (1.0,), "falls": (-1.0,)}[side]
        self._tilts = np.array([sign * tilt for sign in signs for tilt in _TILTS])
        self._reset()

    def _reset(self) -> None:
        super()._reset()
        self._drift_detected: bool = False
        self._values: list[float] = []
        self._times: list[int] = []
        self._fitted = 0
        self._season: NDArray[np.float64] = np.zeros(1)
        self._sorted: list[float] = []
        self._costs: NDArray[np.float64] = np.zeros(len(self._tilts))
        self._dependence = 1.0
        self._sums: NDArray[np.float64] = np.zeros(len(self._tilts))
        self._runs: NDArray[np.float64] = np.zeros(len(self._tilts))
        """Values since each sum was last zero, and their totals."""
        self._totals: NDArray[np.float64] = np.zeros(len(self._tilts))

    def reset(self) -> None:
        """Forget the reference and what was seen, but not how much was skipped."""
        self._reset()

    @property
    def statistic(self) -> float:
        """The largest of the sums, nats."""
        return float(self._sums.max())

    @property
    def threshold(self) -> float:
        """ln(k·A), nats."""
        return math.log(len(self._tilts) * self.false_alarm_every)

    @property
    def before(self) -> dict[str, float]:
        """The reference's median."""
        return {"value": float(np.median(self._values))} if self._values else {}

    @property
    def after(self) -> dict[str, float]:
        """The mean since the change began."""
        return {"value": float(self._totals[self._sums.argmax()]) / self.since} if self.since else {}

    @property
    def since(self) -> int:
        """Values since the largest sum was last zero: where the change began, counted back from the last one."""
        return int(self._runs[self._sums.argmax()])

    def learn_from(self, values: ArrayLike, times_ms: ArrayLike | None = None) -> None:
        """Start anew with [m] values as the reference, in order, and judge from the next one on.

        Raises ValueError for less than 50 finite values.
        """
        numbers = np.asarray(values, np.float64)
        known = np.isfinite(numbers)
        if int(known.sum()) < 50:
            raise ValueError(f"{int(known.sum())} finite values; expected at least 50 to learn from")
        self._reset()
        self._values = numbers[known].tolist()
        if self.seasonal:
            times = np.zeros(len(numbers), np.int64) if times_ms is None else np.asarray(times_ms, np.int64)
            self._times = times[known].tolist()
        self._fit()

    def update(self, x: float, time_ms: int = 0) -> None:
        """`time_ms`: of the segment, Unix ms, where seasons matter. What is not finite is skipped."""
        if not math.isfinite(x):
            self.skipped += 1
            return
        if self._drift_detected:
            self._reset()
        if self._fitted:
            self._judge(x, time_ms)
        if self._drift_detected:
            return
        if len(self._values) < max(4 * self.learn, self._fitted) and self.statistic < _CALM:
            self._values.append(x)
            if self.seasonal:
                self._times.append(time_ms)
            if self._is_due():
                self._fit()

    def _is_due(self) -> bool:
        m = len(self._values)
        if self._fitted:
            return m in (2 * self.learn, 4 * self.learn)
        if not self.seasonal or m < self.learn or m >= 4 * self.learn:
            return m >= self.learn
        return max(self._times) - min(self._times) >= 2 * DAY_MS

    def _fit(self) -> None:
        self._fitted = m = len(self._values)
        if self.seasonal:
            values, times = np.array(self._values), np.array(self._times, np.int64)
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
            reach = 5.0 * (high - low)
            held = np.clip(values, middle - reach, middle + reach) if reach > 0 else values
            self._season = harmonics(times, held[:, None], DAY_HARMONICS, WEEK_HARMONICS)[:, 0]
        values = self._reference()
        self._sorted = np.sort(values).tolist()
        z = np.array([self._score(value) for value in values])
        f = _dependence(z)
        self._dependence = f * (1.0 + math.sqrt(2.0 * f / m))
        moments = np.log(np.mean(np.exp(np.outer(self._tilts, z)), axis=1))
        error = math.sqrt(f / m)
        self._costs = np.maximum(self._tilts**2 / 2.0, moments) + np.abs(self._tilts) * error

    def _reference(self) -> NDArray[np.float64]:
        """The values that were learnt from, without their season."""
        values = np.array(self._values[: self._fitted])
        if self.seasonal:
            values -= basis(np.array(self._times[: self._fitted], np.int64)) @ self._season
        return values

    def _score(self, value: float) -> float:
        """The normal score of a value's rank in the reference; within ±Φ⁻¹(1 - ½/(m+1))."""
        rank = (bisect_left(self._sorted, value) + bisect_right(self._sorted, value) + 1) / 2.0
        return _NORMAL.inv_cdf(rank / (len(self._sorted) + 1))

    def _judge(self, x: float, time_ms: int) -> None:
        value = x
        if self.seasonal:
            value -= float(basis(np.array([time_ms]))[0] @ self._season)
        gain = (self._tilts * self._score(value) - self._costs) / self._dependence
        self._sums = np.maximum(0.0, self._sums) + gain
        up = self._sums > 0.0
        self._runs = np.where(up, self._runs + 1.0, 0.0)
        self._totals = np.where(up, self._totals + x, 0.0)
        self._drift_detected = self.statistic > self.threshold

    def snapshot(self) -> bytes:
        state = {field: getattr(self, field) for field in _PLAIN}
        state |= {field: pack(np.asarray(getattr(self, field), np.float64)) for field in _ARRAYS}
        return encode(self.name, self._get_params(), state)

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """Raises UnreadableState."""
        snapshot = decode(data)
        try:
            detector = cls(**snapshot.parameters)
            for field in _PLAIN:
                setattr(detector, field, snapshot.state[field])
            for field in _ARRAYS:
                array = unpack(snapshot.state[field])
                setattr(detector, field, array.tolist() if field == "_values" else array)
            detector._sorted = np.sort(detector._reference()).tolist() if detector._fitted else []
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableState(snapshot.detector, f"a field is missing or wrong ({error})") from error
        return detector


_PLAIN = ("_drift_detected", "_times", "_fitted", "_dependence", "skipped")
_ARRAYS = ("_values", "_season", "_costs", "_sums", "_runs", "_totals")


def _dependence(z: NDArray[np.float64]) -> float:
    """f: by how much the variance of a sum of such values is larger than if they were independent, at least 1.

    >>> 1.0 <= _dependence(np.random.default_rng(0).normal(size=800)) < 1.3
    True
    """
    m = len(z)
    centred = z - z.mean()
    variance = float(centred @ centred)
    if variance == 0.0:
        return 1.0
    correlations = [float(centred[lag:] @ centred[: m - lag]) / variance for lag in range(1, m // 4)]
    integrated = 1.0
    for correlation in correlations:
        if correlation < 2.0 / math.sqrt(m):
            break
        integrated += 2.0 * correlation
    first = correlations[0]
    rho = min(0.98, max(0.0, first + (1.0 + 3.0 * first) / m + 0.5 / math.sqrt(m)))
    return max(1.0, (1.0 + rho) / (1.0 - rho), integrated)
