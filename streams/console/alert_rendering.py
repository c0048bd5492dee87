"""Alerts as rows, lines and documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.monitoring.alerts.titles import cause_text
from penstock.schemas.alerts import Alert

if TYPE_CHECKING:
    from penstock.streams.console.alerts import Told

COLUMNS = ("id", "severity", "state", "since", "alarms", "alert")


def printable(text: str) -> str:
    r"""Text that cannot draw on the screen: names of features and categories are the user's.

    >>> printable("wind\x1b[2J: mean 1 → 2")
    'wind\\x1b[2J: mean 1 → 2'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def minute(unix_ms: int) -> str:
    """A time in UTC, to the minute; `-` where it is none.

    >>> minute(1357034400000)
    '2013-01-01 10:00'
    """
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return "-"


def alert_row(alert: Alert) -> list[str]:
    """One alert in a table with `COLUMNS`."""
    silent = f" (silent: {alert.suppressed})" if alert.suppressed else ""
    by = f" by {alert.acknowledged_by}" if alert.state == "acknowledged" else ""
    return [
        printable(alert.id),
        alert.severity,
        printable(alert.state + by),
        minute(alert.first_seen),
        f"{alert.count:,}",
        printable(alert.title + silent),
    ]


def alert_line(alert: Alert) -> str:
    """One state of an alert in one line.

    >>> alert = Alert("drift-5f0c2ab917", "ongoing", "warning", "wind: missing 1 % → 30 %", "flights", "data_drift",
    ...               0, 0, 0, 12, [], model="delay@3")
    >>> alert_line(alert)
    'ongoing, warning: wind: missing 1 % → 30 %  12 alarms  delay@3  drift-5f0c2ab917'
    """
    parts = [f"{alert.state}, {alert.severity}: {alert.title}", _alarms(alert.count)]
    if alert.model is not None:
        parts.append(alert.model)
    if alert.suppressed:
        parts.append(f"silent: {alert.suppressed}")
    if alert.acknowledged_by is not None:
        parts.append(f"acknowledged by {alert.acknowledged_by}{f': {alert.note}' if alert.note else ''}")
    return printable("  ".join([*parts, alert.id]))


def alert_lines(life: Sequence[Told]) -> Iterator[str]:
    """One alert in full: what it is now, its causes, and its states so far."""
    alert = life[-1].alert
    facts = [
        ("alert", alert.id),
        ("what", alert.title),
        ("state", f"{alert.state}, {alert.severity}"),
        ("pipeline", alert.pipeline),
        ("seen", f"{minute(alert.first_seen)} to {minute(alert.last_seen)} (event time), {_alarms(alert.count)}"),
    ]
    if alert.model is not None:
        revision = "" if alert.routing_revision is None else f", routing revision {alert.routing_revision}"
        facts.append(("model", alert.model + revision))
    if (where := alert.evidence) is not None:
        facts.append(("where", f"partition {where.partition}, offsets {where.first_offset} to {where.last_offset}"))
        if where.ids:
            facts.append(("events", ", ".join(where.ids)))
    if alert.suppressed is not None:
        facts.append(("silent", alert.suppressed))
    if alert.acknowledged_by is not None:
        facts.append(("taken by", alert.acknowledged_by + (f": {alert.note}" if alert.note else "")))
    for name, fact in facts:
        yield f"{name:<10}{printable(fact)}"
    yield ""
    yield "causes, the strongest first (nats per thousand rows)"
    for cause in alert.causes:
        yield f"  {cause.contribution:>10,.1f}  {printable(f'{cause_text(cause)}  {cause.detector}')}"
    if alert.more_causes:
        yield f"  and {alert.more_causes} more"
    yield ""
    yield "states"
    for told in life:
        state = f"{told.alert.state}, {told.alert.severity}: {told.alert.title}"
        yield f"  {minute(told.timestamp)}  {printable(state)}"


def document(alert: Alert) -> dict[str, Any]:
    """An alert for a program: as on the topic."""
    built: dict[str, Any] = msgspec.to_builtins(alert)
    return built


def _alarms(count: int) -> str:
    return "1 alarm" if count == 1 else f"{count:,} alarms"
