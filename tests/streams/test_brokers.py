"""What is said of brokers that go and come, and of topics that are not as they must be."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import CollectorRegistry

from penstock.monitoring.metrics.brokers import BrokerMetrics
from penstock.streams.brokers import GONE_S, Answer, Health
from penstock.streams.kafka import TopicMissing

THREE = frozenset({"a:1", "b:1", "c:1"})
TOPICS = {"departures": 2, "flights.predictions": 2, "flights.summaries": 1}


class Figures:
    """A pipeline's registry, read by name."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = BrokerMetrics("flights", self.registry)

    def __getitem__(self, name: str) -> float:
        value = self.registry.get_sample_value(f"penstock_{name}", {"pipeline": "flights"})
        assert value is not None
        return value


@pytest.fixture
def figures() -> Figures:
    return Figures()


@pytest.fixture
def health(figures: Figures) -> Health:
    return Health("a:1", "departures", ["flights.predictions"], ["flights.summaries"], figures.metrics)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "penstock.kafka")
    return caplog


def reason(health: Health) -> str | None:
    return health.reason


def room(health: Health) -> int | None:
    return health.room


def test_an_outage_is_said_once_when_it_begins_and_once_when_it_is_over(
    health: Health, figures: Figures, said: pytest.LogCaptureFixture
) -> None:
    health.answered(Answer(THREE, TOPICS), 0)
    for now in (2, 4, 10, 60):
        health.unanswered(now)
    assert health.reason == "Kafka at a:1 is lost: no broker answers"
    assert (figures["kafka_up"], figures["kafka_outage_seconds_total"]) == (0, 58)

    health.answered(Answer(THREE, TOPICS), 62)
    assert reason(health) is None
    assert (figures["kafka_up"], figures["kafka_brokers"]) == (1, 3)
    assert said.messages == [
        "Kafka at a:1 is lost: no broker answers. Waiting for it; what is in flight stays there.",
        "Kafka at a:1 is back after 60 s",
    ]


def test_a_worker_that_never_heard_of_a_broker_is_not_told_to_wait(
    health: Health, figures: Figures, said: pytest.LogCaptureFixture
) -> None:
    for now in (0, 2, 4):
        health.unanswered(now)
    assert (health.reason, figures["kafka_up"]) == ("Kafka at a:1 does not answer yet", 0)

    health.answered(Answer(THREE, TOPICS), 9)
    assert reason(health) is None
    assert said.messages == [
        "Kafka at a:1 does not answer yet. A worker that starts gives up after 15 s.",
        "Kafka at a:1 answers after 9 s",
    ]


def test_a_single_question_without_an_answer_is_no_outage(
    health: Health, figures: Figures, said: pytest.LogCaptureFixture
) -> None:
    for now in range(0, 20, 4):
        health.unanswered(now)
        health.answered(Answer(THREE, TOPICS), now + 2)

    assert (health.reason, said.messages) == (None, [])
    assert (figures["kafka_up"], figures["kafka_outage_seconds_total"]) == (1, 0)


def test_a_broker_of_three_is_missed_and_welcomed_back(
    health: Health, figures: Figures, said: pytest.LogCaptureFixture
) -> None:
    for now, brokers in enumerate([THREE, THREE - {"b:1"}, THREE - {"b:1"}, THREE]):
        health.answered(Answer(brokers, TOPICS), now)

    assert (health.reason, figures["kafka_brokers"]) == (None, 3)
    assert said.messages == [
        "1 of 3 brokers of Kafka are gone: b:1. The others go on.",
        "All 3 brokers of Kafka are there again after 2 s",
    ]


def test_every_further_broker_that_goes_is_missed(health: Health, said: pytest.LogCaptureFixture) -> None:
    for now, brokers in enumerate([THREE, THREE - {"b:1"}, THREE - {"b:1", "c:1"}, THREE - {"b:1"}, THREE]):
        health.answered(Answer(brokers, TOPICS), now)

    assert said.messages == [
        "1 of 3 brokers of Kafka are gone: b:1. The others go on.",
        "2 of 3 brokers of Kafka are gone: b:1, c:1. The others go on.",
        "All 3 brokers of Kafka are there again after 3 s",
    ]


def test_a_topic_that_we_may_not_know_of_is_not_missing(health: Health) -> None:
    visible = {topic: count for topic, count in TOPICS.items() if topic != "flights.predictions"}
    for now in (0, 2, 10 * GONE_S):
        health.answered(Answer(THREE, visible), now)
    assert (health.reason, health.room) == (None, None)


def test_a_topic_is_missing_when_it_stays_away(health: Health) -> None:
    gone = {**TOPICS, "flights.predictions": 0}
    health.answered(Answer(THREE, gone), 0)
    health.answered(Answer(THREE, TOPICS), 2)  # it was only slow to be known
    health.answered(Answer(THREE, gone), 4)

    with pytest.raises(TopicMissing, match=r"flights.predictions .* Create it with `penstock topics create`"):
        health.answered(Answer(THREE, gone), 4 + GONE_S)


def test_partitions_wait_for_a_place_for_their_outputs(
    health: Health, figures: Figures, said: pytest.LogCaptureFixture
) -> None:
    health.answered(Answer(THREE, TOPICS), 0)
    for now in (2, 4):
        health.answered(Answer(THREE, {**TOPICS, "departures": 4}), now)
    assert (health.room, figures["held_partitions"]) == (2, 2)
    assert str(health.reason).endswith("Until then the partitions from 2 on wait.")

    health.answered(Answer(THREE, {**TOPICS, "departures": 4, "flights.predictions": 4}), 6)
    assert (room(health), reason(health), figures["held_partitions"]) == (None, None, 0)
    assert said.messages == [
        "The topic flights.predictions has 2 of the 4 partitions of departures. Add the others with `penstock topics "
        "create`. Until then the partitions from 2 on wait.",
        "All 4 partitions of departures have a place for their outputs now",
    ]
