"""What Prometheus sees of watch, judge and shadow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest
from paired_rows import candidate, paired_rows

from penstock.monitoring.comparison.compare import compare, compare_labelled
from penstock.monitoring.config import LabelsConfig, RolloutConfig
from penstock.monitoring.metrics.judge import JudgeMetrics
from penstock.monitoring.metrics.score import PipelineMetrics
from penstock.monitoring.metrics.shadow import ShadowMetrics
from penstock.monitoring.metrics.watch import WatchMetrics
from penstock.schemas.alerts import Alert
from penstock.schemas.summaries import Summary

ALERT = Alert("drift-1", "raised", "warning", "wind: missing 1 % → 30 %", "flights", "data_drift", 0, 0, 0, 1, [])


def figure(metrics: PipelineMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"pipeline": "flights", **labels})


@pytest.fixture
def judge() -> JudgeMetrics:
    return JudgeMetrics("flights")


@dataclass
class Quality:
    labelled: int = 400
    silent: int = 100
    missing: int = 12


def test_a_watch_worker_counts_segments_labels_and_mature_rows() -> None:
    metrics = WatchMetrics("flights")
    summary = Summary(
        partition=3, segment=7, part=0, complete=True, first_offset=3584, last_offset=4095, rows=510,
        reference="delay@3", signals={}, event_times=(0, 60_000), timestamps=(0, 60_000), watermark=45_500,
        late_rows=2, bad_time=1, served={},
    )  # fmt: skip
    metrics.count_summary(summary)
    metrics.count_quality(Quality())
    metrics.count_corrupt()
    for reason in ("not_json", "not_json", "missing_field"):
        metrics.count_unreadable_label(reason)
    assert figure(metrics, "penstock_unreadable_labels_total", reason="not_json") == 2
    assert figure(metrics, "penstock_watched_rows_total") == 510
    assert figure(metrics, "penstock_summaries_total") == 1
    assert (figure(metrics, "penstock_late_rows_total"), figure(metrics, "penstock_bad_time_rows_total")) == (2, 1)
    assert figure(metrics, "penstock_watermark_seconds", partition="3") == 45.5
    assert figure(metrics, "penstock_mature_rows_total", outcome="silent") == 100
    assert figure(metrics, "penstock_corrupt_blocks_total") == 1


def test_a_watch_worker_counts_each_candidate_s_rows_once_and_at_maturity() -> None:
    metrics = WatchMetrics("flights")
    asked = candidate([0.9] * 8, sampled=[True, False] * 4)
    rows = paired_rows([0.2] * 8, asked, slices={"origin": ["JFK"] * 8})
    labels = LabelsConfig(slices=("origin",))
    about: dict[str, Any] = {"segment": 0, "part": 0, "complete": True, "watermark": 0}
    metrics.count_comparison(compare(rows, labels, **about))
    outcomes, times = np.array([1.0] * 3 + [np.nan] * 5), rows.event_times
    metrics.count_comparison(compare_labelled(rows, outcomes, times, labels, RolloutConfig(), **about))
    metrics.count_unjudged(3)
    for when, count in (("once", 4), ("maturity", 2)):
        assert figure(metrics, "penstock_comparisons_total", when=when) == 1
        assert figure(metrics, "penstock_paired_rows_total", candidate="delay@4", when=when) == count
    assert figure(metrics, "penstock_unjudged_paired_rows_total") == 3


def test_open_alerts_are_those_that_are_not_cleared(judge: JudgeMetrics) -> None:
    def open_alerts(state: str) -> float | None:
        return figure(judge, "penstock_alerts_open", family="data_drift", severity="warning", state=state)

    judge.count_alert(ALERT)
    judge.count_alert(msgspec.structs.replace(ALERT, id="drift-2", suppressed="canary"))
    assert open_alerts("raised") == 2
    judge.count_alert(msgspec.structs.replace(ALERT, state="ongoing"))
    assert (open_alerts("raised"), open_alerts("ongoing")) == (1, 1)
    judge.count_alert(msgspec.structs.replace(ALERT, state="cleared"))
    assert (open_alerts("raised"), open_alerts("ongoing")) == (1, None)
    labels = {"family": "data_drift", "severity": "warning", "state": "raised"}
    assert figure(judge, "penstock_alerts_total", **labels, suppressed="no") == 1
    assert figure(judge, "penstock_alerts_total", **labels, suppressed="yes") == 1


def test_a_judge_that_comes_back_shows_what_was_open(judge: JudgeMetrics) -> None:
    judge.show_open([ALERT])
    assert figure(judge, "penstock_alerts_open", family="data_drift", severity="warning", state="raised") == 1


def test_what_cannot_be_read_and_who_was_told_is_counted(judge: JudgeMetrics) -> None:
    judge.count_judged("summary", 3)
    judge.count_unreadable()
    judge.count_told("webhook", "dropped")
    assert figure(judge, "penstock_judged_total", kind="summary") == 3
    assert figure(judge, "penstock_unreadable_summaries_total") == 1
    assert figure(judge, "penstock_alert_sinks_total", sink="webhook", outcome="dropped") == 1


def test_a_shadow_worker_counts_candidate_by_candidate_and_forgets_who_is_gone() -> None:
    metrics = ShadowMetrics("flights")
    metrics.count_taken(512)
    metrics.count_rows("delay@5", 256, non_finite=3, failed=2, seconds=0.25)
    metrics.count_rows("delay@5", 256, non_finite=0, failed=0, seconds=0.25)
    metrics.count_unlogged("delay@6", 64)
    metrics.show_candidates({"delay@5": 1.0, "delay@6": 0.5})
    metrics.show_behind(3, events=1000.0, seconds=7.5)
    assert figure(metrics, "penstock_shadowed_rows_total") == 512
    assert figure(metrics, "penstock_shadow_rows_total", model="delay@5") == 512
    assert figure(metrics, "penstock_shadow_non_finite_total", model="delay@5") == 3
    assert figure(metrics, "penstock_shadow_failed_total", model="delay@5") == 2
    assert figure(metrics, "penstock_shadow_model_seconds_total", model="delay@5") == 0.5
    assert figure(metrics, "penstock_shadow_unlogged_rows_total", model="delay@6") == 64
    assert figure(metrics, "penstock_shadow_behind_seconds", partition="3") == 7.5
    metrics.show_candidates({"delay@6": 0.5})
    metrics.forget_behind()
    assert figure(metrics, "penstock_shadow_sample", model="delay@5") is None
    assert figure(metrics, "penstock_shadow_behind_events", partition="3") is None
