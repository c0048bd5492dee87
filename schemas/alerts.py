"""Alerts: what the subscribers of the alert topic read."""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.schemas.records import SCHEMA_HEADER

ALERT_SCHEMA = (SCHEMA_HEADER, b"alert/1")

Severity = Literal["info", "warning", "critical"]
State = Literal["raised", "ongoing", "cleared", "acknowledged"]


class Cause(msgspec.Struct, frozen=True, omit_defaults=True):
    """One signal's part in an alert, with its figures before and after."""

    signal: str
    aspect: str
    detector: str
    contribution: float
    """How far the detector's statistic is above its threshold, in nats; the causes are sorted by it."""
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    slice: str | None = None


class Alert(msgspec.Struct, frozen=True, omit_defaults=True):
    """One state of one alert; the topic's key is `id`, so a compacting subscriber sees each alert's latest state.

    id           the same through raised, ongoing and cleared
    title        one sentence for a person
    first_seen, last_seen   event time, Unix ms
    time         when this state was written, Unix ms
    count        alarms so far
    evidence     where to look: partition, first and last source offset of the segment that alarmed, sampled ids
    """

    id: str
    pipeline: str
    family: str
    severity: Severity
    state: State
    title: str
    causes: list[Cause]
    first_seen: int
    last_seen: int
    time: int
    count: int
    model: str | None = None
    routing_revision: int | None = None
    evidence: dict[str, int | str | list[str]] = {}
    suppressed: str | None = None
    """Why nobody was woken: a rollout stage, a cool-down."""
    acknowledged_by: str | None = None
    note: str | None = None
