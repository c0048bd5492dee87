"""From a weekly budget to segments."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from judged import PROFILE, ROWS

from penstock.monitoring.judging.pace import WEEK_MS, Pace

SECOND, DAY = 1_000, 24 * 3600 * 1_000


def run(pace: Pace, *, every_ms: int, for_ms: int, start: int = 0) -> Pace:
    for time in range(start, start + for_ms, every_ms):
        pace.advance(time)
    return pace


def test_the_reference_gives_the_pace_until_the_stream_does() -> None:
    asked = WEEK_MS / (ROWS * SECOND)  # the reference has a row a second

    assert Pace.of(PROFILE, ROWS).segments_per_week == pytest.approx(asked, rel=0.01)
    assert Pace.of(PROFILE, 2 * ROWS).segments_per_week == pytest.approx(asked / 2, rel=0.01)


def test_ten_times_the_traffic_is_known_within_a_week() -> None:
    pace = Pace.of(PROFILE, ROWS)
    usual = pace.segments_per_week

    run(pace, every_ms=10 * SECOND, for_ms=WEEK_MS)

    assert 8.5 * usual < pace.segments_per_week < 10.5 * usual


def test_traffic_that_dies_down_is_forgotten_by_halves_a_week() -> None:
    pace = run(Pace(), every_ms=60 * SECOND, for_ms=2 * WEEK_MS)

    run(pace, every_ms=600 * SECOND, for_ms=8 * WEEK_MS, start=2 * WEEK_MS)

    assert pace.segments_per_week == pytest.approx(WEEK_MS / (600 * SECOND), rel=0.05)


@pytest.mark.parametrize("times", [np.empty((0, 2), np.int64), np.zeros((200, 2), np.int64)])
def test_a_reference_without_times_says_nothing(times: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> None:
    assert Pace.of(msgspec.structs.replace(PROFILE, segment_times=times), ROWS) == Pace()
    assert Pace.of(None, ROWS) == Pace()


def test_events_out_of_order_do_not_turn_time_back() -> None:
    pace = run(Pace(), every_ms=60 * SECOND, for_ms=DAY)
    before = pace.elapsed_ms

    pace.advance(0)

    assert pace.elapsed_ms == before
    assert pace.newest == DAY - 60 * SECOND
