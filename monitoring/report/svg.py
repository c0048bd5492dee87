"""Plots as inline SVG: no script, no fetch, colours from the page's style sheet, every text escaped.

Two kinds. A figure with text in it keeps its proportions and is at most 360 units wide, so that it can be read on a
phone. What lies along time is stretched to the width of the page: its text stands beside it as HTML.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from penstock.monitoring.report.text import number, percent
from penstock.schemas.profile import BINS, INVALID, MISSING, OVER, UNDER

HEAT_STEPS = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Distances at which a heat map takes its next, stronger colour."""

COLOURS = 6
"""Of curves and columns; more begin anew."""

SHOWN = 0.001
"""Smaller shares of what lies beside a histogram are left out."""

WIDTH, HEIGHT = 340, 150
_BOTTOM, _TOP = 122.0, 14.0
_SIDE = 36.0
_LINEAR_RANGE = 12.0
"""Wider than so many interquartile ranges, and a linear axis would show one spike."""


class Svg:
    """Shapes and texts of one picture."""

    def __init__(self, width: float, height: float, label: str, *, stretched: bool = False) -> None:
        stretch = Markup(' preserveAspectRatio="none"') if stretched else ""
        self._parts = [
            Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}"{}><title>{}</title>').format(
                _n(width), _n(height), label, stretch, label
            )
        ]

    def path(self, d: str, style: str) -> None:
        if d:
            self._parts.append(Markup('<path class="{}" d="{}"/>').format(style, d))

    def rect(self, x: float, y: float, width: float, height: float, style: str) -> None:
        self._parts.append(
            Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                style, _n(x), _n(y), _n(width), _n(height)
            )
        )

    def text(self, x: float, y: float, content: str, style: str = "") -> None:
        kind = Markup(' class="{}"').format(style) if style else ""
        self._parts.append(Markup('<text x="{}" y="{}"{}>{}</text>').format(_n(x), _n(y), kind, content))

    def markup(self) -> Markup:
        return Markup("").join([*self._parts, Markup("</svg>")])


def distribution(label: str, edges: NDArray[np.float64], before: NDArray[np.int64], now: NDArray[np.int64]) -> Markup:
    """Two histograms of numbers over the reference's bins: the reference filled, the stretch a line.

    Densities over a value axis; where quantiles coincide (few distinct values) a column for each bin. Beside it, of
    all rows, the shares below and above the reference's range, missing and infinite, where there are any.
    """
    picture = Svg(WIDTH, HEIGHT, label)
    p, q = _shares(before), _shares(now)
    left, right = 4.0, WIDTH - 4.0
    if max(p[UNDER], q[UNDER]) >= SHOWN:
        _side(picture, left, "below", p[UNDER], q[UNDER])
        left += _SIDE + 6
    for name, slot in (("infinite", INVALID), ("missing", MISSING), ("above", OVER)):
        if max(p[slot], q[slot]) >= SHOWN:
            right -= _SIDE + 6
            _side(picture, right + 6, name, p[slot], q[slot])
    if len(edges):
        inside = slice(0, len(edges))
        if len(edges) == BINS:
            _densities(picture, edges, p[inside], q[inside], left, right)
        else:
            _columns(picture, edges, p[inside], q[inside], left, right)
    picture.path(f"M{_n(left)} {_n(_BOTTOM)}H{_n(right)}", "axis")
    return picture.markup()


def _densities(
    picture: Svg, edges: NDArray[np.float64], p: NDArray[np.float64], q: NDArray[np.float64], left: float, right: float
) -> None:
    places, inverse = _axis(edges)
    widths = np.diff(places)
    heights = [np.concatenate([[shares[0] + shares[1]], shares[2:]]) / widths for shares in (p, q)]
    top = min(max(h.max() for h in heights), 3 * heights[0].max())
    if not top > 0:
        return
    x = left + (right - left) * (places - places[0]) / (places[-1] - places[0])
    for each, style in zip(heights, ("before", "now"), strict=True):
        y = _BOTTOM - (_BOTTOM - _TOP) * np.minimum(each / top, 1.0)
        picture.path(_steps(x, y, _BOTTOM), style)
    ticks = [places[0] + (places[-1] - places[0]) * share for share in (0.02, 0.34, 0.66, 0.98)]
    _ticks(picture, [(left + (right - left) * (t - places[0]) / (places[-1] - places[0]), inverse(t)) for t in ticks])


def _axis(edges: NDArray[np.float64]) -> tuple[NDArray[np.float64], Callable[[float], float]]:
    """Places of the edges on an axis, and the way back to values: where the tails are long a logarithmic axis, or one
    that is logarithmic on both sides of the median.
    """
    quarter, median, three = edges[len(edges) // 4], edges[len(edges) // 2], edges[3 * len(edges) // 4]
    spread = float(three - quarter)
    if edges[-1] - edges[0] <= _LINEAR_RANGE * spread:
        return edges, float
    if edges[0] > 0:
        return np.log(edges), math.exp
    return np.arcsinh((edges - median) / spread), lambda place: float(median) + spread * math.sinh(place)


def _columns(
    picture: Svg, edges: NDArray[np.float64], p: NDArray[np.float64], q: NDArray[np.float64], left: float, right: float
) -> None:
    count = len(edges)
    step = (right - left) / count
    top = max(p.max(), q.max())
    if not top > 0:
        return
    for shares, offset, style in ((p, 0.0, "before"), (q, 0.5, "now-bar")):
        size = (_BOTTOM - _TOP) * shares / top
        d = "".join(
            f"M{_n(left + (k + offset) * step)} {_n(_BOTTOM)}v-{_n(h)}h{_n(step * 0.45)}v{_n(h)}z"
            for k, h in enumerate(size)
            if h >= 0.05
        )
        picture.path(d, style)
    shown = sorted({round(place) for place in np.linspace(0, count - 1, min(count, 5))})
    _ticks(picture, [(left + (k + 0.5) * step, float(edges[k])) for k in shown])


def _ticks(picture: Svg, ticks: Sequence[tuple[float, float]]) -> None:
    for i, (x, value) in enumerate(ticks):
        style = "start" if i == 0 and len(ticks) > 1 else "end" if i == len(ticks) - 1 and len(ticks) > 1 else "middle"
        picture.text(x, _BOTTOM + 14, number(value), style)


def _side(picture: Svg, x: float, name: str, before: float, now: float) -> None:
    """Two columns on a scale of their own: the whole height is every row."""
    size = _BOTTOM - _TOP
    for share, offset, style in ((before, 4.0, "before"), (now, 18.0, "now-bar")):
        if share > 0:
            picture.rect(x + offset, _BOTTOM - size * share, 13, size * share, style)
    picture.path(f"M{_n(x)} {_n(_BOTTOM)}h{_n(_SIDE)}", "axis")
    picture.text(x + _SIDE / 2, _BOTTOM - size * max(before, now) - 3, percent(now), "middle")
    picture.text(x + _SIDE / 2, _BOTTOM + 14, name, "middle")


def categories(
    label: str,
    names: Sequence[str],
    before: Sequence[float],
    now: Sequence[float],
    rest: tuple[str, float] | None = None,
) -> Markup:
    """Shares of categories as pairs of bars, in the order given; `rest`: what the others are, and their share now."""
    row, left, right = 24, 104.0, 54.0
    picture = Svg(WIDTH, row * (len(names) + (rest is not None)) + 6, label)
    top = max([*before, *now, 1e-9])
    for i, (name, p, q) in enumerate(zip(names, before, now, strict=True)):
        y = 4.0 + row * i
        picture.text(left - 6, y + 13, name if len(name) <= 16 else name[:15] + "…", "end")
        picture.rect(left, y, (WIDTH - left - right) * p / top, 8, "before")
        picture.rect(left, y + 9, (WIDTH - left - right) * q / top, 8, "now-bar")
        picture.text(left + (WIDTH - left - right) * max(p, q) / top + 5, y + 13, percent(q))
    if rest is not None:
        picture.text(left - 6, 4.0 + row * len(names) + 13, rest[0], "end")
        picture.text(left + 5, 4.0 + row * len(names) + 13, percent(rest[1]))
    return picture.markup()


def heat_strip(label: str, cells: Sequence[float | None]) -> Markup:
    """One row of a heat map; None: no rows."""
    picture = Svg(max(len(cells), 1), 1, label, stretched=True)
    runs: dict[str, list[str]] = {}
    for place, value in enumerate(cells):
        if value is not None and not math.isnan(value):
            runs.setdefault(f"h{sum(value >= step for step in HEAT_STEPS)}", []).append(f"M{place} 0h1v1h-1z")
    for style, parts in sorted(runs.items()):
        picture.path("".join(parts), style)
    return picture.markup()


@dataclass(frozen=True)
class Lines:
    """Curves over shared places in [0, 1] along time.

    curves  name → values; NaN leaves a gap
    bands   name → (lower, upper) around that curve
    low, high  the value axis
    """

    low: float
    high: float
    curves: Mapping[str, Sequence[float]]
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]]


def lines(label: str, places: Sequence[float], plot: Lines, *, level: float | None = None) -> Markup:
    """Curves stretched to the page; `level`: a dashed horizontal line, the reference's value."""
    picture = Svg(1000, 100, label, stretched=True)
    span = (plot.high - plot.low) or 1.0

    def y(value: float) -> float:
        return 100 - 100 * min(max((value - plot.low) / span, 0.0), 1.0)

    for share in (0, 0.5, 1):
        picture.path(f"M0 {_n(100 * share)}H1000", "grid")
    for i, name in enumerate(plot.curves):
        if name in plot.bands:
            for run in _runs(places, plot.bands[name][0], plot.bands[name][1]):
                forth = "L".join(f"{_n(1000 * x)} {_n(y(high))}" for x, _, high in run)
                back = "L".join(f"{_n(1000 * x)} {_n(y(low))}" for x, low, _ in reversed(run))
                picture.path(f"M{forth}L{back}z", f"band s{i % COLOURS}")
    if level is not None:
        picture.path(f"M0 {_n(y(level))}H1000", "level")
    for i, values in enumerate(plot.curves.values()):
        for points in _runs(places, values, values):
            if len(points) == 1:
                picture.path(f"M{_n(1000 * points[0][0] - 6)} {_n(y(points[0][1]))}h12", f"line s{i % COLOURS}")
            else:
                d = "L".join(f"{_n(1000 * x)} {_n(y(value))}" for x, value, _ in points)
                picture.path(f"M{d}", f"line s{i % COLOURS}")
    return picture.markup()


def bars(label: str, stacks: Sequence[Sequence[float]], high: float) -> Markup:
    """Stacked columns side by side, stretched to the page: `stacks[i][k]` is part k of column i."""
    picture = Svg(max(len(stacks), 1) * 10, 100, label, stretched=True)
    for share in (0, 0.5, 1):
        picture.path(f"M0 {_n(100 * share)}H{len(stacks) * 10}", "grid")
    d: dict[int, list[str]] = {}
    for i, stack in enumerate(stacks):
        foot = 100.0
        for k, part in enumerate(stack):
            size = 100 * part / high if high else 0.0
            if size > 0:
                d.setdefault(k, []).append(f"M{_n(i * 10 + 0.5)} {_n(foot)}v-{_n(size)}h9v{_n(size)}z")
                foot -= size
    for k, parts in sorted(d.items()):
        picture.path("".join(parts), f"fill s{k % COLOURS}")
    return picture.markup()


def _runs(
    places: Sequence[float], lower: Sequence[float], upper: Sequence[float]
) -> list[list[tuple[float, float, float]]]:
    """The stretches without a gap."""
    found: list[list[tuple[float, float, float]]] = [[]]
    for x, low, high in zip(places, lower, upper, strict=True):
        if math.isfinite(low) and math.isfinite(high):
            found[-1].append((x, low, high))
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def _steps(x: NDArray[np.float64], y: NDArray[np.float64], foot: float) -> str:
    parts = [f"M{_n(x[0])} {_n(foot)}"]
    parts += [f"V{_n(height)}H{_n(end)}" for height, end in zip(y, x[1:], strict=True)]
    return "".join(parts) + f"V{_n(foot)}"


def _shares(slots: NDArray[np.int64]) -> NDArray[np.float64]:
    return slots / max(int(slots.sum()), 1)


def _n(value: float) -> str:
    """A coordinate, in as few characters as it takes.

    >>> _n(12.04), _n(3.0), _n(-0.02)
    ('12', '3', '0')
    """
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text
