"""How old a record is, and what is said, when a worker's wall clock jumps."""

from __future__ import annotations

import logging

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from penstock.monitoring.metrics.clock import ClockMetrics
from penstock.streams.clocks import ClockWatch, SteadyClock

START = 1_800_000_000.0
DAY = 86_400.0


class Machine:
    """Its wall clock is wrong by `jumped` seconds."""

    def __init__(self, jumped: float = 0.0) -> None:
        self.now, self.jumped = 0.0, jumped
        self.clock = SteadyClock(lambda: START + self.now + self.jumped, lambda: self.now)

    def age_s(self, waited: float) -> float:
        """What is said of a record that was dated rightly, and has waited so long."""
        return self.clock.age_s(round((START + self.now - waited) * 1000))


@given(st.floats(0, 3600), st.lists(st.tuples(st.floats(0.1, 600), st.floats(-2 * DAY, 2 * DAY)), max_size=5))
def test_a_new_record_stays_new_whatever_the_clock_does(waited: float, jumps: list[tuple[float, float]]) -> None:
    machine = Machine()
    assert machine.age_s(waited) == pytest.approx(waited, abs=0.002)
    for passed, machine.jumped in jumps:
        machine.now += passed
        assert machine.age_s(waited) <= waited + 0.002


@given(st.floats(0, 100), st.floats(-2 * DAY, 2 * DAY))
def test_a_clock_that_was_wrong_at_the_start_is_believed_once_it_is_set_right(waited: float, wrong: float) -> None:
    assume(abs(wrong) > 2 * waited + 1)
    machine = Machine(wrong)
    machine.now, machine.jumped = 60.0, 0.0

    assert machine.age_s(waited) == pytest.approx(waited, abs=0.002)


def test_a_jump_is_told_once_and_setting_a_clock_right_is_none(caplog: pytest.LogCaptureFixture) -> None:
    machine, registry = Machine(), CollectorRegistry()
    watch = ClockWatch(ClockMetrics("p", registry), machine.clock)
    caplog.set_level(logging.WARNING, "penstock.clock")

    for machine.jumped in (0.0, 0.2, DAY, DAY, DAY - 0.1, -3600.0, 0.0):
        machine.now += 1
        watch.look()

    told = [record.getMessage().split(";")[0] for record in caplog.records]
    assert told == [
        "The clock of this machine jumped ahead by 86399.8 s",
        "The clock of this machine jumped back by 89999.9 s",
        "The clock of this machine jumped ahead by 3600.0 s",
    ]
    jumps = [
        registry.get_sample_value("penstock_clock_jumps_total", {"pipeline": "p", "direction": direction})
        for direction in ("ahead", "back")
    ]
    assert jumps == [2.0, 1.0]
