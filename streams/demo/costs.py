"""What a fault cost, and how soon the alert came: what nobody would have known who had not looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.alerts.titles import cause_text
from penstock.schemas.alerts import Alert, Cause
from penstock.streams.demo.evaluation import auc, log_loss, wrong
from penstock.streams.demo.faults import FAULTS, Fault
from penstock.streams.demo.flights import HOUR_MS, Flights
from penstock.streams.demo.project import MATURITY_S

AFTERWARDS_MS = 3 * 24 * HOUR_MS
"""So long after its end an alarm may still be about a fault: that it is over is a change, too, and labels come late."""

_FOLLOWING = {"score_drift", "joint_drift", "concept_drift", "quality"}
"""What follows when a feature is spoilt."""


class FirstAlert(msgspec.Struct, frozen=True):
    """The first alert that names a feature which the fault spoilt.

    id, severity       of the alert
    cause              in words
    time               event time of the alarm, Unix ms
    hours, flights     that had passed since the fault began
    """

    id: str
    severity: str
    cause: str
    time: int
    hours: float
    flights: int


class FaultCost(msgspec.Struct, frozen=True):
    """A fault's flights, scored as they were served and, for comparison, without the fault.

    start, end            event time, Unix ms; the end is not inside
    flights, arrived      that had a prediction; and of them those whose outcome is known, which the figures are of
    auc, log_loss, wrong  as served
    without               the same figures without the fault
    alert                 None: none came
    errors_hours          from the fault's beginning until an alert about the model's errors alone, the labels' maturity
                          included; None: none came
    """

    name: str
    what: str
    start: int
    end: int
    flights: int
    arrived: int
    auc: float | None
    log_loss: float | None
    wrong: int
    without: dict[str, float | None]
    alert: FirstAlert | None
    errors_hours: float | None


def costs(
    flights: Flights,
    served: NDArray[np.floating],
    unspoilt: NDArray[np.floating],
    lives: Mapping[str, Sequence[Alert]],
) -> list[FaultCost]:
    """Of each fault.

    served    [flights] scores as they were published; NaN: none
    unspoilt  [flights] scores of the same flights without the fault
    lives     alert → its states, in the order in which they were told
    """
    return [_cost(fault, flights, served, unspoilt, lives) for fault in FAULTS]


def _cost(
    fault: Fault,
    flights: Flights,
    served: NDArray[np.floating],
    unspoilt: NDArray[np.floating],
    lives: Mapping[str, Sequence[Alert]],
) -> FaultCost:
    affected = fault.affects(flights.time) & ~np.isnan(served)
    judged = affected & flights.labelled
    late = flights.late[judged]
    alert = first_alert(fault, lives)
    found = None
    if alert is not None:
        before = int((affected & (flights.time <= alert.last_seen)).sum())
        hours = round((alert.last_seen - fault.start) / HOUR_MS, 1)
        cause = min((cause for cause in alert.causes if fault.is_behind(cause)), key=_is_age)
        found = FirstAlert(alert.id, alert.severity, cause_text(cause), alert.last_seen, hours, before)
    figures, without = _figures(served[judged], late), _figures(unspoilt[judged], late)
    return FaultCost(
        fault.name, fault.what, fault.start, fault.end, int(affected.sum()), int(judged.sum()),
        figures["auc"], figures["log_loss"], int(figures["wrong"] or 0), without, found, _errors_hours(fault, lives),
    )  # fmt: skip


def first_alert(fault: Fault, lives: Mapping[str, Sequence[Alert]]) -> Alert | None:
    """The state of an alert that first named a feature of the fault, of all alerts the earliest in event time."""
    firsts = (next((state for state in life if _is_about(fault, state)), None) for life in lives.values())
    known = (state for state in firsts if state is not None)
    return min(known, key=lambda state: (state.last_seen, state.family == "freshness"), default=None)


def named_at(fault: Fault, life: Sequence[Alert]) -> int:
    """Event time of the alarm that first named a feature of the fault; 0 where none did. Unix ms."""
    return next((state.last_seen for state in life if _is_about(fault, state)), 0)


def fault_behind(alert: Alert) -> Fault | None:
    """The fault that an alert tells of, as the demo knows; None: the year itself did it."""
    for fault in FAULTS:
        if _is_about(fault, alert) or (alert.family in _FOLLOWING and fault.start <= alert.first_seen < fault.end):
            return fault
    return None


def _errors_hours(fault: Fault, lives: Mapping[str, Sequence[Alert]]) -> float | None:
    times = [
        state.last_seen
        for life in lives.values()
        for state in life[:1]
        if state.family in ("concept_drift", "quality") and fault.start <= state.last_seen < fault.end
    ]
    return round((min(times) - fault.start) / HOUR_MS + MATURITY_S / 3600, 1) if times else None


def _is_age(cause: Cause) -> bool:
    return cause.signal.startswith("age:")


def _is_about(fault: Fault, alert: Alert) -> bool:
    in_time = fault.start <= alert.last_seen and alert.first_seen < fault.end + AFTERWARDS_MS
    return in_time and any(fault.is_behind(cause) for cause in alert.causes)


def _figures(scores: NDArray[np.floating], late: NDArray[np.floating]) -> dict[str, float | None]:
    if not len(late):
        return {"auc": None, "log_loss": None, "wrong": 0}
    area = auc(scores, late)
    return {
        "auc": None if np.isnan(area) else round(area, 4),
        "log_loss": round(log_loss(scores, late), 4),
        "wrong": wrong(scores, late),
    }
