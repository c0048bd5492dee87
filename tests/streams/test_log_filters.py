"""What a worker's log leaves out."""

from __future__ import annotations

import logging

from aiokafka.errors import NodeNotReadyError, UnknownTopicOrPartitionError

from penstock.streams.log_filters import ConnectionTrouble, Repeats


def record(name: str, message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, message, arguments, None)


def test_a_library_that_repeats_itself_is_heard_now_and_then_and_the_rest_is_counted() -> None:
    now = 0.0
    repeats = Repeats("aiokafka", pause_s=10.0, clock=lambda: now)
    heard = []
    for now in range(0, 25, 2):
        message = record("aiokafka.cluster", "Unable to connect to node %d: %s", 1, f"refused at {now}")
        if repeats.filter(message):
            heard.append(message.getMessage())
    assert heard == [
        "Unable to connect to node 1: refused at 0",
        "Unable to connect to node 1: refused at 10 (4 more like it before)",
        "Unable to connect to node 1: refused at 20 (4 more like it before)",
    ]


def test_messages_that_say_something_else_are_heard() -> None:
    repeats = Repeats("aiokafka", clock=lambda: 0.0)
    assert repeats.filter(record("aiokafka", "Unable to connect to %s", "a"))
    assert repeats.filter(record("aiokafka", "Unable to update metadata from %s", "a"))
    assert repeats.filter(record("aiokafka.consumer", "Unable to connect to %s", "a"))


def test_nobody_else_is_held_back() -> None:
    repeats = Repeats("aiokafka", clock=lambda: 0.0)
    assert all(repeats.filter(record("penstock.score", "sum@1 serves from now on")) for _ in range(3))


def trouble(now: float) -> logging.LogRecord:
    return record("aiokafka", "Failed fetch messages from %s: %s", 1, NodeNotReadyError(f"at {now}"))


def test_broken_connections_are_heard_when_they_stay_broken_though_the_brokers_answer() -> None:
    times = iter(range(0, 30, 5))
    filtering = ConnectionTrouble(patience_s=15.0, clock=lambda: next(times))
    heard = [now for now in range(0, 30, 5) if filtering.filter(trouble(now))]
    assert heard == [15, 20, 25]


def test_an_outage_that_is_known_is_not_told_by_the_library_as_well() -> None:
    now = 0.0
    filtering = ConnectionTrouble(patience_s=15.0, clock=lambda: now)
    filtering.known = True
    for now in range(0, 60, 5):
        assert not filtering.filter(trouble(now))
    assert filtering.filter(record("aiokafka", "Unexpected: %s", UnknownTopicOrPartitionError()))
    assert filtering.filter(record("penstock.readings", "%s", NodeNotReadyError()))
