"""What the demo found, for people: tables of 80 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from penstock.streams.console.alert_rendering import printable
from penstock.streams.demo.costs import FaultCost
from penstock.streams.demo.findings import month_of
from penstock.streams.demo.report import THE_SERVICE_ITSELF, AlertFound, Report, Stretches
from penstock.streams.demo.story import UNDECIDED, Chapter

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_ERRORS, _SHARES, _DISTRIBUTIONS = "the model's errors", "values that are missing or unknown", "distributions that move"
_SHOWN = {_SHARES: 2, _DISTRIBUTIONS: 4, _ERRORS: 2}
"""Of each kind so many alerts are shown one by one, on different subjects; the others are counted."""

_KINDS = {"concept_drift": _ERRORS, "quality": _ERRORS, "freshness": "the age of what is looked up"}


def show(console: Console, report: Report, stretches: Stretches, bad: int) -> None:
    """All of it."""
    for part in (
        counts_table(report, stretches, bad), month_table(report), ABOUT_QUALITY,
        story_table(report), about_story(report), alert_table(report), ABOUT_ALERTS, cost_table(report),
    ):  # fmt: skip
        if isinstance(part, str):
            console.print(part, style="dim")
        else:
            console.print()
            console.print(part)
    console.print(f"\nDone in {report.seconds:.0f} s.")


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
        ("events per second", f"{report.events_per_s:,.0f}", "while nothing waited for the judge"),
        ("latency p50", _ms(latency.p50), "from sending to reading,"),
        ("latency p99", _ms(latency.p99), stretches.pace),
    ):
        table.add_row(*row)
    return table


def month_table(report: Report) -> Table:
    """Quality as the service knows it, beside the trivial rule, month by month."""
    from rich.table import Table

    table = Table(title="What watch and judge saw", title_justify="left")
    table.add_column("2013")
    table.add_column("AUC", justify="right")
    table.add_column("rule", justify="right", style="dim")
    table.add_column("log loss", justify="right")
    table.add_column("alone", justify="right", style="dim")
    for name in ("known", "alerts"):
        table.add_column(name, justify="right")
    table.add_column("injected")
    injected = {month_of(fault.start): fault.name for fault in report.faults}
    for number, month in report.quality_by_month.items():
        table.add_row(
            MONTHS[number - 1], _figure(month.auc), _figure(report.rule_auc_by_month.get(number)),
            _figure(month.log_loss), _figure(month.alone), _share(month.coverage), str(month.alerts),
            injected.get(number),
        )  # fmt: skip
    table.add_section()
    whole = report.quality
    table.add_row(
        "all", _figure(whole.auc), _figure(report.rule_auc), _figure(whole.log_loss), _figure(whole.alone),
        _share(whole.coverage), str(whole.alerts), style="bold",
    )  # fmt: skip
    return table


def story_table(report: Report) -> Table:
    """What became of the candidates, decision by decision."""
    from rich.table import Table

    table = Table(title="Candidates on trial: what the judge decided", title_justify="left")
    table.add_column("2013", no_wrap=True)
    table.add_column("decided", no_wrap=True)
    table.add_column("difference", justify="right", no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("because", style="dim")
    model = ""
    for chapter in report.story:
        if chapter.model != model and model:
            table.add_section()
        what = f"{chapter.model} {chapter.what}" if chapter.model != model else chapter.what
        model = chapter.model
        table.add_row(
            moment(chapter.time)[:6], what, _difference(chapter), f"{chapter.rows:,}" if chapter.rows else "",
            printable(_because(chapter)),
        )  # fmt: skip
    return table


def about_story(report: Report) -> str:
    """What the table's figures mean, and where there were too few flights for a verdict."""
    if any(chapter.difference is not None and chapter.what != UNDECIDED for chapter in report.story):
        return ABOUT_STORY.format(looks=report.looks)
    return TOO_FEW


def _difference(chapter: Chapter) -> str:
    if chapter.difference is None:
        return ""
    bounds = "" if chapter.low is None else f"\n{chapter.low:+.3f} to {chapter.high:+.3f}"
    return f"{chapter.difference:+.3f}{bounds}"


def _because(chapter: Chapter) -> str:
    """The reason without its figures, which have columns of their own."""
    if chapter.what == UNDECIDED:
        return chapter.reason.partition(": ")[2].removesuffix(".")
    unit = "blocks" if chapter.test == "fast" else "days"
    clusters = f", {chapter.clusters} {unit}" if chapter.clusters else ""
    return f"{chapter.reason.partition(':')[0].removesuffix('.')}{clusters}"


def alert_table(report: Report) -> Table:
    """Whatever the faults raised, the strongest of the others, and how many more there were."""
    from rich.table import Table

    table = Table(title="Alerts, by the event time of their first alarm", title_justify="left")
    table.add_column("2013", no_wrap=True)
    table.add_column("alert")
    table.add_column("why", style="dim")
    of_the_year = [alert for alert in report.alerts if alert.first_seen < THE_SERVICE_ITSELF]
    shown = _shown(of_the_year)
    for alert in shown:
        why = "the year" if alert.fault is None else alert.fault
        table.add_row(moment(alert.time), printable(alert.title), why, style="bold" if alert.fault else None)
    table.add_section()
    for kind, count in Counter(_kind(alert) for alert in of_the_year if alert not in shown).most_common():
        table.add_row(f"{count} more", f"about {kind}")
    for alert in report.alerts:
        if alert not in of_the_year:
            table.add_row("today", printable(alert.title), "the service")
    return table


def _shown(alerts: Sequence[AlertFound]) -> list[AlertFound]:
    """Those of the faults, and the strongest of each kind, by time; what only follows from them is left out."""
    chosen = [alert for alert in alerts if alert.fault is not None and _kind(alert) in _SHOWN]
    for kind, count in _SHOWN.items():
        of_this_kind = [alert for alert in alerts if alert.fault is None and _kind(alert) == kind]
        strongest = {
            alert.title.partition(":")[0]: alert for alert in sorted(of_this_kind, key=lambda alert: alert.strength)
        }
        chosen += sorted(strongest.values(), key=lambda alert: alert.strength)[-count:]
    return sorted(chosen, key=lambda alert: alert.time)


def _kind(alert: AlertFound) -> str:
    if alert.family in ("data_drift", "joint_drift", "score_drift"):
        return _SHARES if alert.aspect in ("missing", "invalid", "unseen", "out_of_range") else _DISTRIBUTIONS
    return _KINDS.get(alert.family, alert.family)


def cost_table(report: Report) -> Table:
    """Each fault: what it did to the predictions, and when the service said so."""
    from rich.table import Table

    table = Table(title="What it would have cost not to look", title_justify="left")
    table.add_column("")
    for fault in report.faults:
        table.add_column(fault.name)
    table.add_row("injected", *(fault.what for fault in report.faults))
    table.add_row("from", *(moment(fault.start) for fault in report.faults))
    table.add_row("to", *(moment(fault.end) for fault in report.faults))
    table.add_row("flights", *(f"{fault.flights:,}" for fault in report.faults))
    for name, title in (("auc", "AUC"), ("log_loss", "log loss")):
        changes = (f"{_figure(fault.without[name])} → {_figure(getattr(fault, name))}" for fault in report.faults)
        table.add_row(title, *changes)
    table.add_row("wrong decisions", *(_wrong(fault) for fault in report.faults))
    table.add_section()
    table.add_row("first alert", *(_first(fault) for fault in report.faults))
    table.add_row("its sentence", *("–" if fault.alert is None else fault.alert.cause for fault in report.faults))
    table.add_row("by labels alone", *(_errors(fault) for fault in report.faults))
    return table


def moment(time: int) -> str:
    """Unix ms as a day of the year, UTC.

    >>> moment(1_367_812_800_000)
    'May 06 04:00'
    """
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%b %d %H:%M")


def _wrong(fault: FaultCost) -> str:
    without = int(fault.without["wrong"] or 0)
    return f"{without:,} → {fault.wrong:,}"


def _errors(fault: FaultCost) -> str:
    return "nothing" if fault.errors_hours is None else f"an alert after {fault.errors_hours:,.0f} h"


def _first(fault: FaultCost) -> str:
    if fault.alert is None:
        return "none"
    return f"after {fault.alert.flights:,} flights, {fault.alert.hours:,.0f} h"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


ABOUT_QUALITY = """\
More than 15 minutes late? 0.5 is a coin, 1 is always right.
The models saw January and February only. The rule: the mean delay
of the origin's last 30 arrivals. AUC and log loss come from the summaries
that watch wrote, once a day had shown which flights were late. Alone: what the
log loss would have been if the first model had answered all the year."""

ABOUT_STORY = """\
Difference: of the log loss per flight; above 0 the candidate is worse. Its
bounds hold however often one looks, and it may be worse by 0.02. The judge
looked {looks} times and acted by itself; the replay only waited for it."""

TOO_FEW = """\
So few flights are too little to decide: the judge asks for 2,000 of them with
an outcome, over 14 days, and for certainty. Try 100,000 events or more."""

ABOUT_ALERTS = """\
The year: seasons, storms, holidays, sensors that fail, which the model had not
seen. What scores and errors do while a fault lasts is put down to the fault.
Alerts may differ in a detail from run to run, and verdicts by some days; what
a model predicts never does."""

TRY_NEXT = """
What to try next:
  penstock demo --keep                    leave it running and look around
  penstock demo --mode exactly_once       every outcome once, whatever crashes
  penstock demo --speed-up 86400          a day a second
  penstock drift my.csv --reference 5000  drift in a table of your own: no Kafka
  penstock init my-pipeline               your own topic and your own model"""

LOOK_AROUND = """
It is all still running. In another terminal:
  penstock doctor -c {config}
  penstock tail predictions -c {config}
  penstock alerts list --all -c {config}
  penstock decisions -c {config}
  penstock report -c {config} --open
  penstock labels load OUTCOMES.csv -c {config}
  penstock dead-letters list -c {config}
  penstock models list -c {config}
  curl {metrics}/metrics
Kafka {kafka}   Redis {redis}   files {folder}
Ctrl-C stops everything."""
