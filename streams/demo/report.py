"""What the demo found, as a table for people and as JSON for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.streams.demo.evaluation import auc_by_month, overall_auc
from penstock.streams.demo.flights import Flights
from penstock.streams.demo.ledger import Account
from penstock.streams.demo.traffic import BAD, Traffic

if TYPE_CHECKING:
    from rich.table import Table

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds from just before an event is sent until its prediction has been read by a consumer."""

    p50: float | None
    p99: float | None


class Report(msgspec.Struct, frozen=True):
    """What `--report FILE.json` holds.

    events        records sent, the bad ones included
    lost          records that came to neither a prediction nor a dead letter
    doubled       predictions and dead letters beyond the first of a record
    events_per_s  of the part that was sent as fast as it goes: from the first sending to the last outcome
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


@dataclass(frozen=True)
class Stretches:
    """How the records were sent: [0, paced_from) as fast as it goes, the rest at an even pace."""

    paced_from: int
    pace: str
    """In words."""


def make_report(
    flights: Flights,
    traffic: Traffic,
    account: Account,
    stretches: Stretches,
    *,
    rule: NDArray[np.floating],
    seconds: float,
) -> Report:
    """`flights` are those of the traffic; `rule` [len(flights)] is the score of the trivial rule."""
    good = traffic.rows != BAD
    scores = np.full(len(flights), np.nan)
    scores[traffic.rows[good]] = account.score[good]
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
        events_per_s=round(_rate(account, stretches.paced_from or len(traffic)), 1),
        latency_ms=Latency(p50, p99),
        auc_by_month=_rounded(auc_by_month(flights, scores)),
        seconds=round(seconds, 2),
        rule_auc_by_month=_rounded(auc_by_month(flights, rule)),
        auc=_round(overall_auc(flights, scores)),
        rule_auc=_round(overall_auc(flights, rule)),
    )


def _rate(account: Account, stop: int) -> float:
    """Events per second over records [0, stop), from the first sending to the last outcome."""
    settled = account.settled_at[:stop]
    if np.isnan(settled).all():
        return 0.0
    return float((~np.isnan(settled)).sum() / max(float(np.nanmax(settled) - account.sent_at[:stop].min()), 1e-9))


def _rounded(by_month: dict[int, float]) -> dict[int, float]:
    return {month: round(value, 4) for month, value in by_month.items()}


def _round(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def counts_table(report: Report, stretches: Stretches, bad: int) -> Table:
    """What went in and what came out."""
    from rich.table import Table

    table = Table(title="From event to prediction", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    latency = report.latency_ms
    for row in (
        ("events in", f"{report.events:,}", f"{bad} of them bad on purpose"),
        ("predictions", f"{report.predictions:,}", ""),
        ("dead letters", f"{report.dead_letters:,}", "original bytes and a reason"),
        ("lost", f"{report.lost:,}", "neither of the two"),
        ("doubled", f"{report.doubled:,}", "more than one outcome"),
        ("events per second", f"{report.events_per_s:,.0f}", "first sent to last outcome"),
        ("latency p50", _ms(latency.p50), "from sending to reading,"),
        ("latency p99", _ms(latency.p99), stretches.pace),
    ):
        table.add_row(*row)
    return table


def auc_table(report: Report) -> Table:
    """The model beside the trivial rule, month by month."""
    from rich.table import Table

    table = Table(
        title="AUC by month",
        title_justify="left",
    )
    table.add_column("2013")
    table.add_column("model", justify="right")
    table.add_column("rule", justify="right", style="dim")
    for month, value in report.auc_by_month.items():
        table.add_row(MONTHS[month - 1], _auc(value), _auc(report.rule_auc_by_month.get(month)))
    table.add_section()
    table.add_row("all", _auc(report.auc), _auc(report.rule_auc), style="bold")
    return table


def _auc(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms"
