"""How bad an alarm is: by what kind of trouble it is, how sure the detector is, and how much is affected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from penstock.monitoring.alarms import Alarm
from penstock.schemas.alerts import Severity

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From the least to the worst."""

CERTAIN_NATS = 20.0
"""So far above its threshold an alarm needs no confirmation: chance would do it once in e^20 budgets."""

GROSS_NATS = 250.0
"""So far above its threshold within one segment, most rows of the segment have gone where hardly one was before."""

NEARLY_ALL = 0.95
"""A share of rows from which on a feature counts as gone."""

_LOWER_IS_BETTER = {"errors", "log_loss", "brier", "calibration_error", "mae", "mse", "rmse", "gap"}
_HIGHER_IS_BETTER = {"accuracy", "auc", "precision", "recall", "f1", "r2"}


def is_fault(alarm: Alarm) -> bool:
    """Whether something is broken rather than different: it is told at once, whatever the confirmation."""
    return alarm.family == "numerics" or alarm.aspect == "fault"


def is_certain(alarm: Alarm) -> bool:
    """Whether an alarm needs no others beside it."""
    return is_fault(alarm) or alarm.strength >= CERTAIN_NATS


def is_improvement(alarm: Alarm) -> bool:
    """Whether a figure of the model's quality went the way one wishes.

    >>> is_improvement(Alarm("quality", "auc:champion", "cusum", "above", 9.0, 7.0))
    True
    >>> is_improvement(Alarm("quality", "log_loss:champion", "cusum", "above", 9.0, 7.0))
    False
    """
    if alarm.family not in ("concept_drift", "quality", "fairness"):
        return False
    figure = alarm.signal.partition(":")[0]
    return (figure in _LOWER_IS_BETTER and alarm.aspect == "below") or (
        figure in _HIGHER_IS_BETTER and alarm.aspect == "above"
    )


def severity_of(alarm: Alarm, overrides: Mapping[str, str]) -> Severity:
    """The severity of one alarm; `overrides` are the settings' `alerts.severity`, family → severity.

    | severity | what |
    |---|---|
    | critical | faults: outputs that are not finite, a server that does not answer; a feature that is missing or invalid in nearly all rows; anything gross, far beyond drift |
    | info | quality that improved |
    | warning | everything else: drift, errors that rose, labels, volume, freshness; a candidate that had to go |

    >>> gone = Alarm("data_drift", "feature:distance", "ecusum", "missing", 40.0, 12.0, {"missing": 0.01}, {"missing": 1.0})
    >>> severity_of(gone, {}), severity_of(gone, {"data_drift": "info"})
    ('critical', 'info')
    """  # noqa: E501
    for severity in SEVERITIES:
        if overrides.get(alarm.family) == severity:
            return severity
    if is_improvement(alarm):
        return "info"
    if alarm.family == "rollout":
        return "warning"
    share = alarm.after.get("share", 0.0) if alarm.aspect in ("missing", "invalid") else 0.0
    gone = max(alarm.after.get("missing", 0.0), alarm.after.get("invalid", 0.0), share) >= NEARLY_ALL
    return "critical" if is_fault(alarm) or gone or alarm.strength >= GROSS_NATS else "warning"


def worse(one: Severity, other: Severity) -> bool:
    """Whether `one` is worse than `other`.

    >>> worse("critical", "warning"), worse("info", "info")
    (True, False)
    """
    return SEVERITIES.index(one) > SEVERITIES.index(other)
