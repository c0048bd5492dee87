"""What the labels say about a stretch: quality over time and by slice, how many outcomes are known, and how late."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

from penstock.monitoring.config import LabelsConfig, Task
from penstock.monitoring.quality.performance import Gap, fairness, metrics
from penstock.monitoring.quality.slices import MISSING, OTHER
from penstock.monitoring.report.data import Cell, Outcomes, ReportData
from penstock.monitoring.report.findings import quantiles_of
from penstock.monitoring.report.level import FEWEST_ROWS, MAIN_FIGURE, Level, level_of, training_level
from penstock.monitoring.report.text import counted, duration, number, percent
from penstock.monitoring.report.time import TimePlot, axis_of, centres, line_plot, variants_of
from penstock.schemas.profile import ReferenceProfile
from penstock.schemas.quality_sums import QualitySums, merge_sums
from penstock.schemas.summaries import LOG_EDGES, SignalCounts

CERTAIN = 2.0
"""Standard errors by which a figure must have moved to be told as news."""

NAN = float("nan")

TITLES = {
    "auc": "AUC", "accuracy": "Accuracy", "log_loss": "Log loss", "calibration_error": "Calibration error",
    "mae": "Mean absolute error", "bias": "Bias", "selection_rate": "Selection rate",
    "true_positive_rate": "True positive rate",
}  # fmt: skip
_BESIDE: dict[Task, tuple[str, ...]] = {
    "binary": ("calibration_error", "log_loss"), "multiclass": ("log_loss",), "regression": ("bias",),
}  # fmt: skip
_OF_SLICES: dict[Task, tuple[str, ...]] = {
    "binary": ("auc", "accuracy", "calibration_error", "selection_rate", "true_positive_rate"),
    "multiclass": ("accuracy", "log_loss"),
    "regression": ("mae", "bias"),
}


@dataclass(frozen=True)
class SliceTable:
    """Quality by the values of one feature.

    rows  (value, outcomes, figures in the order of `columns`)
    gaps  between groups of people, a sentence for each measure
    """

    feature: str
    columns: list[str]
    rows: list[tuple[str, str, list[str]]]
    gaps: list[str]


@dataclass(frozen=True)
class QualityView:
    """`labels`: (what, how many, share of the judged rows)."""

    sentences: list[str]
    tiles: list[tuple[str, str, str]]
    plots: list[TimePlot]
    columns: list[str]
    variants: list[tuple[str, str, list[str]]]
    slices: list[SliceTable]
    labels: list[tuple[str, str, str]]
    delay: str


def quality_view(
    data: ReportData, training: ReferenceProfile | None, config: LabelsConfig, sensitive: AbstractSet[str]
) -> QualityView | None:
    """None where no row has reached its maturity yet. `training`: whose sample of scores and labels gives the level."""
    outcomes = data.outcomes
    if not outcomes.rows:
        return None
    task, main = config.task, MAIN_FIGURE[config.task]
    judged = {variant for _, variant, _ in outcomes.groups}
    variants = [*variants_of(data), *sorted(judged - set(variants_of(data)))]
    names = (main, *_BESIDE[task])
    whole = {variant: _total(outcomes, variant) for variant in variants}
    level = training_level(training, task)
    figure = level.figure if level else None
    everything = _all(whole.values())
    known = outcomes.labelled + outcomes.silent
    plots = [
        plot
        for name in names
        if (plot := _over_time(data, name, variants, task, figure if name == main else None)) is not None
    ]
    plots.append(_coverage(data))
    share = known / outcomes.rows
    now = level_of(everything, task)
    tiles = [(percent(share), "outcomes known", f"of {counted(outcomes.rows, 'event')} old enough")]
    if now is not None:
        tiles.insert(
            0, (_figure(now.figure), TITLES[main], f"{_figure(figure)} on the training data" if figure else "")
        )
    return QualityView(
        sentences=[_sentence(main, now, level, share)],
        tiles=tiles,
        plots=plots,
        columns=[TITLES[name] for name in names],
        variants=[
            (variant, f"{whole[variant].rows:,}", [_figure(_metrics(whole[variant], task).get(n, NAN)) for n in names])
            for variant in variants
        ],
        slices=_slices(outcomes, config, sensitive),
        labels=[
            (what, f"{rows:,}", percent(rows / outcomes.rows))
            for what, rows in (
                ("labelled in time", outcomes.labelled), ("silent, which is an outcome", outcomes.silent),
                ("without an outcome", outcomes.missing), ("with an outcome that does not fit", outcomes.invalid),
                ("labelled too late", outcomes.late),
            )
            if rows
        ],
        delay=_delay(outcomes),
    )  # fmt: skip


def _over_time(
    data: ReportData, name: str, variants: Sequence[str], task: Task, level: float | None
) -> TimePlot | None:
    """One figure by bucket and variant; None where no bucket has enough outcomes."""
    outcomes, axis = data.outcomes, axis_of(data)
    buckets = outcomes.buckets()
    length = min((b - a for a, b in pairwise(buckets)), default=data.timeline.length_ms)
    curves = {
        variant: [_metrics(outcomes.groups.get((bucket, variant, "")), task).get(name, NAN) for bucket in buckets]
        for variant in variants
    }
    if not any(math.isfinite(value) for curve in curves.values() for value in curve):
        return None
    note = f"Each point is {duration(length)}; those with fewer than {FEWEST_ROWS} outcomes are left out."
    if level is not None:
        note += f" Dashed: on the training data, {_figure(level)}."
    places = [axis.place(bucket + length / 2) for bucket in buckets]
    return line_plot(TITLES[name], curves, places, level=level, note=note, least=0.05 if task != "regression" else 0.0)


def _coverage(data: ReportData) -> TimePlot:
    shares = []
    for start in data.timeline.starts():
        cell = data.timeline.cells.get(start, Cell())
        shares.append(100 * cell.answered / cell.judged if cell.judged else NAN)
    return line_plot("Outcomes known, %", {"all": shares}, centres(data), bounds=(0.0, 100.0))


def _slices(outcomes: Outcomes, config: LabelsConfig, sensitive: AbstractSet[str]) -> list[SliceTable]:
    names = _OF_SLICES[config.task]
    tables = []
    for feature in config.slices:
        if feature in sensitive:
            continue
        sums = _by_value(outcomes, feature)
        figures = {value: _metrics(of_value, config.task) for value, of_value in sums.items()}
        order = sorted(sums, key=lambda value: (-sums[value].rows, value))
        tables.append(
            SliceTable(
                feature,
                [TITLES[name] for name in names],
                [
                    (value, f"{sums[value].rows:,}", [_figure(figures[value].get(n, NAN)) for n in names])
                    for value in order
                ],
                [_gap(gap) for gap in fairness(_groups(sums)).values()]
                if feature in config.groups and config.task == "binary"
                else [],
            )
        )
    return [table for table in tables if table.rows]


def _by_value(outcomes: Outcomes, feature: str) -> dict[str, QualitySums]:
    """Over all buckets and variants."""
    found: dict[str, QualitySums] = {}
    for (_, _, slice_), sums in outcomes.groups.items():
        name, equals, value = slice_.partition("=")
        if equals and name == feature:
            found[value] = merge_sums(found[value], sums) if value in found else sums
    return found


def _total(outcomes: Outcomes, variant: str) -> QualitySums:
    return _all(sums for (_, name, slice_), sums in outcomes.groups.items() if name == variant and not slice_)


def _all(several: Iterable[QualitySums]) -> QualitySums:
    return reduce(merge_sums, several, QualitySums())


def _metrics(sums: QualitySums | None, task: Task) -> dict[str, float]:
    return {} if sums is None or sums.rows < FEWEST_ROWS else metrics(sums, task)


def _groups(sums: Mapping[str, QualitySums]) -> dict[str, QualitySums]:
    """Rows without a value, and rare values taken together, are nobody's group."""
    return {value: of_value for value, of_value in sums.items() if value not in (OTHER, MISSING)}


def _gap(gap: Gap) -> str:
    (high, low), sure = gap.rates, f"at least {percent(gap.at_least)} with 95 % confidence"
    return (
        f"{TITLES[gap.measure]}: {gap.highest} {percent(high)}, {gap.lowest} {percent(low)}; the gap is "
        f"{sure if gap.at_least > 0 else 'no larger than chance makes one'}."
    )


def _sentence(name: str, now: Level | None, training: Level | None, share: float) -> str:
    """A change is told only where it is more than what chance makes of so many rows."""
    known = f"{percent(share)} of the outcomes are known."
    if now is None:
        return known
    if training is None:
        return f"{TITLES[name]} is {_figure(now.figure)}; {known}"
    change = now.figure - training.figure
    if abs(change) <= CERTAIN * math.hypot(now.error, training.error):
        return f"{TITLES[name]} is {_figure(now.figure)}, as on the training data ({_figure(training.figure)}); {known}"
    verb = "fell" if change < 0 else "rose"
    return (
        f"{TITLES[name]} {verb} from {_figure(training.figure)} on the training data to {_figure(now.figure)}; {known}"
    )


def _delay(outcomes: Outcomes) -> str:
    known = int(outcomes.delays.sum())
    if not known:
        return ""
    median, high = quantiles_of(SignalCounts(outcomes.delays, finite=known), LOG_EDGES, (0.5, 0.99))
    return f"Labels come {duration(1000 * median)} after their events (median); 99 % within {duration(1000 * high)}."


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}" if abs(value) < 10 else number(value)
