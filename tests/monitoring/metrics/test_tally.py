"""What a worker says of itself: whose fault it was that a number was not finite."""

from __future__ import annotations

from penstock.monitoring.metrics.tally import Tally


def test_an_event_with_an_infinite_number_is_no_failure_of_the_model() -> None:
    tally = Tally("score", "here:1", now=0)
    tally.window(rows=8, dead_letters=[("validate", "not_finite"), ("score", "not_finite")])

    reading = tally.reading(now=10_000)

    assert reading.non_finite == 1
    assert reading.dead_letters == {"validate": 1, "score": 1}
