"""What is new about a candidate is said once; the rest is counted."""

from __future__ import annotations

import pytest

from penstock.monitoring.metrics.shadow import ShadowMetrics
from penstock.streams.shadowing.partition import Answer
from penstock.streams.shadowing.said import Said
from penstock.streams.shadowing.scorer import Asked


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    caplog.set_level("INFO", "penstock.shadow")
    return Said("flights.scored", ShadowMetrics("flights"), end_of=lambda tp: 233)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


def test_features_that_are_not_logged_yet_are_named_once_a_partition_and_so_is_where_they_begin(
    said: Said, caplog: pytest.LogCaptureFixture
) -> None:
    without = Answer(0, 9, [Asked("delay@5", lacking=("wind",), unlogged=9)])
    for record in (17, 18, 19):
        said.count(3, record, without)
    said.count(3, 240, Answer(9, 9, [Asked("delay@5", rows=9)]))
    said.count(3, 241, Answer(9, 9, [Asked("delay@5", rows=9)]))
    warning, news = lines(caplog)
    assert "no wind yet" in warning
    assert "offset 233 of partition 3" in warning
    assert news == "flights.scored, partition 3 has the features of delay@5 from offset 240 on"


def test_a_candidate_that_fails_is_named_once(said: Said, caplog: pytest.LogCaptureFixture) -> None:
    for record in range(3):
        said.count(0, record, Answer(0, 9, [Asked("delay@5", rows=9, failed=1, failure=ValueError("too hard"))]))
    [line] = lines(caplog)
    assert line == "delay@5 fails on some rows; they count as not finite. The first: ValueError: too hard"
