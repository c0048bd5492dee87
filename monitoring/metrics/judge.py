"""What the judge counts, for Prometheus: what it read, the alerts, and who was told of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from penstock.monitoring.metrics.score import PipelineMetrics
from penstock.schemas.alerts import Alert
from penstock.schemas.control import Rollout
from penstock.schemas.gates import Verdict

Told = Literal["told", "failed", "dropped"]
"""How telling a sink ended: dropped is what a full queue could not take."""


class JudgeMetrics(PipelineMetrics):
    """Counters of the judge.

    >>> metrics = JudgeMetrics("flights")
    >>> metrics.count_told("webhook", "failed")
    >>> 'penstock_alert_sinks_total{outcome="failed",pipeline="flights",sink="webhook"} 1.0' in (
    ...     metrics.exposition().decode())
    True
    """

    def __init__(self, pipeline: str) -> None:
        super().__init__(pipeline)
        self._judged = self._counter("penstock_judged", "Records of the summaries topic, by what they are.", "kind")
        self._unreadable = self._counter(
            "penstock_unreadable_summaries", "Records of the summaries topic that could not be read."
        ).labels(pipeline)
        self._alerts = self._counter(
            "penstock_alerts", "States of alerts that were written.", "family", "severity", "state", "suppressed"
        )
        self._open = self._gauge("penstock_alerts_open", "Alerts that are not cleared.", "family", "severity", "state")
        self._sinks = self._counter("penstock_alert_sinks", "Alerts told beside the topic.", "sink", "outcome")
        self._looks = self._counter("penstock_rollout_looks", "Looks at a rollout that were written.", "verdict")
        self._stage = self._gauge("penstock_rollout_stage", "Stage of the rollout, from 0 on.", "candidate")
        self._share = self._gauge(
            "penstock_rollout_share", "Share of the keys that the rollout's candidate answers.", "candidate"
        )
        self._now_open: dict[str, Alert] = {}

    def count_judged(self, kind: str, records: int = 1) -> None:
        """Records of one kind: summary, quality, comparison, operations, acknowledgement."""
        self._judged.labels(self._pipeline, kind).inc(records)

    def count_unreadable(self) -> None:
        """A record of the summaries topic that could not be read, and was skipped."""
        self._unreadable.inc()

    def count_alert(self, alert: Alert) -> None:
        """A state of an alert that has been committed."""
        suppressed = "no" if alert.suppressed is None else "yes"
        self._alerts.labels(self._pipeline, alert.family, alert.severity, alert.state, suppressed).inc()
        if alert.state == "cleared":
            self._now_open.pop(alert.id, None)
        else:
            self._now_open[alert.id] = alert
        self._show_open()

    def show_open(self, alerts: Iterable[Alert]) -> None:
        """These alerts are open, and no others: what a judge begins with."""
        self._now_open = {alert.id: alert for alert in alerts}
        self._show_open()

    def count_look(self, verdict: Verdict) -> None:
        """A look at a rollout that has been committed."""
        self._looks.labels(self._pipeline, verdict).inc()

    def show_rollout(self, rollout: Rollout | None) -> None:
        """Where the rollout stands; None: there is none. One that has been promoted stands behind its last stage."""
        self._stage.clear()
        self._share.clear()
        if rollout is not None:
            stage = len(rollout.stages) if rollout.baking else rollout.stage
            self._stage.labels(self._pipeline, str(rollout.candidate)).set(stage)
            self._share.labels(self._pipeline, str(rollout.candidate)).set(rollout.share)

    def count_told(self, sink: str, outcome: Told) -> None:
        """How telling a sink of one alert ended."""
        self._sinks.labels(self._pipeline, sink, outcome).inc()

    def _show_open(self) -> None:
        self._open.clear()
        found = Counter((alert.family, alert.severity, alert.state) for alert in self._now_open.values())
        for (family, severity, state), count in found.items():
            self._open.labels(self._pipeline, family, severity, state).set(count)
