"""The alert book: from alarms, which detectors give, to alerts, which people read. Pure: it knows no clock.

The rules, in the order in which they apply to an alarm:

1. **One story, one alert.** Families that explain each other are one story: `data_drift`, `joint_drift` and
   `score_drift` (features moved, so the scores did); `concept_drift` and `quality` (errors rose, so the metrics fell).
   Every other family is a story of its own. A story of a model has at most one open alert.
2. **Confirmation.** A cause (a signal and an aspect of it) counts after N alarms within T segments. Faults, and alarms
   far above their threshold, count at once.
3. **Joining.** A cause joins its story's open alert, or opens one.
4. **Silence.** During a rollout stage the families that it moves, and during a cool-down the signals of the alert that
   was cleared, are recorded and wake nobody; unless, in a cool-down, it is worse than before. A silent alert is raised
   by the first alarm that nothing holds back, whoever had it.
5. **Telling.** A new alert and a higher severity are told at once. More causes in steps: 5 segments after the last
   telling, then 10, 20, … And a reminder comes every `remind_s` of event time while alarms go on.
6. **Clearing** after `clear_after` segments and `clear_after_s` of event time without an alarm of its causes; then the
   cool-down begins.

Time is event time, the latest that any position has named, and segments are counted as they are observed: those of
summaries, of labelled rows and of operations each for themselves, since they come at different paces and times.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.alerts.causes import alarm_order, cause_of, cause_order, index, merged, same
from penstock.monitoring.alerts.severity import is_certain, is_fault, severity_of, worse
from penstock.monitoring.alerts.state import (
    PACE,
    BookState,
    CoolDown,
    Kind,
    OpenAlert,
    PendingCause,
    Suppression,
    content_id,
)
from penstock.monitoring.alerts.state import Position as Position
from penstock.monitoring.alerts.state import UnreadableBook as UnreadableBook
from penstock.monitoring.alerts.titles import title
from penstock.monitoring.config import AlertsConfig
from penstock.schemas.alerts import Alert, Cause, Severity, Whereabouts

STORIES: dict[str, tuple[str, ...]] = {
    "drift": ("data_drift", "joint_drift", "score_drift"),
    "quality": ("concept_drift", "quality"),
}
"""Families that are one story, from cause to consequence."""

MOVED_BY_ROLLOUTS = frozenset({"score_drift", "quality"})

CAUSES_SHOWN = 20
CAUSES_KEPT = 256
PENDING_KEPT = 1024
COOL_DOWNS_KEPT = 256
IDS_SHOWN = 5

_STORY_OF = {family: story for story, families in STORIES.items() for family in families}


class AlertBook:
    """The open alerts of one pipeline.

    `sensitive` names features whose figures never stand in an alert.

    >>> book = AlertBook(AlertsConfig(clear_after=2, clear_after_s=60.0), pipeline="flights")
    >>> def observe(segment, *alarms):
    ...     at = Position(0, segment, 512 * segment, 512 * segment + 511, time=60_000 * segment, model="delay@3")
    ...     return [(alert.state, alert.title) for alert in book.observe(alarms, position=at)]
    >>> observe(0, Alarm("data_drift", "feature:wind", "ecusum", "location", 14.0, 12.0, {"mean": 10.5}, {"mean": 21}))
    [('raised', 'wind: mean 10.5 → 21 (location)')]
    >>> observe(1)
    []
    >>> observe(2)
    [('cleared', 'wind: mean 10.5 → 21 (location)')]
    """

    def __init__(self, config: AlertsConfig, *, pipeline: str, sensitive: Collection[str] = ()) -> None:
        self._config = config
        self._pipeline = pipeline
        self._sensitive = frozenset(sensitive)
        self._state = BookState()

    @property
    def open(self) -> list[Alert]:
        """The alerts that are not cleared, the oldest first, as they stand now."""
        return [self._shown(alert) for alert in self._state.open]

    def observe(self, alarms: Sequence[Alarm], *, position: Position) -> list[Alert]:
        """The states to be told after one more segment, also one without alarms: that is what clears.

        The order of the alarms within a segment does not matter.
        """
        state = self._state
        state.times[position.kind] = max(state.times.get(position.kind, 0), position.time)
        state.steps[position.kind] = state.steps.get(position.kind, 0) + 1
        self._forget(position.kind)
        for alarm in sorted(alarms, key=alarm_order):
            self._take(alarm, position)
        told = []
        for alert in list(state.open):
            if self._is_over(alert):
                told.append(self._clear(alert))
            elif self._is_due(alert):
                told.append(self._tell(alert))
        return told

    def acknowledge(self, alert_id: str, by: str, note: str | None = None) -> list[Alert]:
        """A person has the alert: the state to be told, or nothing where it is not open or they had it already."""
        for alert in self._state.open:
            if alert.id == alert_id and (alert.acknowledged_by, alert.note) != (by, note):
                alert.acknowledged_by, alert.note = by, note
                return [self._tell(alert)]
        return []

    def suppress(self, reason: str, *, until: int | None = None, families: Collection[str] = MOVED_BY_ROLLOUTS) -> None:
        """Record alarms of `families`, faults excepted, and wake nobody: until `resume`, or event time `until` (ms).

        `reason` is for people: "canary of delay@4, 10 %".
        """
        self._state.suppression = Suppression(reason, until, sorted(families))

    @property
    def suppressed(self) -> Suppression | None:
        """What `suppress` was told, until it ends."""
        return self._state.suppression

    def resume(self) -> None:
        """End what `suppress` began. Alerts that it kept silent are raised by their next alarm, if one comes."""
        self._state.suppression = None

    def snapshot(self) -> bytes:
        """Everything the book knows, for `restore`."""
        return self._state.encode()

    @classmethod
    def restore(
        cls, snapshot: bytes, config: AlertsConfig, *, pipeline: str, sensitive: Collection[str] = ()
    ) -> AlertBook:
        """The book as it was. Raises UnreadableBook."""
        book = cls(config, pipeline=pipeline, sensitive=sensitive)
        book._state = BookState.decode(snapshot)
        return book

    def _take(self, alarm: Alarm, position: Position) -> None:
        severity = severity_of(alarm, self._config.severity)
        cause = cause_of(alarm, self._sensitive)
        story = _STORY_OF.get(alarm.family, alarm.family)
        alert = self._find(story, position.model)
        known = -1 if alert is None else index(alert.causes, cause)
        count, first_seen = 1, position.time
        if known < 0 and self._config.confirm[0] > 1:
            pending = self._confirm(alarm, story, position, cause, severity)
            if pending is None:
                return
            cause, severity, count, first_seen = pending.cause, pending.severity, pending.count, pending.first_seen
        held_back = self._held_back(alarm, severity, story, position.model)
        if alert is None:
            alert = self._opened(story, position, severity, held_back)
        alert.first_seen = min(alert.first_seen, first_seen)
        alert.last_seen = max(alert.last_seen, position.time)
        alert.last_step, alert.last_time = self._now(alert.kind)
        alert.count += count
        if alert.suppressed is not None and held_back is None:
            alert.suppressed, alert.urgent, alert.raised = None, True, False
            alert.acknowledged_by = alert.note = None
        if known >= 0:
            alert.causes[known] = merged(alert.causes[known], cause)
        else:
            alert.causes.append(cause)
            alert.grown = True
        alert.causes.sort(key=cause_order)
        del alert.causes[CAUSES_KEPT:]
        if worse(severity, alert.severity):
            alert.severity, alert.urgent = severity, True
            alert.acknowledged_by = alert.note = None

    def _find(self, story: str, model: str | None) -> OpenAlert | None:
        return next((alert for alert in self._state.open if (alert.story, alert.model) == (story, model)), None)

    def _opened(self, story: str, position: Position, severity: Severity, held_back: str | None) -> OpenAlert:
        rows, (step, time) = None, self._now(position.kind)
        if position.kind != "operations":
            first, last, ids = position.first_offset, position.last_offset, list(position.ids[:IDS_SHOWN])
            rows = Whereabouts(position.partition, first, last, ids)
        alert = OpenAlert(
            id=content_id(self._pipeline, story, position),
            story=story,
            model=position.model,
            kind=position.kind,
            routing_revision=position.routing_revision,
            evidence=rows,
            severity=severity,
            suppressed=held_back,
            first_seen=position.time,
            last_seen=position.time,
            last_step=step,
            last_time=time,
        )
        self._state.open.append(alert)
        return alert

    def _confirm(
        self, alarm: Alarm, story: str, position: Position, cause: Cause, severity: Severity
    ) -> PendingCause | None:
        """The cause with its earlier alarms, once there are N of them within T segments."""
        step, waiting = self._state.steps[position.kind], self._state.pending
        for pending in waiting:
            if (pending.story, pending.model) == (story, position.model) and same(pending.cause, cause):
                pending.cause = merged(pending.cause, cause)
                pending.severity = severity if worse(severity, pending.severity) else pending.severity
                break
        else:
            pending = PendingCause(story, position.model, position.kind, cause, severity, position.time)
            waiting.append(pending)
            if len(waiting) > PENDING_KEPT:
                waiting.pop(0)
        pending.count += 1
        if step not in pending.steps:  # two detectors that see the same in one segment are one witness
            pending.steps.append(step)
        if len(pending.steps) < self._config.confirm[0] and not is_certain(alarm):
            return None
        waiting.remove(pending)
        return pending

    def _forget(self, kind: Kind) -> None:
        """What lies too far back to matter: unconfirmed alarms before the last T segments, cool-downs that are over."""
        state, step, time, (_, window) = self._state, *self._now(kind), self._config.confirm
        for pending in state.pending:
            if pending.kind == kind:
                pending.steps = [each for each in pending.steps if step - each < window]
        state.pending = [pending for pending in state.pending if pending.steps]
        state.cool_downs = [each for each in state.cool_downs if each.kind != kind or time < each.until]
        until = None if state.suppression is None else state.suppression.until
        if until is not None and kind == "summary" and time >= until:
            state.suppression = None

    def _held_back(self, alarm: Alarm, severity: Severity, story: str, model: str | None) -> str | None:
        """Why this alarm wakes nobody; None: it does."""
        suppression = self._state.suppression
        if suppression is not None and alarm.family in suppression.families and not is_fault(alarm):
            return suppression.reason
        for cool_down in self._state.cool_downs:
            mine = (cool_down.story, cool_down.model) == (story, model) and alarm.signal in cool_down.signals
            if mine and not worse(severity, cool_down.severity):
                return f"cool-down after {cool_down.id}"
        return None

    def _now(self, kind: Kind) -> tuple[int, int]:
        """Segments and time of a kind."""
        return self._state.steps[kind], self._state.times[kind]

    def _is_over(self, alert: OpenAlert) -> bool:
        step, time = self._now(alert.kind)
        quiet = step - alert.last_step >= self._config.clear_after
        return quiet and time - alert.last_time >= self._config.clear_after_s * 1000

    def _is_due(self, alert: OpenAlert) -> bool:
        step, time = self._now(alert.kind)
        if alert.urgent or (alert.grown and step - alert.told_step >= alert.wait):
            return True
        return alert.count > alert.told_count and time - alert.told_time >= self._config.remind_s * 1000

    def _tell(self, alert: OpenAlert) -> Alert:
        shown = self._shown(alert)
        if alert.grown and alert.raised:
            alert.wait = min(2 * alert.wait, max(PACE, self._config.clear_after))
        alert.raised, alert.urgent, alert.grown = True, False, False
        alert.told_step, alert.told_time = self._now(alert.kind)
        alert.told_count = alert.count
        return shown

    def _clear(self, alert: OpenAlert) -> Alert:
        """Silent alerts begin no cool-down: or a signal that keeps coming back would be silent for ever."""
        state = self._state
        state.open.remove(alert)
        if alert.suppressed is None and self._config.cool_down_s > 0:
            until = state.times[alert.kind] + round(self._config.cool_down_s * 1000)
            signals = sorted({cause.signal for cause in alert.causes})
            state.cool_downs.append(
                CoolDown(alert.id, alert.story, alert.model, alert.kind, until, signals, alert.severity)
            )
            del state.cool_downs[:-COOL_DOWNS_KEPT]
        return msgspec.structs.replace(self._shown(alert), state="cleared")

    def _shown(self, alert: OpenAlert) -> Alert:
        upstream = STORIES.get(alert.story, (alert.story,))
        families = {cause.family for cause in alert.causes}
        acknowledged = alert.acknowledged_by is not None
        return Alert(
            id=alert.id,
            state="acknowledged" if acknowledged else "ongoing" if alert.raised else "raised",
            severity=alert.severity,
            title=title(alert.causes, upstream),
            pipeline=self._pipeline,
            family=next(family for family in upstream if family in families),
            first_seen=alert.first_seen,
            last_seen=alert.last_seen,
            time=self._state.times[alert.kind],
            count=alert.count,
            causes=alert.causes[:CAUSES_SHOWN],
            more_causes=max(0, len(alert.causes) - CAUSES_SHOWN),
            model=alert.model,
            routing_revision=alert.routing_revision,
            evidence=alert.evidence,
            suppressed=alert.suppressed,
            acknowledged_by=alert.acknowledged_by,
            note=alert.note,
        )
