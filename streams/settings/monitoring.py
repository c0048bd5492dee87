"""The tables of `penstock.toml` about watching: [watch], [drift], [labels], [alerts]."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, SecretStr, model_validator

from penstock.monitoring.alarms import Family
from penstock.monitoring.config import AlertsConfig, DriftConfig, LabelsConfig
from penstock.streams.settings.errors import shown, wrong
from penstock.streams.settings.sections import Section

DAY_S = 24 * 3600.0
_WEEK_S = 7 * DAY_S


class WatchSettings(Section):
    """How the scored log is cut into segments, and when time is up."""

    segment_rows: int = Field(default=512, ge=16, le=65_535)
    segment_max_s: float = Field(default=60.0, gt=0)
    max_out_of_order_s: float = Field(default=60.0, ge=0)
    max_future_s: float = Field(default=3600.0, ge=0)
    checkpoint_s: float = Field(default=2.0, gt=0, le=5)


class DriftSettings(Section):
    """The false-alarm budget, and which detector looks at which signal."""

    false_alarms_per_week: float = Field(default=1.0, gt=0)
    reference_segments: int = Field(default=200, ge=50, le=5000)
    detectors: dict[str, Annotated[tuple[str, ...], Field(strict=False)]] = Field(default={})
    seasonal: bool = True

    def config(self, watch: WatchSettings) -> DriftConfig:
        return DriftConfig(
            segment_rows=watch.segment_rows,
            false_alarms_per_week=self.false_alarms_per_week,
            reference_segments=self.reference_segments,
            detectors=dict(self.detectors),
            seasonal=self.seasonal,
        )


class LabelsSettings(Section):
    """What the true outcomes are, how long they take, and by what quality is told apart."""

    task: Literal["binary", "multiclass", "regression"] = "binary"
    maturity_s: float = Field(default=DAY_S, ge=0)
    retention_s: float = Field(default=_WEEK_S, gt=0)
    silence: float | None = None
    threshold: float = Field(default=0.5)
    bucket_s: float = Field(default=DAY_S, ge=1)
    slices: Annotated[tuple[str, ...], Field(strict=False)] = ()
    groups: Annotated[tuple[str, ...], Field(strict=False)] = ()
    rows: int = Field(default=10_000_000, ge=1000)
    partitioner: Literal["murmur2", "crc32"] | None = None
    error_limit: float = Field(default=2.0**18, gt=0, le=2.0**18)

    @model_validator(mode="after")
    def _check(self) -> LabelsSettings:
        if self.retention_s < self.maturity_s:
            raise wrong(
                f"{self.retention_s:g}", f"at least maturity_s, which is {self.maturity_s:g}", key="retention_s"
            )
        if self.task == "binary" and self.silence not in (None, 0.0, 1.0):
            raise wrong(f"{self.silence:g}", "0 or 1, as labels.task is binary", key="silence")
        for group in self.groups:
            if group not in self.slices:
                raise wrong(repr(group), "one of labels.slices", key="groups", fix="Add it to labels.slices.")
        return self

    def config(self) -> LabelsConfig:
        return LabelsConfig(
            task=self.task,
            maturity_s=self.maturity_s,
            retention_s=self.retention_s,
            silence=self.silence,
            threshold=self.threshold,
            bucket_s=self.bucket_s,
            slices=self.slices,
            groups=self.groups,
            rows=self.rows,
            error_limit=self.error_limit,
        )


def _check_webhook(url: str) -> str:
    if not url.startswith(("http://", "https://")) or "@" in url:
        raise wrong("a URL with credentials (not shown)" if "@" in url else shown(url), "http://… or https://…")
    return url


class AlertsSettings(Section):
    """When alarms become alerts, and who hears of them beside the subscribers of the alert topic."""

    confirm: Annotated[tuple[int, int], Field(strict=False)] = (1, 1)
    clear_after: int = Field(default=50, ge=1)
    clear_after_s: float = Field(default=600.0, ge=0)
    cool_down_s: float = Field(default=3600.0, ge=0)
    remind_s: float = Field(default=3600.0, gt=0)
    severity: dict[str, Literal["info", "warning", "critical"]] = Field(default={})
    log: bool = True
    webhook: Annotated[str, AfterValidator(_check_webhook)] | None = None
    webhook_secret: SecretStr | None = None
    command: Annotated[tuple[str, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _check(self) -> AlertsSettings:
        needed, of = self.confirm
        if not 1 <= needed <= of:
            raise wrong(str(list(self.confirm)), "[N, T] with 1 ≤ N ≤ T", key="confirm")
        for family in self.severity:
            if family not in get_args(Family):
                families = ", ".join(get_args(Family))
                raise wrong("no family of alarms", f"one of {families}", key=f"severity.{family}")
        return self

    def config(self) -> AlertsConfig:
        return AlertsConfig(
            confirm=self.confirm,
            clear_after=self.clear_after,
            clear_after_s=self.clear_after_s,
            cool_down_s=self.cool_down_s,
            remind_s=self.remind_s,
            severity=dict(self.severity),
        )
