"""What Penstock is measured beside: firing always or never, River's ADWIN as it comes, PSI with its rule of thumb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN


class RowDetector(Protocol):
    """River's shape: `update`, then read `drift_detected`."""

    @property
    def drift_detected(self) -> bool: ...

    def update(self, x: float) -> object: ...


class Never:
    drift_detected = False

    def update(self, x: float) -> None:
        pass


class Every:
    """Always fire: a person who looks every `period` rows finds everything, and as many false alarms as looks."""

    def __init__(self, period: int) -> None:
        self.period = period
        self.rows = 0
        self.drift_detected = False

    def update(self, x: float) -> None:
        self.rows += 1
        self.drift_detected = self.rows % self.period == 0


class AdwinRises:
    """River's ADWIN, which also fires on falls: only alarms after which the mean is higher count."""

    def __init__(self, delta: float = 0.002, clock: int = 32) -> None:
        self._adwin = ADWIN(delta=delta, clock=clock)
        self.drift_detected = False

    def update(self, x: float) -> None:
        before = self._adwin.estimation
        self._adwin.update(x)
        self.drift_detected = bool(self._adwin.drift_detected and self._adwin.estimation > before)


def adwin_alarms(series: NDArray[np.float64], delta: float = 0.002) -> int:
    """Alarms of one ADWIN per column of [segments, features]; NaN is left out, which ADWIN alone would not survive."""
    alarms = 0
    for column in series.T.tolist():
        detector = ADWIN(delta=delta, clock=1)
        for value in column:
            if value == value:
                detector.update(value)
                alarms += bool(detector.drift_detected)
    return alarms


def adwin_rows(rows: NDArray[np.float64], delta: float = 1e-5) -> list[int]:
    """Rows of [rows, columns] at which any column's ADWIN fires; all start anew then."""
    detectors = [ADWIN(delta=delta, clock=1) for _ in range(rows.shape[1])]
    alarms = []
    for number, row in enumerate(rows.tolist()):
        fired = False
        for detector, value in zip(detectors, row, strict=True):
            detector.update(value)
            fired = fired or bool(detector.drift_detected)
        if fired:
            alarms.append(number)
            detectors = [ADWIN(delta=delta, clock=1) for _ in detectors]
    return alarms


def psi(counts: NDArray[np.int64], reference: NDArray[np.int64]) -> NDArray[np.float64]:
    """Population stability index of [segments, slots] against the counts of a reference, half a row in empty slots."""
    expected = (reference + 0.5) / (reference + 0.5).sum()
    actual = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    found: NDArray[np.float64] = ((actual - expected) * np.log(actual / expected)).sum(axis=1)
    return found


def first(flags: Sequence[bool]) -> int | None:
    return next((place for place, flag in enumerate(flags) if flag), None)
