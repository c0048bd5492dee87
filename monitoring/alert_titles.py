"""One sentence for an alert: what a person reads at three in the morning."""

from __future__ import annotations

import math
from collections.abc import Sequence

from penstock.schemas.alerts import Cause

_FIGURES = {
    "location": ("mean", "median"),
    "spread": ("deviation",),
    "missing": ("missing",),
    "invalid": ("invalid",),
    "unseen": ("unseen",),
    "out_of_range": ("out_of_range",),
    "rate": ("rate",),
    "errors": ("errors", "rate"),
}
"""The figures that say most about an aspect, the best first."""

_SHARES = {"missing", "invalid", "unseen", "out_of_range", "errors", "defaulted", "coverage", "selection_rate"}
"""Figures between 0 and 1 that people read in per cent."""

_SIGNALS = {"size": "size of events", "lag": "delay of events", "distance": "all numbers together"}
_KINDS = {
    "feature": "{}",
    "age": "age of {}",
    "length": "length of {}",
    "score": "scores of {}",
    "class": "classes of {}",
}

_AS_WORDS = {"out_of_range": "out of range", "log_loss": "log loss", "calibration_error": "calibration error"}


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


def change_text(before: float, after: float, *, share: bool = False) -> str:
    """Two figures, with more digits where fewer would hide the difference.

    >>> change_text(1040, 1_040_000), change_text(0.01, 0.3, share=True), change_text(20000.1, 20000.4)
    ('1,040 → 1,040,000', '1 % → 30 %', '20,000.1 → 20,000.4')
    """
    factor, unit = (100.0, " %") if share else (1.0, "")
    for digits in (3 if share else 4, 6, 9, 15):
        texts = [number_text(value * factor, digits) + unit for value in (before, after)]
        if texts[0] != texts[1]:
            break
    return " → ".join(texts)


def cause_text(cause: Cause) -> str:
    """One cause with its figures; without any (a sensitive feature) its name and what changed about it.

    >>> cause_text(Cause("feature:distance", "data_drift", "location", "ecusum", 9.0, {"mean": 1040}, {"mean": 1620}))
    'distance: mean 1,040 → 1,620 (location)'
    >>> cause_text(Cause("feature:income", "data_drift", "location", "ecusum", 9.0))
    'income: location changed'
    """
    name = signal_text(cause.signal) + (f" where {cause.slice}" if cause.slice else "")
    figure = _figure(cause)
    if figure is None:
        return f"{name}: fault" if cause.aspect == "fault" else f"{name}: {words(cause.aspect)} changed"
    share = figure in _SHARES or cause.aspect == "categories"
    before, after = cause.before.get(figure), cause.after[figure]
    unit = (100.0, " %") if share else (1.0, "")
    if before is None:
        change = number_text(after * unit[0]) + unit[1]
    elif figure in cause.farthest:
        farthest = number_text(cause.farthest[figure] * unit[0]) + unit[1]
        change = f"back at {number_text(after * unit[0])}{unit[1]} after {farthest}"
    else:
        change = change_text(before, after, share=share)
    plain = words(figure) in (words(cause.aspect), words(cause.signal.partition(":")[0])) or cause.aspect == "fault"
    what = change if words(figure) == words(cause.signal.partition(":")[0]) else f"{words(figure)} {change}"
    return f"{name}: {what}" + ("" if plain else f" ({words(cause.aspect)})")


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
    ranked = sorted(causes, key=lambda cause: order.get(cause.family, len(order)))
    lead, rest = ranked[0], ranked[1:]
    names = dict.fromkeys(signal_text(cause.signal) for cause in rest if cause.family != "score_drift")
    if lead.family == "score_drift":
        names = dict.fromkeys(signal_text(cause.signal) for cause in rest)
    names.pop(signal_text(lead.signal), None)
    more = "" if not names else f", and {next(iter(names)) if len(names) == 1 else f'{len(names)} more'}"
    follow = lead.family != "score_drift" and any(cause.family == "score_drift" for cause in rest)
    return cause_text(lead) + more + ("; scores follow" if follow else "")


def _figure(cause: Cause) -> str | None:
    for figure in (*_FIGURES.get(cause.aspect, ()), *cause.after):
        if figure in cause.after:
            return figure
    return None
