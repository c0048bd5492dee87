"""Alerts: what the subscribers of the alert topic read, and how a person answers one.

An alert's record has the alert's id as key and one JSON document as value: a subscriber who keeps the last record of
each key knows what is wrong now. The same state can come twice (readers of topics, and sinks beside them, are told at
least once); id, state and time tell repeats.

| state | what it means |
|---|---|
| raised | new: somebody should look |
| ongoing | it goes on: more causes, a higher severity, or a reminder |
| acknowledged | a person has it; what follows is silent until the severity rises or the alert is cleared |
| cleared | no detector has alarmed on its causes for a while: either the values came back, or they stayed where they went and are the reference now; the causes' figures tell which |
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeVar

import msgspec

from penstock.schemas.errors import PenstockError
from penstock.schemas.records import SCHEMA_HEADER

ALERT_SCHEMA = (SCHEMA_HEADER, b"alert/1")
ACKNOWLEDGEMENT_SCHEMA = (SCHEMA_HEADER, b"acknowledgement/1")

Severity = Literal["info", "warning", "critical"]
State = Literal["raised", "ongoing", "cleared", "acknowledged"]

Header = tuple[str, bytes]
KeyValueHeaders = tuple[bytes, bytes, list[Header]]


class Cause(msgspec.Struct, frozen=True, omit_defaults=True):
    """One signal's part in an alert, with its figures before and after. A sensitive feature has no figures.

    signal         as `penstock.schemas.summaries` names them: feature:distance, score:champion, …
    family         of the alarms: data_drift, score_drift, …
    aspect         what changed about the signal: location, spread, missing, …
    detector       the name of the detector whose alarm was the strongest
    contribution   evidence in nats per thousand rows since the change began or, where that is not known, how far that
                   detector's statistic was above its threshold; causes are sorted by it
    before         figures when the alert began: mean, deviation, missing, …
    after          the same, as the last alarm saw them
    farthest       figures that have come back since: where they were at their farthest from before
    slice          FEATURE=VALUE where it concerns one slice only
    """

    signal: str
    family: str
    aspect: str
    detector: str
    contribution: float
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    farthest: dict[str, float] = {}
    slice: str | None = None


class Whereabouts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where to look: the rows of the segment that raised the alert, in the scored log.

    partition                   of the events topic and of the scored log
    first_offset, last_offset   source offsets, both inside
    ids                         of a few of its events
    """

    partition: int
    first_offset: int
    last_offset: int
    ids: list[str] = []


class Alert(msgspec.Struct, frozen=True, omit_defaults=True):
    """One state of one alert; the topic's key is `id`, so a compacting subscriber sees each alert's latest state.

    id                 the same through raised, ongoing and cleared; derived from what raised it, so a restart keeps it
    severity           the highest so far
    title              one sentence for a person
    family             of the cause that explains the others: of drifting features and scores, the features'
    first_seen, last_seen   event time of the first and the last alarm, Unix ms
    time               event time that the judge had reached when it wrote this state, Unix ms
    count              alarms so far
    causes             the strongest first, 20 at most
    more_causes        how many more there are; 236 stands for that many or more
    model              NAME@VERSION that answered
    evidence           where to look
    suppressed         why nobody was woken: a rollout stage, a cool-down
    acknowledged_by    and
    note               of the person who has it
    """

    id: str
    state: State
    severity: Severity
    title: str
    pipeline: str
    family: str
    first_seen: int
    last_seen: int
    time: int
    count: int
    causes: list[Cause]
    more_causes: int = 0
    model: str | None = None
    routing_revision: int | None = None
    evidence: Whereabouts | None = None
    suppressed: str | None = None
    acknowledged_by: str | None = None
    note: str | None = None

    @property
    def wakes(self) -> bool:
        """Whether this state is told to people, beside being on the topic."""
        return self.suppressed is None and self.state != "acknowledged"


class Acknowledgement(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person has an alert. Written to the summaries topic, so that the judge applies it in the order of all else.

    alert   its id
    by      who
    time    when, Unix ms
    """

    alert: str
    by: str
    time: int
    note: str | None = None


class UnreadableAlert(PenstockError):
    """A record is no alert, or no acknowledgement, that this version knows.

    >>> print(UnreadableAlert("flights.alerts, offset 7", "alert", "it names schema alert/2, not alert/1", newer=True))
    flights.alerts, offset 7: the record is no alert that can be read: it names schema alert/2, not alert/1. Upgrade \
Penstock.
    """

    def __init__(self, place: str, what: str, cause: str, *, newer: bool = False) -> None:
        self.place, self.what, self.cause, self.newer = place, what, cause, newer
        fix = " Upgrade Penstock." if newer else ""
        super().__init__(f"{place}: the record is no {what} that can be read: {cause}.{fix}")


def encode_alert(alert: Alert) -> KeyValueHeaders:
    """The record of an alert's state: key, value, headers.

    >>> alert = Alert("drift-5f0c2ab917", "raised", "warning", "distance: mean 1,040 → 1,620 (location)", "flights",
    ...               "data_drift", 1357034400000, 1357034400000, 1357034400000, 1, causes=[])
    >>> key, value, headers = encode_alert(alert)
    >>> key, value[:57]
    (b'drift-5f0c2ab917', b'{"id":"drift-5f0c2ab917","state":"raised","severity":"war')
    >>> decode_alert(value, headers, "flights.alerts, offset 0") == alert
    True
    """
    return alert.id.encode(), msgspec.json.encode(alert), [ALERT_SCHEMA]


def decode_alert(value: bytes | None, headers: Iterable[Header], place: str) -> Alert:
    """The alert in a record of the alerts topic; `place` names it in errors. Raises UnreadableAlert."""
    return _decode(value, headers, place, ALERT_SCHEMA, Alert)


def encode_acknowledgement(acknowledgement: Acknowledgement) -> KeyValueHeaders:
    """The record for the summaries topic: key, value, headers."""
    return acknowledgement.alert.encode(), msgspec.json.encode(acknowledgement), [ACKNOWLEDGEMENT_SCHEMA]


def decode_acknowledgement(value: bytes | None, headers: Iterable[Header], place: str) -> Acknowledgement:
    """The acknowledgement in a record of the summaries topic. Raises UnreadableAlert."""
    return _decode(value, headers, place, ACKNOWLEDGEMENT_SCHEMA, Acknowledgement)


_Record = TypeVar("_Record", Alert, Acknowledgement)


def _decode(value: bytes | None, headers: Iterable[Header], place: str, schema: Header, type: type[_Record]) -> _Record:
    expected = schema[1].decode()
    what = expected.partition("/")[0]
    found = dict(headers).get(SCHEMA_HEADER)
    if found != schema[1]:
        named = "no schema" if found is None else f"schema {found.decode(errors='replace')}"
        newer = found is not None and found.startswith(f"{what}/".encode())
        raise UnreadableAlert(place, what, f"it names {named}, not {expected}", newer=newer)
    if value is None:
        raise UnreadableAlert(place, what, "it has no value")
    try:
        return msgspec.json.decode(value, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableAlert(place, what, str(error).rstrip(".")) from error
