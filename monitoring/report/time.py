"""What lies along time in a report: one axis for all plots, the alerts marked on it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from penstock.monitoring.report import svg
from penstock.monitoring.report.data import Cell, ReportData
from penstock.monitoring.report.findings import FeatureFinding, Reference, moments_of, quantiles_of
from penstock.monitoring.report.text import duration, instant, number, ticks
from penstock.schemas.alerts import Alert

NAN = float("nan")


@dataclass(frozen=True)
class Mark:
    """An alert on the axis, `place` in per cent."""

    place: float
    severity: str
    title: str


@dataclass(frozen=True)
class Axis:
    """Event time from start to end, Unix ms."""

    start_ms: int
    end_ms: int

    def place(self, time_ms: float) -> float:
        """In [0, 1]."""
        return min(max((time_ms - self.start_ms) / max(self.end_ms - self.start_ms, 1), 0.0), 1.0)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Round moments: where they are, in per cent, and their names.

        >>> Axis(1_357_034_400_000, 1_357_034_400_000 + 5 * 3_600_000).ticks
        [(0.0, '10:00'), (20.0, '11:00'), (40.0, '12:00'), (60.0, '13:00'), (80.0, '14:00')]
        """
        return [(round(100 * self.place(time_ms), 2), label) for time_ms, label in ticks(self.start_ms, self.end_ms)]

    def marks(self, alerts: Sequence[Alert]) -> list[Mark]:
        """Of those that began within the axis."""
        return [
            Mark(
                round(100 * self.place(alert.first_seen), 2),
                alert.severity,
                f"{instant(alert.first_seen)} {alert.title}",
            )
            for alert in alerts
            if self.start_ms <= alert.first_seen < self.end_ms
        ]


@dataclass(frozen=True)
class TimePlot:
    """One plot over the page's axis of time; the entries of `legend` have the colours s0, s1, … in their order."""

    title: str
    picture: Markup
    scale: tuple[str, ...]
    """From the top."""
    legend: tuple[str, ...] = ()
    note: str = ""


def axis_of(data: ReportData) -> Axis:
    starts = data.timeline.starts()
    return Axis(starts.start, max(starts.stop, starts.start + 1))


def centres(data: ReportData) -> list[float]:
    """Of the timeline's cells on the axis."""
    count = len(data.timeline.starts())
    return [(place + 0.5) / count for place in range(count)]


def heat_cells(data: ReportData, finding: FeatureFinding) -> list[float | None]:
    return [finding.strip.get(start) for start in data.timeline.starts()]


def variants_of(data: ReportData) -> list[str]:
    """The one with the most rows first: it has the same colour in every plot."""
    rows: Counter[str] = Counter()
    for cell in data.timeline.cells.values():
        for (variant, _, _), count in cell.served.items():
            rows[variant] += count
    return sorted(rows, key=lambda variant: (-rows[variant], variant))


def volume(data: ReportData) -> TimePlot:
    """Rows per cell by variant."""
    starts = data.timeline.starts()
    variants = variants_of(data)
    stacks = []
    for start in starts:
        arrived = data.timeline.cells.get(start, Cell()).arrived
        stacks.append([arrived[variant] for variant in variants])
    low, high = nice(0.0, float(max(map(sum, stacks), default=0)))
    label = f"Events per {duration(data.timeline.length_ms).removeprefix('1 ')}"
    return TimePlot(label, svg.bars(label, stacks, high), scale(low, high), tuple(variants))


def scores(data: ReportData, references: Mapping[str, Reference], main: Reference) -> TimePlot | None:
    """Each variant's mean score, and between which scores the middle 80 % lie."""
    starts = data.timeline.starts()
    curves = {variant: [NAN] * len(starts) for variant in variants_of(data)}
    bands = {variant: ([NAN] * len(starts), [NAN] * len(starts)) for variant in curves}
    for place, start in enumerate(starts):
        for (reference, name), counts in data.timeline.cells.get(start, Cell()).signals.items():
            kind, _, variant = name.partition(":")
            if kind != "score" or reference not in references or variant not in curves:
                continue
            signal = references[reference].signal(name)
            moments = moments_of(counts, signal)
            if moments is None:
                continue
            low, high = quantiles_of(counts, signal.edges, (0.1, 0.9)) if signal.scale == "bins" else (NAN, NAN)
            curves[variant][place] = moments.mean
            bands[variant][0][place], bands[variant][1][place] = low, high
    if not any(math.isfinite(value) for curve in curves.values() for value in curve):
        return None
    level = main.profile.scores.moments.mean if main.profile.scores is not None else None
    note = "Line: mean; band: the middle 80 % of the scores"
    if level is not None:
        note += f"; dashed: mean on the training data, {number(level)}"
    return line_plot("Scores", curves, centres(data), bands=bands, level=level, note=note + ".")


def classes(data: ReportData) -> TimePlot | None:
    """Of a model with several outputs, how often each is the most probable one; the most frequent ones of all."""
    starts = data.timeline.starts()
    shares: dict[int, list[float]] = {}
    rows: Counter[int] = Counter()
    for place, start in enumerate(starts):
        counted = [
            counts.slots
            for (_, name), counts in data.timeline.cells.get(start, Cell()).signals.items()
            if name.startswith("class:")
        ]
        widest = max(map(len, counted), default=0)
        slots = sum((slots for slots in counted if len(slots) == widest), np.zeros(widest, np.int64))
        for output in range(widest - 2):
            shares.setdefault(output, [NAN] * len(starts))[place] = (
                100 * float(slots[output]) / max(int(slots.sum()), 1)
            )
            rows[output] += int(slots[output])
    if not shares:
        return None
    shown = sorted(output for output, _ in rows.most_common(svg.COLOURS))
    note = f"The {svg.COLOURS} most frequent of {len(shares)}." if len(shares) > len(shown) else ""
    curves = {f"output {output}": shares[output] for output in shown}
    return line_plot("Most probable output, % of events", curves, centres(data), note=note, bounds=(0.0, 100.0))


def line_plot(
    title: str,
    curves: Mapping[str, Sequence[float]],
    places: Sequence[float],
    *,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    level: float | None = None,
    note: str = "",
    least: float = 0.0,
    bounds: tuple[float, float] | None = None,
) -> TimePlot:
    """A line for each curve. Without `bounds` the value axis spans at least `least`, so that noise is no news."""
    bands = bands or {}
    values = [value for curve in curves.values() for value in curve]
    values += [value for pair in bands.values() for side in pair for value in side]
    finite = [value for value in [*values, *([] if level is None else [level])] if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    low, high = bounds or nice(low, high)
    ends = [
        f"{name} from {number(known[0])} to {number(known[-1])}"
        for name, curve in curves.items()
        if (known := [value for value in curve if math.isfinite(value)])
    ]
    picture = svg.lines(f"{title}: {'; '.join(ends)}", places, svg.Lines(low, high, curves, bands), level=level)
    return TimePlot(title, picture, scale(low, high), tuple(curves), note)


def nice(low: float, high: float) -> tuple[float, float]:
    """Round ends of an axis, so that its middle is round, too.

    >>> nice(0.0, 873.0), nice(0.612, 0.744), nice(5.0, 5.0)
    ((0.0, 1000.0), (0.6, 0.8), (4.5, 5.5))
    """
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-200):
        low, high = low - max(abs(low) * 0.1, 1e-9), high + max(abs(high) * 0.1, 1e-9)
    raw = (high - low) / 2
    power = 10.0 ** math.floor(math.log10(raw))
    for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power, 20 * power):
        bottom = math.floor(low / step + 1e-9) * step
        if bottom + 2 * step >= high - 1e-9 * step:
            return float(f"{bottom:.12g}"), float(f"{bottom + 2 * step:.12g}")
    raise ArithmeticError(f"no axis from {low} to {high}")  # 20 · power is at least twice the range


def scale(low: float, high: float) -> tuple[str, ...]:
    return number(high), number((low + high) / 2), number(low)
