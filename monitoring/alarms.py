"""An alarm: what a detector says. Alerts, which people read, are made of alarms by `penstock.monitoring.alerts`."""

from __future__ import annotations

from typing import Literal

import msgspec

Family = Literal[
    "data_drift", "joint_drift", "score_drift", "concept_drift", "quality", "fairness", "labels", "volume", "freshness",
    "numerics", "operations",
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
        """How far above the threshold: what causes are ranked by."""
        return self.statistic - self.threshold
