"""A judge that was restarted is told again what waited, and takes nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paired_rows import candidate, paired_rows

from penstock.monitoring.comparison.compare import compare
from penstock.monitoring.config import AlertsConfig, DriftConfig, LabelsConfig, RolloutConfig
from penstock.monitoring.judging.inputs import JudgeInputs
from penstock.monitoring.judging.judge import Judge
from penstock.monitoring.rollouts.judge import RolloutJudge
from penstock.schemas.alerts import Acknowledgement, Alert, encode_acknowledgement
from penstock.schemas.comparison_wire import encode_comparison
from penstock.schemas.operations import OperationalReading, encode_reading
from penstock.schemas.summaries import Summary, encode_summary

Record = tuple[bytes, Sequence[tuple[str, bytes]], int]
"""Value, headers, time of writing."""


def new_inputs() -> JudgeInputs:
    judge = Judge(DriftConfig(), LabelsConfig(), AlertsConfig(), pipeline="test", profile=lambda _: None)
    return JudgeInputs(judge, RolloutJudge(RolloutConfig(), LabelsConfig()))


def summary(partition: int, segment: int, written: int) -> Record:
    first = 512 * segment
    made = Summary(
        partition, segment, 0, True, first, first + 511, 512, "", {}, (first, first + 511), (0, 0), 0, 0, 0, {}
    )  # fmt: skip
    return *encode_summary(made), written


def reading(written: int, **figures: Any) -> Record:
    return *encode_reading(OperationalReading("score", "a", written, 10_000, **figures)), written


def take(inputs: JudgeInputs, records: list[Record], first: int = 0) -> list[Alert]:
    return [
        alert
        for offset, (value, headers, written) in enumerate(records[first:], first)
        for alert in inputs.take(value, headers, offset=offset, written=written)
    ]


def test_what_waits_comes_again_and_what_was_taken_is_not_taken_twice() -> None:
    fault = reading(2_000, non_finite=3, events=10)
    [raised] = take(new_inputs(), [fault])
    _, value, headers = encode_acknowledgement(Acknowledgement(raised.id, "ann", 3_000))
    records: list[Record] = [
        summary(0, 0, 0),
        summary(1, 0, 1_000),  # waits for partition 0
        fault,
        (value, headers, 3_000),
        summary(0, 1, 4_000),
        reading(60_000),
    ]
    undisturbed = take(new_inputs(), records)
    assert [alert.state for alert in undisturbed][:2] == ["raised", "acknowledged"]
    for stop in range(len(records) + 1):
        first = new_inputs()
        told = take(first, records[:stop])
        second = new_inputs()
        second.restore(first.snapshot())
        assert told + take(second, records, first.resume(stop)) == undisturbed
    assert first.resume(len(records)) == len(records), "time has passed: nothing waits any more"


def test_a_comparison_is_no_signal() -> None:
    compared = compare(
        paired_rows([0.2] * 4, candidate([0.9] * 4)), LabelsConfig(), segment=0, part=0, complete=True, watermark=0
    )
    value, headers = encode_comparison(compared)
    assert JudgeInputs.kind_of(headers) == "comparison"
    assert new_inputs().take(value, headers, offset=0, written=0) == []


def test_a_worker_whose_clock_is_a_day_ahead_makes_nobody_silent() -> None:
    day_ms = 24 * 3600 * 1000
    wrong = OperationalReading("score", "b", 10_000 + day_ms, 10_000, partitions=(1,))
    records: list[Record] = [reading(0, partitions=(0,)), (*encode_reading(wrong), 10_000)]
    records += [reading(written, partitions=(0, 1)) for written in range(20_000, 200_000, 10_000)]

    assert take(new_inputs(), records) == []
