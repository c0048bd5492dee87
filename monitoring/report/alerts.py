"""The alerts of the stretch, as rows for people."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from msgspec.structs import replace

from penstock.monitoring.alerts.titles import cause_text
from penstock.monitoring.report.text import counted, instant
from penstock.schemas.alerts import Alert, Cause

SHOWN_CAUSES = 5


@dataclass(frozen=True)
class AlertRow:
    """`more`: how many causes are not among `causes`."""

    id: str
    severity: str
    state: str
    title: str
    first: str
    last: str
    alarms: str
    causes: list[str]
    more: int
    model: str
    where: str
    remark: str


def alert_rows(alerts: Sequence[Alert], sensitive: AbstractSet[str]) -> list[AlertRow]:
    return [_row(alert, sensitive) for alert in alerts]


def alerts_sentence(alerts: Sequence[Alert]) -> str:
    """The alerts in the headline."""
    if not alerts:
        return "No alerts."
    critical = sum(alert.severity == "critical" for alert in alerts)
    still = sum(alert.state != "cleared" for alert in alerts)
    parts = [f"{count} {what}" for count, what in ((critical, "critical"), (still, "not cleared")) if count]
    remark = f" ({', '.join(parts)})" if parts else ""
    return f"{counted(len(alerts), 'alert')}{remark}."


def _row(alert: Alert, sensitive: AbstractSet[str]) -> AlertRow:
    causes = [_cause(cause, sensitive) for cause in alert.causes[:SHOWN_CAUSES]]
    where = alert.evidence
    remarks = [alert.suppressed and f"nobody was woken: {alert.suppressed}",
               alert.acknowledged_by and f"acknowledged by {alert.acknowledged_by}", alert.note]  # fmt: skip
    return AlertRow(
        id=alert.id,
        severity=alert.severity,
        state=alert.state,
        title=alert.title,
        first=instant(alert.first_seen),
        last=instant(alert.last_seen),
        alarms=counted(alert.count, "alarm"),
        causes=causes,
        more=len(alert.causes) - len(causes) + alert.more_causes,
        model=alert.model or "",
        where=""
        if where is None
        else f"{where.partition}-{where.first_offset} to {where.partition}-{where.last_offset}",
        remark="; ".join(filter(None, remarks)),
    )


def _cause(cause: Cause, sensitive: AbstractSet[str]) -> str:
    """One cause in a line; of what is sensitive no figures and no value, whoever wrote the alert.

    >>> cause = Cause("feature:distance", "data_drift", "location", "ecusum", 4.0, {"mean": 1040.0}, {"mean": 1620.0})
    >>> _cause(cause, set()), _cause(cause, {"distance"})
    ('distance: mean 1,040 → 1,620 (location)', 'distance: location changed')
    """
    if cause.signal.partition(":")[2] in sensitive:
        cause = replace(cause, before={}, after={}, farthest={})
    if cause.slice is not None and (feature := cause.slice.partition("=")[0]) in sensitive:
        cause = replace(cause, slice=f"{feature}=(not shown)")
    return cause_text(cause)
