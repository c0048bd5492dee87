"""Which family a signal belongs to: the prefix of its name says what it is."""

from __future__ import annotations

from penstock.monitoring.alarms import Family

_FAMILIES: dict[str, Family] = {
    "feature": "data_drift",
    "length": "data_drift",
    "score": "score_drift",
    "class": "score_drift",
    "distance": "joint_drift",
    "age": "freshness",
    "lag": "freshness",
    "size": "volume",
    "rows": "volume",
    "delay": "labels",
}


def family_of(signal: str) -> Family:
    """The family of a signal of `penstock.schemas.summaries`, or of one that the judge makes itself.

    >>> family_of("feature:distance"), family_of("score:canary"), family_of("lag")
    ('data_drift', 'score_drift', 'freshness')
    """
    return _FAMILIES[signal.partition(":")[0]]


def subject_of(signal: str) -> str:
    """The feature or variant that a signal is about; of the others, the signal itself.

    >>> subject_of("feature:distance"), subject_of("lag")
    ('distance', 'lag')
    """
    return signal.partition(":")[2] or signal
