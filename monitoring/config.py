"""What the monitors are told: frozen, made from the settings once. Times are seconds unless the name says otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Task = Literal["binary", "multiclass", "regression"]
"""What a label is: 0 or 1; the number of a class; a value."""


@dataclass(frozen=True)
class DriftConfig:
    """How drift is judged.

    segment_rows           rows of a segment (offsets, to be exact)
    false_alarms_per_week  the budget, of event time, over all signals together
    segments_per_week      None: from the reference's event times or, failing those, from the stream so far
    reference_segments     a signal without a reference profile learns one from so many of its first segments
    detectors              pattern of signal names (fnmatch) → names of detectors, the first match counts
    seasonal               compare with the same hour of the week where the reference covers two weeks or more
    """

    segment_rows: int = 512
    false_alarms_per_week: float = 1.0
    segments_per_week: float | None = None
    reference_segments: int = 200
    detectors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    seasonal: bool = True


@dataclass(frozen=True)
class LabelsConfig:
    """How outcomes are joined and judged.

    maturity_s     labels count from this long after their event; what comes later is counted as late
    retention_s    how long a label is kept for an event that has not come yet, or is read again
    silence        the outcome of an event that got no label until then (a click that never came); None: no outcome
    threshold      a score at or above it decides "yes" (binary)
    bucket_s       length of a time bucket of quality
    slices         category, int and bool features by whose values quality is told apart
    groups         of those, the ones whose gaps are judged for fairness
    rows           labels kept per partition at most; the oldest go first, counted
    error_limit    regression: errors are clipped to ± this before they are squared, so that one row cannot be the RMSE
    """

    task: Task = "binary"
    maturity_s: float = 24 * 3600.0
    retention_s: float = 7 * 24 * 3600.0
    silence: float | None = None
    threshold: float = 0.5
    bucket_s: float = 24 * 3600.0
    slices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    rows: int = 10_000_000
    error_limit: float = 2.0**18


Loss = Literal["log_loss", "brier", "error", "squared_error", "absolute_error"]
"""What a gate compares, of one row. Of probabilities: log loss (p clipped to [.001, .999]), Brier's squared difference,
or whether the decision was wrong; of several classes the first and the third; of values: winsorised squares, or
absolutes."""


@dataclass(frozen=True)
class RolloutConfig:
    """When a candidate may answer more, and when it must go.

    stages            shares of the keys, ascending; 0 is shadow alone
    mode              manual, propose, automatic
    loss              the primary metric; None: log loss for classes, squared error for values
    margin            how much worse than the champion's mean loss the candidate's may be
    alpha             chance per rollout of a wrong promotion, and of a wrong rollback
    min_rows          of the candidate, with an outcome, before the first verdict, and
    min_clusters      time buckets (`LabelsConfig.bucket_s`)
    stage_s           event time that each stage lasts at least
    bake_s            event time after the promotion in which the former champion still comes back by itself
    slices            features whose slices may not be worse either
    max_non_finite    share of rows without a finite score, and
    max_failed        on which the model failed
    max_latency_ratio of the candidate's time per row to the champion's
    max_label_gap     difference of the shares of rows that have an outcome
    """

    stages: tuple[float, ...] = (0.01, 0.05, 0.25, 0.5, 1.0)
    mode: Literal["manual", "propose", "automatic"] = "manual"
    loss: Loss | None = None
    margin: float = 0.005
    alpha: float = 0.05
    min_rows: int = 2_000
    min_clusters: int = 7
    stage_s: float = 0.0
    bake_s: float = 7 * 24 * 3600.0
    slices: tuple[str, ...] = ()
    max_non_finite: float = 0.001
    max_failed: float = 0.001
    max_latency_ratio: float = 3.0
    max_label_gap: float = 0.1


def loss_of(config: RolloutConfig, task: Task) -> Loss:
    """The loss that is compared.

    >>> loss_of(RolloutConfig(), "regression")
    'squared_error'
    """
    return config.loss or ("squared_error" if task == "regression" else "log_loss")


@dataclass(frozen=True)
class AlertsConfig:
    """When alarms become alerts, and when they end.

    confirm        N of T: so many alarms of one cause among the last T segments raise an alert
    clear_after    segments without an alarm of its causes until an alert is cleared, and
    clear_after_s  event time without one: segments pass quickly where there is much traffic
    cool_down_s    event time after a clearance in which the same signals do not raise again; it is recorded
    remind_s       event time between two reminders of an alert whose alarms go on
    severity       family → severity, over the defaults
    """

    confirm: tuple[int, int] = (1, 1)
    clear_after: int = 50
    clear_after_s: float = 600.0
    cool_down_s: float = 3600.0
    remind_s: float = 3600.0
    severity: dict[str, str] = field(default_factory=dict)
