"""Rules over what workers say about themselves."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.monitoring.judging.operations import Operations, OperationsConfig
from penstock.schemas.operations import OperationalReading

CONFIG = OperationsConfig()


class Service:
    """Workers that speak in turn; times are seconds."""

    def __init__(self) -> None:
        self.operations = Operations()

    def say(self, second: int, role: str = "score", worker: str = "a", **figures: Any) -> set[str]:
        """The signals that alarm after this reading."""
        reading = OperationalReading(role, worker, second * 1000, 10_000, **figures)
        return {alarm.signal for alarm in self.operations.apply(reading, CONFIG)}


def test_a_service_that_is_well_raises_nothing() -> None:
    service = Service()

    for second in range(0, 600, 10):
        assert service.say(second, partitions=(0, 1), events=1000, windows=10, latency_ms=40.0) == set()


@pytest.mark.parametrize(
    ("bad", "signal"),
    [
        ({"non_finite": 1}, "non_finite:score"),
        ({"events": 500, "dead_letters": {"decode": 6}}, "dead_letters:score"),
        ({"windows": 10, "redis_failures": 1}, "redis:score"),
        ({"label_age_ms": 3 * 24 * 3600 * 1000}, "label_age:score"),
    ],
)
def test_a_fault_is_an_alarm_at_once_and_until_it_is_over(bad: dict[str, Any], signal: str) -> None:
    service = Service()
    well: dict[str, Any] = {"events": 100, "windows": 10, "label_age_ms": 0}

    assert service.say(0, **bad) == {signal}
    assert service.say(10, **bad) == {signal}
    assert service.say(20, **well) == set()


def test_one_slow_reading_is_no_alarm_and_three_are() -> None:
    service = Service()

    assert service.say(0, latency_ms=5000.0) == set()
    assert service.say(10, latency_ms=50.0) == set()
    assert [service.say(second, latency_ms=5000.0) for second in (20, 30, 40)] == [set(), set(), {"latency:score"}]


def test_an_alarm_lasts_until_the_figure_is_well_below_its_limit() -> None:
    service = Service()
    for second in (0, 10):
        service.say(second, behind_ms=70_000)

    assert service.say(20, behind_ms=30_000) == {"behind:score"}
    assert service.say(30, behind_ms=10_000) == set()
    assert service.say(40, behind_ms=30_000) == set()


def test_a_few_dead_letters_are_chance() -> None:
    assert Service().say(0, events=60, dead_letters={"decode": 1}) == set()


def test_no_event_says_nothing_about_dead_letters() -> None:
    service = Service()
    service.say(0, events=100, dead_letters={"decode": 50})

    assert service.say(10, events=0) == {"dead_letters:score"}


def test_a_partition_of_which_no_worker_speaks_is_silent() -> None:
    service = Service()
    service.say(0, worker="a", partitions=(0,))
    service.say(0, worker="b", partitions=(1,))

    assert [service.say(second, worker="a", partitions=(0,)) for second in (30, 59, 60)] == [
        set(),
        set(),
        {"silent:score"},
    ]
    assert service.say(70, worker="a", partitions=(0, 1)) == set()


def test_a_service_that_was_stopped_for_the_night_has_time_to_come_back() -> None:
    service = Service()
    service.say(0, role="watch", worker="w", partitions=(0,))
    service.say(0, role="score", partitions=(0,))

    assert service.say(30_000, role="watch", worker="w2", partitions=(0,)) == set()
    assert service.say(30_050, role="watch", worker="w2", partitions=(0,)) == set()
    assert service.say(30_060, role="watch", worker="w2", partitions=(0,)) == {"silent:score"}


def test_roles_do_not_stand_in_for_each_other() -> None:
    service = Service()
    service.say(0, role="watch", worker="w", partitions=(0,))
    service.say(30, role="score", partitions=(0,))

    assert service.say(60, role="score", partitions=(0,)) == {"silent:watch"}


def test_the_worst_worker_is_shown_and_how_many_there_are() -> None:
    operations = Operations()
    for worker, share in (("a", 5), ("b", 50)):
        reading = OperationalReading("score", worker, 0, 10_000, events=100, dead_letters={"decode": share})
        alarms = operations.apply(reading, CONFIG)

    assert [alarm.after for alarm in alarms] == [{"share": 0.5, "limit": 0.01, "workers": 2.0}]


def test_a_worker_that_is_gone_leaves_nothing_behind_but_its_partitions() -> None:
    service = Service()
    for number in range(1000):
        service.say(100 * number, worker=f"w{number}", partitions=(0,), events=10, latency_ms=5000.0)

    assert len(service.operations.watched) <= 5
    assert len(service.operations.claims) == 1
