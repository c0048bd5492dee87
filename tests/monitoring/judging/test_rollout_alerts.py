"""What people hear of a rollout: its end, where that is bad; and nothing of what it moves by being there."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rollouts import NEW, OLD, Message, World

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.alerts.book import AlertBook, Position
from penstock.monitoring.config import AlertsConfig, DriftConfig, LabelsConfig, RolloutConfig
from penstock.monitoring.judging.inputs import JudgeInputs
from penstock.monitoring.judging.judge import Judge
from penstock.monitoring.judging.rollout_alerts import suppress
from penstock.monitoring.rollouts.judge import RolloutJudge
from penstock.schemas.alerts import Alert
from penstock.schemas.comparison import ComparisonSummary
from penstock.schemas.comparison_wire import encode_comparison
from penstock.schemas.control import Control
from penstock.schemas.gates import Look
from penstock.schemas.operations import encode_reading
from penstock.schemas.quality import QualitySummary, encode_quality
from penstock.streams.control.changes import start_rollout

LABELS = LabelsConfig(bucket_s=86_400)
HOUR = 3_600_000


def plan(mode: str) -> RolloutConfig:
    return RolloutConfig(stages=(0.1, 1.0), mode=mode, margin=0.02, min_rows=500, min_clusters=2)  # type: ignore[arg-type]


def inputs_of(plan: RolloutConfig) -> JudgeInputs:
    judge = Judge(DriftConfig(), LABELS, AlertsConfig(), pipeline="flights", profile=lambda _: None)
    return JudgeInputs(judge, RolloutJudge(plan, LABELS))


def begun(plan: RolloutConfig) -> Control:
    started = start_rollout(Control("flights", 1, OLD, "", "", 0), NEW, plan=plan)
    return msgspec.structs.replace(started, revision=2)


def take(inputs: JudgeInputs, message: Message, offset: int) -> list[Alert]:
    if isinstance(message, ComparisonSummary):
        value, headers = encode_comparison(message)
    elif isinstance(message, QualitySummary):
        value, headers = encode_quality(message)
    else:
        value, headers = encode_reading(message)
    return inputs.take(value, headers, offset=offset, written=1_000 * offset)


def told(mode: str, worse: float, *, killed_at: int = -1) -> tuple[list[Alert], list[Look]]:
    """Of four days; the judge that has taken so many records is killed."""
    inputs, control, world = inputs_of(plan(mode)), begun(plan(mode)), World(worse=worse, segments=3)
    inputs.follow(control)
    messages = [message for _ in range(4) for message in world.next_day(control)]
    alerts: list[Alert] = []
    looks: list[Look] = []
    offset = 0
    while offset < len(messages):
        if offset == killed_at:
            snapshot, following = inputs.snapshot(), inputs.resume(offset)
            looks += inputs.looks
            inputs = inputs_of(plan(mode))
            inputs.restore(snapshot)
            inputs.follow(control)
            offset, killed_at = following, -1
        alerts += take(inputs, messages[offset], offset)
        offset += 1
    return alerts, looks + inputs.looks


@pytest.mark.parametrize(
    ("mode", "title"),
    [("automatic", "delay@2 was rolled back: "), ("propose", "delay@2 should be rolled back: ")],
)
def test_the_engineer_on_call_hears_of_a_candidate_that_has_to_go(mode: str, title: str) -> None:
    alert = next(alert for alert in told(mode, worse=0.1)[0] if alert.family == "rollout")
    assert alert.title.startswith(title + "log loss difference 0.09")
    assert (alert.state, alert.severity, alert.model, alert.wakes) == ("raised", "warning", "delay@2", True)


def test_a_good_one_is_no_alert() -> None:
    assert not [alert for alert in told("automatic", worse=-0.1)[0] if alert.family == "rollout"]


@pytest.fixture(scope="module")
def undisturbed() -> tuple[list[Alert], list[Look]]:
    return told("propose", worse=0.05)


@settings(max_examples=10, deadline=None)
@given(killed_at=st.integers(0, 75))
def test_a_judge_that_was_killed_tells_the_same(killed_at: int, undisturbed: tuple[list[Alert], list[Look]]) -> None:
    assert told("propose", worse=0.05, killed_at=killed_at) == undisturbed


def observed(book: AlertBook, segment: int) -> list[Alert]:
    alarm = Alarm("score_drift", f"score:{segment}", "ecusum", "location", 14.0, 12.0)
    at = Position(0, segment, 0, 1, time=segment * HOUR, model="delay@1")
    return book.observe([alarm], position=at)


def test_what_a_canary_moves_is_silent_until_the_labels_of_its_rows_are_in() -> None:
    book = AlertBook(AlertsConfig(), pipeline="flights")
    suppress(book, "canary of delay@2, 10 %", newest=0, maturity_s=3600)
    [silent] = observed(book, 1)
    assert (silent.suppressed, silent.wakes) == ("canary of delay@2, 10 %", False)
    for _ in range(2):  # the record is followed again after a restart
        suppress(book, None, newest=HOUR, maturity_s=2 * 3600)
    assert not [alert for alert in observed(book, 2) if alert.wakes]
    assert [alert.state for alert in observed(book, 3) if alert.wakes] == ["raised"]
    assert book.suppressed is None


def test_nothing_is_kept_silent_for_a_canary_that_saw_no_row() -> None:
    book = AlertBook(AlertsConfig(), pipeline="flights")
    suppress(book, "canary of delay@2, 10 %", newest=None, maturity_s=3600)
    suppress(book, None, newest=None, maturity_s=3600)
    assert book.suppressed is None
