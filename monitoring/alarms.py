"""An alarm: what a detector says. Alerts, which people read, are made of them by `penstock.monitoring.alerts.book`."""

from __future__ import annotations

from typing import Literal

import msgspec

Family = Literal[
    "data_drift", "joint_drift", "score_drift", "concept_drift", "quality", "fairness", "labels", "volume", "freshness",
    "numerics", "operations", "rollout",
]  # fmt: skip
"""What kind of trouble: alarms of one family and model that come close together have one cause and are one alert."""

Aspect = Literal[
    "location", "spread", "shape", "categories", "missing", "invalid", "below", "above", "unseen", "out_of_range",
    "rate", "errors", "fault",
]  # fmt: skip
"""What about the signal changed."""


class Alarm(msgspec.Struct, frozen=True):
    """One detector's statement about one signal.

    signal      as `penstock.schemas.summaries` names them, or a name of its own such as `errors:champion`
    detector    the detector's name in the configuration: ecusum, adwin, …
    statistic   and
    threshold   in the detector's own unit (log e-value); statistic ≥ threshold
    before, after   figures for people, under the same names: mean, deviation, missing, rate, …
    since       estimate of where the change began: rows back from the end of what was seen last
    slice       FEATURE=VALUE where it concerns one slice only
    """

    family: Family
    signal: str
    detector: str
    aspect: Aspect
    statistic: float
    threshold: float
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    since: int = 0
    slice: str | None = None

    @property
    def strength(self) -> float:
        """How far above the threshold: how sure it is."""
        return self.statistic - self.threshold

    @property
    def contribution(self) -> float:
        """What causes are ranked by: the statistic per thousand rows since the change began, where that is known.

        A detector that sums up evidence overshoots its threshold by chance, and by more the later it alarms; evidence
        per row estimates how far the distributions have come apart. Where the beginning is not known: `strength`.

        >>> early, late = (Alarm("data_drift", "x", "ecusum", "location", w, 13.0, since=n) for w, n in ((14, 250), (28, 750)))
        >>> round(early.contribution, 1), round(late.contribution, 1)
        (56.0, 37.3)
        """  # noqa: E501
        return 1000 * self.statistic / self.since if self.since else self.strength
