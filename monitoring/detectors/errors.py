"""Concept drift on a stream of errors: has the model begun to err more often?"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, Self

from river.base import BinaryDriftDetector

from penstock.monitoring.detectors.dispersion import Dispersion
from penstock.monitoring.detectors.state import UnreadableState, decode, encode

_LONG_RUN = 32
"""Rows from which on a run tells how much counts vary."""


class BernoulliCUSUM(BinaryDriftDetector):
    """One-sided CUSUM of e-values for the rate of a binary event, against the rate that it has learnt itself.

    For each of the `odds` r the log-likelihood ratio of "the odds of an error are r times what they were" is summed
    from the last time that it was zero, W = max(0, W) + x·ln r - ln(1 - p + p·r), and an alarm is given when one of
    the k sums exceeds ln(k·A): for a known rate p at most one false alarm in A rows is expected, at any p. The plug-in
    rate p is the mean of the rows before the present excursion (so that a slow rise does not hide in its own baseline)
    plus one standard error. Only rises count. A fall is no alarm: the same test towards half the odds finds it and
    starts the baseline afresh, so that later rises are judged by the better rate.

    `update(x)` takes one row as River's detectors do, and after an alarm the next update starts anew;
    `update_counts(rows, errors)` takes a run of rows at once. Counts of long runs vary more than independent errors
    would (a bad day, a bad shift): by how much, φ, is learnt from the runs themselves, and divides their evidence.

    Args:
    false_alarm_every
        A: at most one false alarm is expected in so many rows. It may be moved while the detector runs.
    odds
        The rises that are looked for.
    warm_up
        Rows before the first judgement after a start or an alarm.
    memory
        Rows that the baseline remembers; what is older fades exponentially.
    patience
        An excursion that lasts longer than 200 rows, this share of the baseline's rows and four runs becomes part of
        the baseline: neither a baseline learnt from a lucky start nor slow learning ends in an alarm.

    Examples:
    >>> from random import Random
    >>> random = Random(42)
    >>> detector = BernoulliCUSUM(false_alarm_every=100_000)
    >>> stream = [random.random() < 0.1 for _ in range(5_000)] + [random.random() < 0.3 for _ in range(200)]
    >>> for row, error in enumerate(stream):
    ...     detector.update(error)
    ...     if detector.drift_detected:
    ...         print(row, {name: round(rate, 2) for name, rate in detector.after.items()}, detector.since)
    5131 {'rate': 0.27} 132

    References:
    [^1]: Shin, Ramdas, Rinaldo: E-detectors: a nonparametric framework for sequential change detection. The New England
    Journal of Statistics in Data Science 2(2), 2024.
    [^2]: Page: Continuous inspection schemes. Biometrika 41, 1954.
    """

    name: ClassVar[str] = "bernoulli_cusum"
    takes: ClassVar[Literal["binary"]] = "binary"
    calibrated: ClassVar[bool] = True

    def __init__(
        self,
        false_alarm_every: float = 1e6,
        *,
        odds: tuple[float, ...] = (1.5, 2.0, 4.0, 10.0, 30.0),
        warm_up: int = 30,
        memory: float = 10_000,
        patience: float = 0.5,
    ) -> None:
        super().__init__()
        self.false_alarm_every = false_alarm_every
        self.odds = odds
        self.warm_up = warm_up
        self.memory = memory
        self.patience = patience
        self.skipped = 0
        self._logs = [math.log(r) for r in odds]
        self.reset()

    def _reset(self) -> None:
        super()._reset()
        self._drift_detected: bool = False
        self._rows = 0.0
        """Of the baseline, as are the errors; floats, since they fade."""
        self._errors = 0.0
        self._sums = [0.0] * len(self.odds)
        self._runs = [(0, 0)] * len(self.odds)
        """Rows and errors since each sum was last zero."""
        self._fall = 0.0
        self._pending_rows = 0
        """Of the present excursion, as are the errors."""
        self._pending_errors = 0
        self._high = self._low = 0.5

    def reset(self) -> None:
        """Forget the baseline and what was seen, but not how much was skipped."""
        self._reset()
        self._dispersion = Dispersion()

    @property
    def statistic(self) -> float:
        """The largest of the sums, nats."""
        return max(self._sums)

    @property
    def threshold(self) -> float:
        """ln(k·A), nats."""
        return math.log(len(self.odds) * self.false_alarm_every)

    @property
    def before(self) -> dict[str, float]:
        return {"rate": self._errors / self._rows} if self._rows else {}

    @property
    def after(self) -> dict[str, float]:
        rows, errors = self._run
        return {"rate": errors / rows} if rows else {}

    @property
    def since(self) -> int:
        """Rows since the largest sum was last zero: where the change began, counted back from the last row."""
        return self._run[0]

    @property
    def _run(self) -> tuple[int, int]:
        return self._runs[self._sums.index(max(self._sums))]

    def update(self, x: bool | float) -> None:
        """`x`: whether this row was an error. NaN and infinities are counted in `skipped`."""
        if not math.isfinite(x):
            self.skipped += 1
            return
        self._step(1, 1 if x else 0)

    def update_counts(self, rows: int, errors: int) -> None:
        """A run of rows at once, such as a segment: as good as row by row up to the end of the run.

        Raises ValueError unless 0 ≤ errors ≤ rows.
        """
        if not 0 <= errors <= rows:
            raise ValueError(f"{errors} errors in {rows} rows; expected 0 ≤ errors ≤ rows")
        if rows:
            self._step(rows, errors)

    def _step(self, rows: int, errors: int) -> None:
        if self._drift_detected:
            self._reset()
        risen = False
        if self._rows + self._pending_rows >= self.warm_up and self._rows:
            p = self._high
            threshold = self.threshold
            phi = 1.0
            if rows >= _LONG_RUN:
                phi = self._dispersion.phi
                self._dispersion.see(rows, errors, self._errors / self._rows)
            for j, r in enumerate(self.odds):
                w = max(0.0, self._sums[j]) + (errors * self._logs[j] - rows * math.log1p(p * (r - 1.0))) / phi
                self._sums[j] = w
                run, run_errors = self._runs[j]
                self._runs[j] = (run + rows, run_errors + errors) if w > 0.0 else (0, 0)
                risen = risen or w > 0.0
                self._drift_detected = self._drift_detected or w > threshold
            self._fall = max(0.0, self._fall) - (errors * math.log(2.0) + rows * math.log1p(-self._low / 2.0)) / phi
        self._pending_rows += rows
        self._pending_errors += errors
        if self._drift_detected:
            self._dispersion.learn()
            return
        if self._fall > self.threshold:
            self._reset()
        elif not risen or self._pending_rows >= max(200.0, self.patience * self._rows, 4.0 * rows if rows > 1 else 0.0):
            self._learn()

    def _learn(self) -> None:
        self._dispersion.learn()
        self._rows += self._pending_rows
        self._errors += self._pending_errors
        self._pending_rows = self._pending_errors = 0
        if self._rows > self.memory:
            self._errors *= self.memory / self._rows
            self._rows = float(self.memory)
        p = (self._errors + 1.0) / (self._rows + 2.0)
        error = math.sqrt(p * (1.0 - p) / (self._rows + 2.0))
        self._high, self._low = min(1.0, p + error), max(1e-4, p - error)

    def snapshot(self) -> bytes:
        parameters = self._get_params()
        state: dict[str, Any] = {field: getattr(self, field) for field in _STATE}
        return encode(self.name, parameters, state | {"dispersion": vars(self._dispersion)})

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """Raises UnreadableState."""
        snapshot = decode(data, cls.name)
        try:
            parameters: dict[str, Any] = snapshot.parameters | {"odds": tuple(snapshot.parameters["odds"])}
            detector = cls(**parameters)
            for field in _STATE:
                setattr(detector, field, snapshot.state[field])
            detector._dispersion = Dispersion(**snapshot.state["dispersion"])
            detector._runs = [(rows, errors) for rows, errors in detector._runs]
        except (KeyError, TypeError) as error:
            raise UnreadableState(cls.name, f"a field is missing or wrong ({error})") from error
        return detector


_STATE = (
    "_drift_detected", "_rows", "_errors", "_sums", "_runs", "_fall", "_pending_rows", "_pending_errors", "_high",
    "_low", "skipped",
)  # fmt: skip
