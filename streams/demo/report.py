"""What the demo found, as JSON for programs; `penstock.streams.demo.screen` shows it to people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.alerts.titles import cause_text
from penstock.schemas.alerts import Alert
from penstock.streams.demo.costs import FaultCost, costs, fault_behind, named_at
from penstock.streams.demo.counterfactual import Counterfactual
from penstock.streams.demo.evaluation import auc_by_month, log_loss, overall_auc, utc_months
from penstock.streams.demo.findings import Findings, month_of
from penstock.streams.demo.flights import Flights
from penstock.streams.demo.ledger import Account
from penstock.streams.demo.story import Chapter
from penstock.streams.demo.traffic import BAD, Traffic


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds from just before an event is sent until its prediction has been read by a consumer."""

    p50: float | None
    p99: float | None


THE_SERVICE_ITSELF = 1_400_000_000_000
"""An alert that stands later is about the service itself, which lives today; the flights are of 2013. Unix ms."""


class Month(msgspec.Struct, frozen=True):
    """What the service knows of a month of event time, UTC.

    auc, log_loss   of its labelled predictions, whichever model made them, from the summaries
    coverage        share of predictions whose label came in time
    alerts          that were raised
    alone           log loss that the first champion would have had alone; the demo knows, not the service
    """

    auc: float | None
    log_loss: float | None
    coverage: float | None
    alerts: int
    alone: float | None = None


class AlertFound(msgspec.Struct, frozen=True):
    """An alert as it stood in the end; times are event time, Unix ms.

    time    of the first alarm; of a fault's alert, of the first alarm about the fault
    aspect  of its leading cause, as is the strength: nats per thousand rows
    fault   that is behind it, as the demo knows; None: the year itself
    causes  in words, the strongest first
    """

    id: str
    severity: str
    state: str
    family: str
    title: str
    time: int
    first_seen: int
    last_seen: int
    alarms: int
    strength: float
    aspect: str
    causes: list[str]
    fault: str | None

    @classmethod
    def of(cls, life: Sequence[Alert]) -> AlertFound:
        """From the alert's states, in the order in which they were told."""
        alert, fault = life[-1], fault_behind(life[-1])
        lead = next(cause for cause in alert.causes if cause.family == alert.family)
        time = alert.first_seen if fault is None else max(alert.first_seen, named_at(fault, life))
        return cls(
            alert.id, alert.severity, alert.state, alert.family, alert.title, time, alert.first_seen, alert.last_seen,
            alert.count, lead.contribution, lead.aspect,
            [cause_text(cause) for cause in alert.causes], None if fault is None else fault.name,
        )  # fmt: skip


class Report(msgspec.Struct, frozen=True):
    """What `--report FILE.json` holds.

    events        records sent, the bad ones included
    lost          records that came to neither a prediction nor a dead letter
    doubled       predictions and dead letters beyond the first of a record
    events_per_s  of the part that was sent as fast as it goes and did not wait for the judge: from the first sending to
                  the last outcome
    latency_ms    of the part that was sent at an even pace
    auc_by_month  month (1 to 12) → area under the ROC curve of its flights that arrived
    seconds       of the whole demo until here
    """

    events: int
    predictions: int
    dead_letters: int
    lost: int
    doubled: int
    events_per_s: float
    latency_ms: Latency
    auc_by_month: dict[int, float]
    seconds: float
    rule_auc_by_month: dict[int, float]
    """Of a rule that needs no model: the trailing delay of the origin alone."""
    auc: float | None
    rule_auc: float | None
    """Of all months together."""
    quality_by_month: dict[int, Month] = {}
    quality: Month = Month(None, None, None, 0)
    alerts: list[AlertFound] = []
    faults: list[FaultCost] = []
    story: list[Chapter] = []
    """What was decided about the candidates, in order."""
    looks: int = 0
    """That the judge took at them."""


@dataclass(frozen=True)
class Stretches:
    """How the records were sent: [0, paced_from) as fast as it goes, the rest at an even `pace`, which is in words.

    The replay waited for the judge before `free_from`, and not from there on.
    """

    paced_from: int
    pace: str
    free_from: int = 0


def make_report(
    flights: Flights,
    traffic: Traffic,
    account: Account,
    stretches: Stretches,
    *,
    findings: Findings,
    counterfactual: Counterfactual,
    seconds: float,
) -> Report:
    """`flights` are those of the traffic, as they were before a fault came over them."""
    good = traffic.rows != BAD
    scores, versions = np.full(len(flights), np.nan), np.zeros(len(flights), np.int64)
    scores[traffic.rows[good]], versions[traffic.rows[good]] = account.score[good], account.version[good]
    rule, alone = counterfactual.rule, counterfactual.alone
    predicted = account.predictions > 0
    paced = predicted & (np.arange(len(traffic)) >= stretches.paced_from)
    delays_ms = (account.settled_at - account.sent_at)[paced] * 1000
    p50, p99 = np.percentile(delays_ms, [50, 99]).round(2).tolist() if len(delays_ms) else (None, None)
    return Report(
        events=len(traffic),
        predictions=int(account.predictions.sum()),
        dead_letters=int(account.dead_letters.sum()),
        lost=account.lost,
        doubled=account.doubled,
        events_per_s=round(_rate(account, stretches.free_from, stretches.paced_from or len(traffic)), 1),
        latency_ms=Latency(p50, p99),
        auc_by_month=_rounded(auc_by_month(flights, scores)),
        seconds=round(seconds, 2),
        rule_auc_by_month=_rounded(auc_by_month(flights, rule)),
        auc=_round(overall_auc(flights, scores)),
        rule_auc=_round(overall_auc(flights, rule)),
        quality_by_month=_by_month(findings, flights, alone),
        quality=_whole(findings, flights, alone),
        alerts=_alerts(findings),
        faults=costs(flights, scores, counterfactual.unspoilt(versions), findings.lives),
        story=findings.story,
        looks=sum(decision.after is None and decision.look is not None for decision in findings.decisions),
    )


def _alerts(findings: Findings) -> list[AlertFound]:
    found = (AlertFound.of(findings.lives[alert.id]) for alert in findings.alerts)
    return sorted(found, key=lambda alert: alert.time)


def _by_month(findings: Findings, flights: Flights, alone: NDArray[np.floating]) -> dict[int, Month]:
    quality, coverage, months = findings.quality_by_month(), findings.coverage, utc_months(flights.time)
    alerts = Counter(month_of(alert.first_seen) for alert in findings.alerts if alert.first_seen < THE_SERVICE_ITSELF)
    return {
        month: _month(
            quality[month], coverage.get(month, (0, 0)), alerts[month], _loss(flights, alone, months == month)
        )
        for month in sorted(quality)
    }


def _loss(flights: Flights, scores: NDArray[np.floating], rows: NDArray[np.bool_]) -> float | None:
    judged = rows & flights.labelled & ~np.isnan(scores)
    return round(log_loss(scores[judged], flights.late[judged]), 4) if judged.any() else None


def _whole(findings: Findings, flights: Flights, alone: NDArray[np.floating]) -> Month:
    rows, labelled = np.array(list(findings.coverage.values()), np.int64).reshape(-1, 2).sum(0).tolist()
    alerts = sum(alert.first_seen < THE_SERVICE_ITSELF for alert in findings.alerts)
    return _month(findings.quality, (rows, labelled), alerts, _loss(flights, alone, np.ones(len(flights), np.bool_)))


def _month(figures: dict[str, float], coverage: tuple[int, int], alerts: int, alone: float | None) -> Month:
    rows, labelled = coverage
    return Month(
        _round(figures.get("auc", np.nan)), _round(figures.get("log_loss", np.nan)),
        _round(labelled / rows if rows else np.nan), alerts, alone,
    )  # fmt: skip


def _rate(account: Account, start: int, stop: int) -> float:
    """Events per second over records [start, stop), from the first sending to the last outcome."""
    settled = account.settled_at[start:stop]
    if np.isnan(settled).all():
        return 0.0
    return float((~np.isnan(settled)).sum() / max(float(np.nanmax(settled) - account.sent_at[start:stop].min()), 1e-9))


def _rounded(by_month: dict[int, float]) -> dict[int, float]:
    return {month: round(value, 4) for month, value in by_month.items()}


def _round(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)
