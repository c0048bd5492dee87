"""The judge, from summaries to alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache

import msgspec
import numpy as np
import pytest
from judged import DAY, PROFILE, ROWS, block, judge, profile, quality, summary

from penstock.monitoring.config import DriftConfig, LabelsConfig
from penstock.monitoring.judging.judge import Judge, UnreadableJudge
from penstock.schemas.alerts import Acknowledgement, Alert
from penstock.schemas.columns import Columns
from penstock.schemas.operations import OperationalReading
from penstock.schemas.quality import QualitySummary
from penstock.schemas.summaries import Summary


def unit_change(rows: Columns) -> None:
    rows.floats[:, 1] *= 1_000


def half_missing(rows: Columns) -> None:
    rows.floats[::2, 0] = np.nan


def dearer(rows: Columns) -> None:
    rows.floats[:, 0] += 100


def calm(_: Columns) -> None:
    pass


def stream(segments: int, faults: dict[int, Callable[[Columns], None]]) -> list[Summary]:
    """Each fault holds from its segment until the next."""
    summaries = []
    change: Callable[[Columns], None] = calm
    for segment in range(segments):
        change = faults.get(segment, change)
        summaries.append(summary(block(segment, change=change)))
    return summaries


def told(judging: Judge, summaries: Iterable[Summary]) -> list[tuple[int, Alert]]:
    return [(each.segment, alert) for each in summaries for alert in judging.apply(each)]


def test_calm_rows_raise_nothing() -> None:
    assert told(judge(), stream(100, {})) == []


def test_a_fault_is_alerted_within_five_segments_names_its_feature_and_is_cleared_when_it_is_usual() -> None:
    alerts = told(judge(), stream(60, {20: unit_change}))

    (raised, first), (cleared, last) = alerts[0], alerts[-1]
    assert (first.state, last.state) == ("raised", "cleared")
    assert 20 <= raised <= 24
    assert cleared > raised
    assert {alert.id for _, alert in alerts} == {first.id}
    assert first.causes[0].signal == "feature:distance"
    assert first.model == "delay@1"
    assert first.evidence is not None
    assert (first.evidence.first_offset, first.evidence.last_offset) == (raised * ROWS, raised * ROWS + ROWS - 1)


def test_a_feature_that_goes_missing_is_told_as_such() -> None:
    [(segment, alert), *_] = told(judge(), stream(30, {20: half_missing}))

    assert segment == 20
    assert (alert.causes[0].signal, alert.causes[0].aspect) == ("feature:price", "missing")


def test_each_part_of_a_segment_counts_once() -> None:
    summaries = stream(30, {20: unit_change})
    doubled = [each for one in summaries for each in (one, one)]

    assert told(judge(), doubled) == told(judge(), summaries)


@pytest.mark.parametrize("cut", [0, 1, 159, 160, 161, 163, 240, 242, 319])
def test_a_restored_judge_comes_to_the_same_alerts(cut: int) -> None:
    inputs, (expected, snapshot) = everything(80), undisturbed()
    before, after = judge(labels=SLICED), judge(labels=SLICED)

    found = [alert for each in inputs[:cut] for alert in apply(before, each)]
    after.restore(before.snapshot())
    found += [alert for each in inputs[cut:] for alert in apply(after, each)]

    assert found == expected
    assert {alert.family for alert in expected} >= {"data_drift", "concept_drift", "operations"}
    assert after.snapshot() == snapshot


@cache
def undisturbed() -> tuple[list[Alert], bytes]:
    """What a judge says that is never restored, and its state in the end."""
    whole = judge(labels=SLICED)
    return [alert for each in everything(80) for alert in apply(whole, each)], whole.snapshot()


SLICED = LabelsConfig(slices=("airport",), bucket_s=DAY / 1000)


@cache
def everything(segments: int) -> list[Summary | QualitySummary | OperationalReading]:
    """Two partitions with a fault, labels whose errors rise, a slice that does worse, a worker with dead letters."""
    inputs: list[Summary | QualitySummary | OperationalReading] = []
    for segment in range(segments):
        inputs += [summary(block(segment, partition=p, change=unit_change if segment >= 40 else calm)) for p in (0, 1)]
        wrong = 20 if segment < 60 else 60
        inputs.append(quality(segment, wrong=wrong, slices={"airport=JFK": (80, 8), "airport=LGA": (120, wrong - 8)}))
        dead = {"decode": 5} if segment == 30 else {}
        inputs.append(OperationalReading("score", "a", segment * 10_000, 10_000, (0, 1), 100, dead))
    return inputs


def apply(judging: Judge, each: Summary | QualitySummary | OperationalReading) -> list[Alert]:
    if isinstance(each, Summary):
        return judging.apply(each)
    return judging.apply_quality(each) if isinstance(each, QualitySummary) else judging.operations(each)


@pytest.mark.parametrize("cut", [20, 45, 62])
def test_a_judge_that_is_still_learning_is_restored_too(cut: int) -> None:
    config = DriftConfig(
        reference_segments=50,
        detectors={"feature:price": ("ecusum", "adwin"), "errors:*": ("bernoulli_cusum", "hddm_w"), "length:*": ()},
    )

    def inputs() -> Iterator[Summary | QualitySummary]:
        for segment in range(80):
            yield summary(block(segment, change=dearer if segment >= 60 else calm), known=None)
            yield quality(segment, rows=100, wrong=10 if segment < 60 else 40)

    def run(cut: int | None) -> list[Alert]:
        judging = judge(config, known=lambda _: None)
        alerts = []
        for place, each in enumerate(inputs()):
            if place == cut:
                snapshot = judging.snapshot()
                judging = judge(config, known=lambda _: None)
                judging.restore(snapshot)
            alerts += apply(judging, each)
        return alerts

    assert run(2 * cut) == run(None)
    assert {cause.detector for alert in run(None) for cause in alert.causes} >= {"ecusum", "bernoulli_cusum"}


def test_a_snapshot_that_is_none_is_refused() -> None:
    with pytest.raises(UnreadableJudge, match="cannot be restored"):
        judge().restore(b"\x81\xa1x\x01")
    with pytest.raises(UnreadableJudge, match="version 99, not 1"):
        judge().restore(msgspec.msgpack.encode({"version": 99}))


def test_another_model_is_judged_against_its_own_reference() -> None:
    profiles = {"delay@1": PROFILE, "delay@2": profile(seed=2)}
    judging = judge(known=profiles.get)
    assert told(judging, stream(20, {})) == []

    second = [
        summary(block(segment, model="delay@2", revision=2), reference="delay@2", known=profiles["delay@2"])
        for segment in range(20, 60)
    ]

    assert told(judging, second) == []
    changed = summary(
        block(60, model="delay@2", revision=2, change=unit_change), reference="delay@2", known=profiles["delay@2"]
    )
    assert [alert.model for alert in judging.apply(changed)] == ["delay@2"]


def test_partitions_that_have_not_changed_over_yet_are_not_judged_against_the_new_reference() -> None:
    shifted = profile(seed=2)
    judging = judge(known={"delay@1": PROFILE, "delay@2": shifted}.get)
    for segment in range(20):
        for partition in (0, 1):
            judging.apply(summary(block(segment, partition=partition)))
    judging.apply(summary(block(20, model="delay@2", revision=2), reference="delay@2", known=shifted))

    straggling = [summary(block(segment, partition=1, change=unit_change)) for segment in range(20, 25)]

    assert told(judging, straggling) == []


def test_without_a_profile_the_stream_is_the_reference() -> None:
    judging = judge(DriftConfig(reference_segments=50), known=lambda _: None)
    calm_ones = [summary(block(segment), known=None) for segment in range(80)]
    changed = [summary(block(segment, change=unit_change), known=None) for segment in range(80, 90)]

    assert told(judging, calm_ones) == []
    assert told(judging, changed)[0][1].causes[0].signal == "feature:distance"


def test_without_a_profile_a_mean_that_moves_within_a_bin_is_seen() -> None:
    def a_little_dearer(rows: Columns) -> None:
        rows.floats[:, 0] += 5

    judging = judge(DriftConfig(reference_segments=50, seasonal=False), known=lambda _: None)
    calm_ones = [summary(block(segment), known=None) for segment in range(100)]
    changed = [summary(block(segment, change=a_little_dearer), known=None) for segment in range(100, 120)]

    assert told(judging, calm_ones) == []
    cause = told(judging, changed)[0][1].causes[0]
    assert (cause.signal, cause.aspect) == ("feature:price", "location")
    assert cause.after["mean"] - cause.before["mean"] == pytest.approx(5, abs=1)


def test_rows_outside_the_range_are_told_from_the_first_on() -> None:
    def below_zero(rows: Columns) -> None:
        rows.floats[::10, 0] = -1.0

    signals = {cause.signal for _, alert in told(judge(), stream(60, {40: below_zero})) for cause in alert.causes}

    assert "out_of_range:price" in signals


def test_a_burst_of_rows_is_told_as_volume() -> None:
    judging = judge(DriftConfig(reference_segments=50, seasonal=False))
    slow = [summary(block(segment)) for segment in range(300)]
    fast = [
        msgspec.structs.replace(each, event_times=(start + place * 5_000, start + place * 5_000 + 5_000))
        for place, each in enumerate(summary(block(segment)) for segment in range(300, 330))
        for start in (slow[-1].event_times[1],)
    ]

    assert told(judging, slow) == []
    [alert, *_] = [alert for _, alert in told(judging, fast)]
    assert alert.family == "volume"
    assert alert.causes[0].after["rows_per_second"] > 5 * alert.causes[0].before["rows_per_second"]


@pytest.mark.parametrize("detector", ["adwin", "number_cusum"])
def test_a_detector_by_name_looks_at_the_projections_of_a_signal(detector: str) -> None:
    def shifted(rows: Columns) -> None:
        rows.floats[:, 0] += 5

    config = DriftConfig(detectors={"feature:price": (detector,), "*": ()}, seasonal=False)

    alerts = told(judge(config), stream(60, {20: shifted}))

    assert {(cause.signal, cause.detector) for _, alert in alerts for cause in alert.causes} == {
        ("feature:price", detector)
    }


def test_errors_that_rise_are_told_per_variant() -> None:
    judging = judge()
    alerts = [alert for n in range(60) for alert in judging.apply_quality(quality(n, wrong=20 if n < 40 else 50))]

    assert alerts[0].family == "concept_drift"
    assert alerts[0].causes[0].signal == "errors:champion"
    assert alerts[0].causes[0].after["errors"] > 2 * alerts[0].causes[0].before["errors"]


def test_labels_that_fail_to_come_are_told() -> None:
    judging = judge()
    alerts = [alert for n in range(60) for alert in judging.apply_quality(quality(n, missing=4 if n < 40 else 60))]

    assert (alerts[0].family, alerts[0].causes[0].signal) == ("labels", "missing_labels")


def test_a_slice_that_does_worse_is_told_and_one_that_always_did_is_not() -> None:
    def day(number: int) -> QualitySummary:
        jfk = 40 if number < 30 else 160
        return quality(number, rows=1_000, wrong=140, slices={"airport=JFK": (400, jfk), "airport=EWR": (300, 60)})

    judging = judge(labels=SLICED)
    alerts = [alert for number in range(40) for alert in judging.apply_quality(day(number))]

    found = {(cause.signal, cause.slice) for alert in alerts for cause in alert.causes if cause.slice}
    assert found == {("errors:champion", "airport=JFK")}


def test_acknowledging_an_alert_is_told_once() -> None:
    judging = judge()
    [(_, alert), *_] = told(judging, stream(30, {20: unit_change}))
    acknowledgement = Acknowledgement(alert.id, "ada", time=0, note="looking")

    assert [each.acknowledged_by for each in judging.acknowledge(acknowledgement)] == ["ada"]
    assert judging.acknowledge(acknowledgement) == []


def test_an_unknown_detector_is_refused_at_once() -> None:
    with pytest.raises(Exception, match="Did you mean adwin"):
        judge(DriftConfig(detectors={"*": ("adwim",)}))


def test_sensitive_features_have_no_figures() -> None:
    hidden = judge(sensitive=("distance",))

    [(_, alert), *_] = told(hidden, stream(30, {20: unit_change}))

    assert [(cause.signal, cause.before, cause.after) for cause in alert.causes[:1]] == [("feature:distance", {}, {})]
