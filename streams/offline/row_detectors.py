"""Detectors that take a table row by row, so that they name the row: of errors, and of rows as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.counting.joint_distance import JointDistance
from penstock.monitoring.detectors.errors import BernoulliCUSUM
from penstock.monitoring.detectors.joint import ConformalDistance

REPORT_EVERY = 2048
_LARGE = 0.8
"""A value's error is large beyond this quantile of the reference's errors."""
_WARMING = 5000
"""Rows of the reference, the latest, that the joint detector learns from."""
_SHOWN = 3
"""Columns named as causes, each with half of the largest part of the distance or more."""


class RowAlarm(NamedTuple):
    """An alarm, and the row behind the reference, from 0, at which it was given."""

    row: int
    alarm: Alarm


def error_alarms(
    errors: NDArray[np.float64], reference_rows: int, *, signal: str, values: bool, false_alarm_every: float
) -> Iterator[RowAlarm | int]:
    """Rises of the rate of errors [rows], NaN where unknown; now and then the number of rows done.

    With `values` the errors are absolute ones, and what is counted are large ones: beyond the reference's 80 %.
    """
    known = np.isfinite(errors)
    wrong = errors > 0
    if values:
        before = errors[:reference_rows][known[:reference_rows]]
        wrong = errors > (np.quantile(before, _LARGE) if len(before) else np.inf)
    detector = BernoulliCUSUM(false_alarm_every)
    detector.update_counts(int(known[:reference_rows].sum()), int(wrong[:reference_rows][known[:reference_rows]].sum()))
    for row, (here, error) in enumerate(
        zip(known[reference_rows:].tolist(), wrong[reference_rows:].tolist(), strict=True)
    ):
        if here:
            detector.update(error)
            if detector.drift_detected:
                yield RowAlarm(row, _error_alarm(detector, signal))
        if row % REPORT_EVERY == 0:
            yield row


def joint_alarms(
    numbers: NDArray[np.float64], reference_rows: int, names: tuple[str, ...], *, false_alarm_every: float
) -> Iterator[RowAlarm | int]:
    """Changes of the joint distribution of [rows, columns] numbers; now and then the number of rows done."""
    detector = ConformalDistance(false_alarm_every)
    for numbered in numbers[max(0, reference_rows - _WARMING) : reference_rows]:
        detector.update(numbered)
    for row, numbered in enumerate(numbers[reference_rows:]):
        detector.update(numbered)
        if detector.drift_detected:
            yield RowAlarm(row, _joint_alarm(detector, names))
        if row % REPORT_EVERY == 0:
            yield row


def _error_alarm(detector: BernoulliCUSUM, signal: str) -> Alarm:
    before, after = ({"errors": figures["rate"]} if figures else {} for figures in (detector.before, detector.after))
    return Alarm(
        "concept_drift", signal, detector.name, "errors", detector.statistic, detector.threshold,
        before, after, detector.since,
    )  # fmt: skip


def _joint_alarm(detector: ConformalDistance, names: tuple[str, ...]) -> Alarm:
    parts = detector.contributions / detector.contributions.sum()
    most = [place for place in np.argsort(-parts)[:_SHOWN].tolist() if parts[place] >= parts.max() / 2]
    return Alarm(
        "joint_drift", "distance", detector.name, "location", detector.statistic, detector.threshold,
        detector.before, detector.after | {f"part of {names[place]}": float(parts[place]) for place in most},
        detector.since,
    )  # fmt: skip


def is_exchangeable(numbers: NDArray[np.float64]) -> bool:
    """Whether the distances of the reference's [rows, columns] look independent: the conformal detector relies on it.

    Of the autocorrelations at lags 1 to 5 each is within three and a half standard errors of 0.
    """
    joint = JointDistance.fit(numbers, np.arange(numbers.shape[1]))
    if joint is None:
        return False
    distance = joint.of(numbers[:, joint.features])
    ranks = np.argsort(np.argsort(distance, kind="stable")).astype(np.float64)
    centred = ranks - ranks.mean()
    square = float(centred @ centred)
    lags = range(1, 6)
    return all(abs(float(centred[lag:] @ centred[:-lag])) / square < 3.5 / np.sqrt(len(ranks)) for lag in lags)
