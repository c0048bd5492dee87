"""From one alarm to one cause of an alert, and what more alarms of the same cause make of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from penstock.monitoring.alarms import Alarm
from penstock.schemas.alerts import Cause

_CONTRIBUTION_LIMIT = 1e9
_BACK = 0.1
"""A figure is back when it is nearer to where it was than this share of its farthest excursion."""


def cause_of(alarm: Alarm, sensitive: Collection[str]) -> Cause:
    """The alarm as a cause, without what a person must not see (figures of the `sensitive`) and JSON cannot say.

    >>> alarm = Alarm("data_drift", "feature:income", "ecusum", "location", 9.0, 8.0, {"mean": 4e4}, {"mean": 6e4})
    >>> cause_of(alarm, ()).after, cause_of(alarm, {"income"}).after
    ({'mean': 60000.0}, {})
    """
    kind, _, name = alarm.signal.partition(":")
    hidden = kind in ("feature", "length") and name in sensitive
    where = alarm.slice
    if where is not None and where.partition("=")[0] in sensitive:
        where = f"{where.partition('=')[0]}=(not shown)"
    return Cause(
        signal=alarm.signal,
        family=alarm.family,
        aspect=alarm.aspect,
        detector=alarm.detector,
        contribution=contribution(alarm),
        before={} if hidden else _finite(alarm.before),
        after={} if hidden else _finite(alarm.after),
        slice=where,
    )


def contribution(alarm: Alarm) -> float:
    """The alarm's own as a number that can be written and compared, whatever the detector came up with."""
    bounded = max(-_CONTRIBUTION_LIMIT, min(alarm.contribution, _CONTRIBUTION_LIMIT))
    return 0.0 if math.isnan(alarm.contribution) else round(bounded, 3)


def merged(known: Cause, new: Cause) -> Cause:
    """The cause after one more alarm: as it was before all, as it is now, and where it was at its farthest.

    >>> def alarmed(before, after):
    ...     return Cause("feature:distance", "data_drift", "location", "ecusum", 9.0, {"mean": before}, {"mean": after})
    >>> back = merged(alarmed(1040.0, 1040000.0), alarmed(1040000.0, 1043.0))
    >>> back.before, back.after, back.farthest
    ({'mean': 1040.0}, {'mean': 1043.0}, {'mean': 1040000.0})
    """
    before, after = {**new.before, **known.before}, {**known.after, **new.after}
    farthest = {}
    for name, value in after.items():
        if name in before:
            far = known.farthest.get(name, known.after.get(name, value))
            away, now = abs(far - before[name]), abs(value - before[name])
            if now < _BACK * away:
                farthest[name] = far
    return Cause(
        signal=known.signal,
        family=known.family,
        aspect=known.aspect,
        detector=new.detector if new.contribution > known.contribution else known.detector,
        contribution=max(known.contribution, new.contribution),
        before=before,
        after=after,
        farthest=farthest,
        slice=known.slice,
    )


def same(one: Cause, other: Cause) -> bool:
    """Whether two alarms are about one cause: the signal, what changed about it, and in which slice."""
    return (one.signal, one.aspect, one.slice) == (other.signal, other.aspect, other.slice)


def index(causes: Sequence[Cause], cause: Cause) -> int:
    """Where the same cause stands; -1: nowhere."""
    return next((position for position, each in enumerate(causes) if same(each, cause)), -1)


def alarm_order(alarm: Alarm) -> tuple[float, str, str, str, str, str]:
    """An order of a segment's alarms that does not depend on who came first: the strongest, then by name."""
    return -contribution(alarm), alarm.signal, alarm.aspect, alarm.slice or "", alarm.detector, alarm.family


def cause_order(cause: Cause) -> tuple[float, str, str, str]:
    """The strongest first, then by name."""
    return -cause.contribution, cause.signal, cause.aspect, cause.slice or ""


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    """To nine digits: more than a float32 has, and pleasant to read."""
    return {name: float(f"{value:.9g}") for name, value in figures.items() if math.isfinite(value)}
