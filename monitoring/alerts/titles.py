"""One sentence for an alert: what a person reads at three in the morning."""

from __future__ import annotations

import math
from collections.abc import Sequence

from penstock.schemas.alerts import Cause

_SIGNALS = {
    "size": "size of events",
    "lag": "delay of events",
    "distance": "all numbers together",
    "bad_time": "events dated in the future",
}
_KINDS = {
    "feature": "{}",
    "out_of_range": "{}",
    "defaulted": "{}",
    "age": "age of {}",
    "length": "length of {}",
    "score": "scores of {}",
    "class": "classes of {}",
    "non_finite": "outputs that are not finite, in {}",
    "dead_letters": "dead letters of {}",
    "redis": "Redis does not answer {}",
    "latency": "latency of {}",
    "behind": "{} is behind",
    "silent": "no word from {}",
    "label_age": "no label reaches {}",
    "rolled_back": "{} was rolled back",
    "to_roll_back": "{} should be rolled back",
}

_FIGURES = {
    "location": ("mean", "median"),
    "spread": ("deviation",),
    "missing": ("missing", "share"),
    "errors": ("errors", "rate"),
    "rate": ("rate", "share"),
}
"""The figures that say most about an aspect, the best first. Of other aspects: the figure of that name, then shares."""

_SHARES = {"missing", "invalid", "unseen", "out_of_range", "errors", "defaulted", "coverage", "selection_rate"}
"""Figures between 0 and 1 that people read in per cent; those that begin with `share` are, too."""

_UNITS = {"ms": " ms", "s": " s"}
_NO_CHANGE = {"limit", "workers", "partitions"}
"""Figures that only explain others."""

_VISIBLE = 0.25
"""Deviations by which a mean has moved visibly."""

_AS_WORDS = {
    "out_of_range": "out of range",
    "below": "below the usual range",
    "above": "above the usual range",
    "unseen": "unseen categories",
}


def signal_text(signal: str) -> str:
    """A signal's name for people.

    >>> signal_text("feature:distance"), signal_text("age:wind"), signal_text("errors:champion"), signal_text("lag")
    ('distance', 'age of wind', 'errors of champion', 'delay of events')
    """
    kind, colon, name = signal.partition(":")
    if not colon:
        return _SIGNALS.get(signal, words(signal))
    return _KINDS.get(kind, words(kind) + " of {}").format(name)


def words(name: str) -> str:
    """A name of the code as words.

    >>> words("calibration_error"), words("above")
    ('calibration error', 'above the usual range')
    """
    return _AS_WORDS.get(name, name.replace("_", " "))


def number_text(value: float, digits: int = 4) -> str:
    """A figure with as many digits as a person takes in, and thousands set apart.

    >>> [number_text(x) for x in (1_040_000.0, 1040.2, 3.14159, 0.0, 1.5e-7, 2e18)]
    ['1,040,000', '1,040', '3.142', '0', '1.5e-07', '2e+18']
    """
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-4:
        return f"{value:.{digits}g}"
    if size >= 1000:
        return f"{value:,.{max(0, digits - 1 - int(math.log10(size)))}f}"
    return f"{value:.{digits}g}"


def figure_text(value: float, figure: str, digits: int | None = None) -> str:
    """A figure with its unit.

    >>> figure_text(0.0312, "missing"), figure_text(1850, "ms"), figure_text(176400, "s"), figure_text(3.5, "mean")
    ('3.12 %', '1,850 ms', '49 h', '3.5')
    """
    if figure == "s" and value >= 7200:
        return f"{value / 3600:,.0f} h"
    if figure in _SHARES or figure.startswith("share") or (figure == "rate" and 0 <= value <= 1):
        return f"{number_text(100 * value, digits or 3)} %"
    return number_text(value, digits or 4) + _UNITS.get(figure, "")


def change_text(before: float, after: float, figure: str) -> str:
    """Two figures, with more digits where fewer would hide the difference.

    >>> change_text(1040, 1_040_000, "mean"), change_text(0.01, 0.3, "missing"), change_text(20000.1, 20000.4, "mean")
    ('1,040 → 1,040,000', '1 % → 30 %', '20,000.1 → 20,000.4')
    """
    for digits in (None, 6, 9, 15):
        texts = [figure_text(value, figure, digits) for value in (before, after)]
        if texts[0] != texts[1]:
            break
    return " → ".join(texts)


def cause_text(cause: Cause) -> str:
    """One cause with its figures; without any (a sensitive feature) its name and what changed about it.

    >>> cause_text(Cause("feature:distance", "data_drift", "location", "ecusum", 9.0, {"mean": 1040}, {"mean": 1620}))
    'distance: mean 1,040 → 1,620 (location)'
    >>> cause_text(Cause("feature:income", "data_drift", "location", "ecusum", 9.0))
    'income: location changed'
    >>> cause_text(Cause("latency:score", "operations", "above", "rule", 0.6, {}, {"ms": 1850.0, "limit": 1000.0}))
    'latency of score: 1,850 ms (limit 1,000 ms)'
    """
    name = signal_text(cause.signal) + (f" where {cause.slice}" if cause.slice else "")
    figure = _figure(cause)
    if figure is None:
        return f"{name}: fault" if cause.aspect == "fault" else f"{name}: {words(cause.aspect)} changed"
    after, before = cause.after[figure], cause.before.get(figure)
    if "limit" in cause.after:
        return f"{name}: {figure_text(after, figure)} (limit {figure_text(cause.after['limit'], figure)})"
    if figure in cause.farthest:
        change = f"back at {figure_text(after, figure)} after {figure_text(cause.farthest[figure], figure)}"
    elif before is None:
        change = figure_text(after, figure)
    else:
        change = change_text(before, after, figure)
    kind = cause.signal.partition(":")[0]
    if figure == kind and kind not in _KINDS:
        return f"{name}: {change}"
    if figure.startswith("share of "):
        return f"{name}: {figure.removeprefix('share of ')} in {change} of rows ({words(cause.aspect)})"
    if figure in (cause.aspect, "share"):
        return f"{name}: {words(cause.aspect)} {change}"
    return f"{name}: {words(figure)} {change}" + ("" if cause.aspect == "fault" else f" ({words(cause.aspect)})")


def title(causes: Sequence[Cause], upstream: Sequence[str] = ()) -> str:
    """One sentence about an alert's causes, the strongest first.

    `upstream` orders families from cause to consequence: the sentence is about the foremost family that alarmed, and
    says of the scores only that they follow.

    >>> distance = Cause("feature:distance", "data_drift", "location", "ecusum", 9.0, {"mean": 1040}, {"mean": 1620})
    >>> duration = Cause("feature:duration", "data_drift", "spread", "ecusum", 4.0)
    >>> scores = Cause("score:champion", "score_drift", "location", "ecusum", 12.0, {"mean": 0.2}, {"mean": 0.4})
    >>> title([scores, distance, duration], ("data_drift", "joint_drift", "score_drift"))
    'distance: mean 1,040 → 1,620 (location), and duration; scores follow'
    """
    order = {family: position for position, family in enumerate(upstream)}
    lead, *rest = sorted(causes, key=lambda cause: order.get(cause.family, len(order)))
    follows = lead.family != "score_drift" and any(cause.family == "score_drift" for cause in rest)
    named = [cause for cause in rest if not follows or cause.family != "score_drift"]
    others = list(dict.fromkeys(signal_text(cause.signal) for cause in named if not _alike(cause, lead)))
    more = f", and {others[0] if len(others) == 1 else f'{len(others)} more'}" if others else ""
    return cause_text(lead) + more + ("; scores follow" if follows else "")


def _alike(one: Cause, other: Cause) -> bool:
    return signal_text(one.signal) == signal_text(other.signal)


def _figure(cause: Cause) -> str | None:
    """The figure that says most. Where the tails or the shape changed, it is the mean if that moved visibly, too."""
    figures = [name for name in cause.after if name not in _NO_CHANGE]
    if cause.aspect in ("below", "above", "shape"):
        before, after = cause.before, cause.after
        known = "mean" in before and "mean" in after and "deviation" in before
        if known and abs(after["mean"] - before["mean"]) > _VISIBLE * before["deviation"]:
            return "mean"
    shares = [name for name in figures if name.startswith("share")]
    best = _FIGURES.get(cause.aspect, (cause.aspect,))
    moved = sorted(figures, key=lambda name: -_moved(cause.before.get(name), cause.after[name]))
    return next((name for name in (*best, *shares, *moved) if name in figures), None)


def _moved(before: float | None, after: float) -> float:
    """By which part of itself a figure has changed."""
    if before is None or before == after:
        return 0.0
    return abs(after - before) / max(abs(before), abs(after))
