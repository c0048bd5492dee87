"""Which family a signal belongs to: the prefix of its name says what it is.

Beside those of `penstock.schemas.summaries`, whose histograms are watched by `ecusum`, the judge makes signals of its
own. All of them go by these names in the settings' `drift.detectors` and in alerts.

| name | what it is | default detector |
|---|---|---|
| rows | rows per second of a partition, by event time | number_cusum |
| out_of_range:FEATURE | rows outside the catalogue's range | bernoulli_cusum |
| defaulted:FEATURE | rows where the default stands in | bernoulli_cusum |
| bad_time | rows dated too far in the future | bernoulli_cusum |
| errors:VARIANT | wrong decisions of labelled rows | bernoulli_cusum |
| log_loss:VARIANT, mae:VARIANT | mean loss of a segment's labelled rows | number_cusum_rises |
| missing_labels, invalid_labels | rows whose label did not come, or is none | bernoulli_cusum |
| delay | seconds from an event to its label, log bins | ecusum |
"""

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
