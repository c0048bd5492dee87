"""The report: a stretch of the log beside the reference profile, as one HTML page that needs nothing but itself.

It is made of sums that travelled on the bus anyway: no row is read again, and memory does not grow with the stretch.
The page holds no script and fetches nothing (its content security policy says so, too); every name and value in it is
escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template

from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.report import svg
from penstock.monitoring.report import time as time_plots
from penstock.monitoring.report.alerts import AlertRow, alert_rows, alerts_sentence
from penstock.monitoring.report.data import Cell, ReportData
from penstock.monitoring.report.features import FeatureCard, feature_cards
from penstock.monitoring.report.findings import FeatureFinding, Reference, find_features, quantiles_of
from penstock.monitoring.report.quality import QualityView, quality_view
from penstock.monitoring.report.rollout import CandidateView, rollout_view
from penstock.monitoring.report.text import counted, duration, instant, percent
from penstock.monitoring.report.time import Mark, TimePlot
from penstock.schemas.profile import MISSING
from penstock.schemas.summaries import LOG_EDGES, SignalCounts, merge_counts

_UNITS: dict[str, tuple[str, Callable[[float], str]]] = {
    "age": ("age of", lambda seconds: duration(1000 * seconds)),
    "length": ("length of", lambda characters: counted(round(characters), "character")),
    "size": ("size of an event", lambda octets: counted(round(octets), "byte")),
    "lag": ("event to broker", duration),
}
"""Signals without a reference: what they are, and how their values are written."""


@dataclass(frozen=True)
class Tile:
    """One figure at the top of the page."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """What the template shows, in its order."""

    pipeline: str
    stretch: str
    reference: str
    headline: str
    tiles: list[Tile]
    alerts: list[AlertRow]
    marks: list[Mark]
    cards: list[FeatureCard]
    axis: list[tuple[float, str]]
    plots: list[TimePlot]
    quality: QualityView | None
    candidates: list[CandidateView]
    served: list[tuple[str, str, str, str, str]]
    distances: list[tuple[str, str, str, str]]
    notes: list[str]
    made: str


def make_page(
    data: ReportData,
    references: Mapping[str, Reference],
    *,
    pipeline: str,
    labels: LabelsConfig,
    sensitive: AbstractSet[str] = frozenset(),
    made_ms: int,
    version: str = "",
) -> Page:
    """What the page says. `references` holds those that summaries name; of models that are gone there is none.

    Args:
        data: what was read; at least one summary must lie inside.
        references: NAME@VERSION → its profile.
        pipeline: its name.
        labels: what outcomes are, and by which slices quality is told apart.
        sensitive: features that are named, but whose values and distributions are withheld.
        made_ms: now, Unix ms, for the page's foot.
        version: of Penstock, for the same.
    """
    data.timeline.settle()
    main = _main(data, references)
    total = data.timeline.total()
    findings = find_features(data, references, main, total, sensitive) if main else []
    quality = quality_view(data, main.profile if main else None, labels, sensitive)
    alerts = data.alerts
    axis = time_plots.axis_of(data)
    scores = time_plots.scores(data, references, main) if main else None
    plots = [plot for plot in (scores, time_plots.classes(data), time_plots.volume(data)) if plot is not None]
    return Page(
        pipeline=pipeline,
        stretch=_stretch(data),
        reference=main.name if main else "",
        headline=" ".join([_features_sentence(findings, main), *(quality.sentences if quality else []),
                           alerts_sentence(alerts)]).strip(),
        tiles=_tiles(data, findings, main, quality, total.rows),
        alerts=alert_rows(alerts, sensitive),
        marks=axis.marks(alerts),
        cards=feature_cards(findings, data),
        axis=axis.ticks,
        plots=plots,
        quality=quality,
        candidates=rollout_view(data, labels, sensitive),
        served=[
            (variant, model, str(revision), f"{rows:,}", percent(rows / max(total.rows, 1)))
            for (variant, model, revision), rows in sorted(total.served.items(), key=lambda item: -item[1])
        ],
        distances=_lengths(data, total, sensitive),
        notes=_notes(data, references, main, total, findings),
        made=f"penstock {version}, {instant(made_ms)} UTC".replace("  ", " "),
    )  # fmt: skip


def render(page: Page) -> str:
    """The page as HTML."""
    return _template().render(page=page, steps=svg.HEAT_STEPS)


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(
        resources.files("penstock.monitoring.report").joinpath("page.html.j2").read_text("utf-8")
    )


def _main(data: ReportData, references: Mapping[str, Reference]) -> Reference | None:
    """The latest summary's; where its model is gone, the one with the most rows of those that are there."""
    latest = [data.latest_reference] if data.latest_reference is not None else []
    most = [name for name, _ in data.rows_by_reference.most_common()]
    return next((references[name] for name in [*latest, *most] if name in references), None)


def _stretch(data: ReportData) -> str:
    if data.event_times is None:
        return "no events"
    first, last = data.event_times
    return f"{instant(first)} to {instant(last)} UTC ({duration(last - first)})"


def _features_sentence(findings: list[FeatureFinding], main: Reference | None) -> str:
    if main is None:
        return "There is no reference profile to compare with."
    different = [finding for finding in findings if finding.differs]
    if not different:
        return f"None of {counted(len(findings), 'feature')} differs from the training data of {main.name}."
    verb = "differs" if len(different) == 1 else "differ"
    most = different[0]
    return (
        f"{len(different)} of {counted(len(findings), 'feature')} {verb} from the training data of {main.name}, "
        f"most of all {most.name}{f': {most.what}' if most.what else ''}."
    )


def _tiles(
    data: ReportData,
    findings: list[FeatureFinding],
    main: Reference | None,
    quality: QualityView | None,
    rows: int,
) -> list[Tile]:
    tiles = [Tile(f"{rows:,}", "events", f"in {counted(data.segments, 'segment')}")]
    if main:
        different = sum(finding.differs for finding in findings)
        tiles.append(
            Tile(f"{different} of {len(findings)}", "features differ", f"from {main.profile.rows:,} training rows")
        )
    if quality:
        tiles.extend(Tile(*tile) for tile in quality.tiles)
    alerts = data.alerts
    still = sum(alert.state != "cleared" for alert in alerts)
    tiles.append(Tile(str(len(alerts)), "alert" if len(alerts) == 1 else "alerts", f"{still} not cleared"))
    return tiles


def _lengths(data: ReportData, total: Cell, sensitive: AbstractSet[str]) -> list[tuple[str, str, str, str]]:
    """Signals without a reference: their median, 99 % quantile and share without a value."""
    rows = []
    for name, counts in sorted(_joined(total).items()):
        kind, _, feature = name.partition(":")
        if kind not in _UNITS or feature in sensitive:
            continue
        title, unit = _UNITS[kind]
        median, high = quantiles_of(counts, LOG_EDGES, (0.5, 0.99))
        missing = counts.slots[MISSING] / max(int(counts.slots.sum()), 1)
        rows.append((f"{title} {feature}".strip(), unit(median), unit(high), percent(missing)))
    return rows


def _joined(total: Cell) -> dict[str, SignalCounts]:
    """Log bins are the same whatever the reference."""
    joined: dict[str, SignalCounts] = {}
    for (_, name), counts in total.signals.items():
        if name.partition(":")[0] in _UNITS:
            joined[name] = merge_counts(joined[name], counts) if name in joined else counts
    return joined


def _notes(
    data: ReportData,
    references: Mapping[str, Reference],
    main: Reference | None,
    total: Cell,
    findings: Sequence[FeatureFinding],
) -> list[str]:
    """What a reader must know before believing the rest."""
    rows = data.rows_by_reference
    notes = [
        f"The profile of {name or 'a model'} cannot be read: {counted(rows[name], 'row')} counted with its bins stay "
        "out of the distributions."
        for name in sorted(set(rows) - set(references))
    ]
    if main is not None and any(name != main.name for name in set(rows) & set(references)):
        notes.append(
            f"The bins changed with the model. Distributions show the {counted(rows[main.name], 'row')} counted with "
            f"the profile of {main.name}; drift over time compares each interval with the profile it was counted with."
        )
    absent = sorted(set(main.profile.features) - {finding.name for finding in findings}) if main else []
    if absent:
        notes.append(
            f"Nothing was counted of {', '.join(absent)}: a sensitive feature that the log leaves out, or one that the "
            "catalogue no longer has."
        )
    if data.unreadable:
        notes.append(f"{counted(data.unreadable, 'record')} could not be read and stay out.")
    if total.late_rows:
        notes.append(f"{counted(total.late_rows, 'event')} came later than watch.max_out_of_order_s allows for.")
    if total.bad_time:
        notes.append(f"{counted(total.bad_time, 'event')} claim a time too far in the future.")
    return notes
