"""The tables of `penstock.toml` about who answers: [rollout], [fallback], [automation]."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from penstock.monitoring.config import Loss, RolloutConfig
from penstock.streams.settings.errors import wrong
from penstock.streams.settings.sections import Section

_DAY_S = 24 * 3600.0
_LOSSES: dict[str, tuple[Loss, ...]] = {
    "binary": ("log_loss", "brier", "error"),
    "multiclass": ("log_loss", "error"),
    "regression": ("squared_error", "absolute_error"),
}


class RolloutSettings(Section):
    """The plan by which a candidate becomes the champion; what its keys mean is said in `RolloutConfig`."""

    stages: Annotated[tuple[float, ...], Field(strict=False, min_length=1)] = (0.01, 0.05, 0.25, 0.5, 1.0)
    mode: Literal["manual", "propose", "automatic"] = "manual"
    loss: Loss | None = None
    margin: float = Field(default=0.005, ge=0)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    min_rows: int = Field(default=2_000, ge=1)
    min_clusters: int = Field(default=7, ge=2)
    stage_s: float = Field(default=0.0, ge=0)
    bake_s: float = Field(default=7 * _DAY_S, ge=0)
    slices: Annotated[tuple[str, ...], Field(strict=False)] = ()
    max_non_finite: float = Field(default=0.001, ge=0, le=1)
    max_failed: float = Field(default=0.001, ge=0, le=1)
    max_latency_ratio: float = Field(default=3.0, gt=0)
    max_label_gap: float = Field(default=0.1, gt=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> RolloutSettings:
        if not all(0 <= share <= 1 for share in self.stages) or any(a >= b for a, b in pairwise(self.stages)):
            raise wrong(str(list(self.stages)), "ascending shares between 0 and 1", key="stages")
        return self

    def config(self) -> RolloutConfig:
        return RolloutConfig(**{name: getattr(self, name) for name in type(self).model_fields})


def unusable_loss(loss: Loss | None, task: str) -> str | None:
    """What was expected, where the task does not know the loss."""
    known = _LOSSES[task]
    return None if loss is None or loss in known else f"one of {', '.join(known)}, as labels.task is {task}"


class FallbackSettings(Section):
    """When the fallback model answers for lack of time. Which model that is stands in the control record.

    queue_ms   queueing delay (from the broker's timestamp to the model) above which it steps in, and
    leave_ms   below which it steps back
    hold_s     how long the delay must stay above or below
    """

    queue_ms: float = Field(default=1_000.0, gt=0)
    leave_ms: float = Field(default=200.0, ge=0)
    hold_s: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> FallbackSettings:
        if self.leave_ms >= self.queue_ms:
            raise wrong(f"{self.leave_ms:g}", f"less than queue_ms, which is {self.queue_ms:g}", key="leave_ms")
        return self


class AutomationSettings(Section):
    """How far the model acts by itself.

    level    full: every prediction is published for action; partial: those outside the abstain band, the others go to
             the review topic; assist: all go to the review topic, people act; shadow_people: none is published, people
             act without it, and the scored log keeps what it would have said
    abstain  scores between these two are not certain enough to act on (both ends included)
    """

    level: Literal["shadow_people", "assist", "partial", "full"] = "full"
    abstain: Annotated[tuple[float, float], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _check(self) -> AutomationSettings:
        if self.level == "partial" and self.abstain is None:
            raise wrong("missing", "[low, high], as automation.level is partial", key="abstain")
        if self.level != "partial" and self.abstain is not None:
            raise wrong("given", 'nothing, as only automation.level = "partial" abstains', key="abstain")
        if self.abstain is not None and self.abstain[0] > self.abstain[1]:
            raise wrong(str(list(self.abstain)), "[low, high] with low ≤ high", key="abstain")
        return self
