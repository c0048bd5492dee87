"""What a new owner of a partition repeats: from the committed offset to the source of the last output."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import TopicAuthorizationFailedError
from faust.types import TP

from penstock.monitoring.metrics.score import ScoreMetrics
from penstock.schemas.dead_letters import DeadLetter
from penstock.streams.access import outcomes
from penstock.streams.scoring.repeats import Repeats, repeated
from penstock.streams.settings import Settings


def prediction(partition: int, offset: int) -> Any:
    value = msgspec.json.encode({"id": "e", "score": 0.5, "source": {"partition": partition, "offset": offset}})
    return SimpleNamespace(partition=partition, key=b"e", value=value, headers=[("penstock-schema", b"prediction/1")])


def dead_letter(partition: int, offset: int, topic: str = "events") -> Any:
    letter = DeadLetter(b"e", b"{", (), topic, partition, offset, 0, "decode", "not_json", "No JSON.")
    key, value, headers = letter.to_record()
    return SimpleNamespace(partition=partition, key=key, value=value, headers=headers)


@pytest.mark.parametrize(
    ("outputs", "again"),
    [
        ([], {}),
        ([prediction(0, 99)], {}),
        ([prediction(0, 100)], {0: 1}),
        ([prediction(0, 119), dead_letter(0, 121)], {0: 22}),
        ([prediction(0, 149), prediction(1, 4)], {0: 50, 1: 5}),
        ([prediction(0, 100_000)], {}),
        ([dead_letter(0, 121, "labels")], {}),
    ],
    ids=["nothing", "all-committed", "one", "the-furthest", "both", "of-a-topic-before-this-one", "of-a-label"],
)
def test_the_offsets_that_wait_and_have_outputs_are_repeated(outputs: list[Any], again: dict[int, int]) -> None:
    assert repeated({0: range(100, 150), 1: range(10)}, outputs, {"events"}) == again


@pytest.mark.parametrize(
    ("level", "asked"),
    [
        ("full", ["predictions", "dead-letters"]),
        ("partial", ["predictions", "review", "dead-letters"]),
        ("assist", ["review", "dead-letters"]),
        ("shadow_people", ["dead-letters"]),
    ],
)
async def test_only_topics_that_the_degree_of_automation_writes_are_asked_how_far_they_reach(
    level: str, asked: list[str]
) -> None:
    settings = Settings.of({
        "pipeline": {"name": "p"}, "events": {"topic": "e"}, "features": {"x": {"type": "float"}},
        "automation": {"level": level, **({"abstain": [0.4, 0.6]} if level == "partial" else {})},
    })  # fmt: skip
    seen: list[TopicPartition] = []

    class Consumer:
        """Answers for none of them."""

        _coordinator: Any = SimpleNamespace()

        async def beginning_offsets(self, partitions: list[TopicPartition]) -> Any:
            return dict.fromkeys(partitions, 0)

        async def end_offsets(self, partitions: list[TopicPartition]) -> Any:
            seen.extend(partitions)
            raise TopicAuthorizationFailedError

        async def fetch_committed_offsets(self, partitions: list[TopicPartition]) -> Any:
            return {}

    consumer = Consumer()
    consumer._coordinator = consumer
    repeats = Repeats(settings.kafka, outcomes(settings), lambda: consumer, ScoreMetrics("p"))

    repeats.assigned([TP("e", 3)])
    await repeats.noted()

    assert seen == [TopicPartition(topic, 3) for topic in ("e", *(f"p.{role}" for role in asked))]


def test_an_output_that_cannot_be_read_is_no_repeat() -> None:
    odd = prediction(0, 110)
    odd.value = b"not of ours"
    assert repeated({0: range(100, 150)}, [odd], {"events"}) == {}
