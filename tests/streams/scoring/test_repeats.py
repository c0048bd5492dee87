"""What a new owner of a partition repeats: from the committed offset to the source of the last output."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from penstock.schemas.dead_letters import DeadLetter
from penstock.streams.scoring.repeats import repeated


def prediction(partition: int, offset: int) -> Any:
    value = msgspec.json.encode({"id": "e", "score": 0.5, "source": {"partition": partition, "offset": offset}})
    return SimpleNamespace(partition=partition, key=b"e", value=value, headers=[("penstock-schema", b"prediction/1")])


def dead_letter(partition: int, offset: int) -> Any:
    letter = DeadLetter(b"e", b"{", (), "events", partition, offset, 0, "decode", "not_json", "No JSON.")
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
    ],
    ids=["nothing", "all-committed", "one", "the-furthest", "both", "of-a-topic-before-this-one"],
)
def test_the_offsets_that_wait_and_have_outputs_are_repeated(outputs: list[Any], again: dict[int, int]) -> None:
    assert repeated({0: range(100, 150), 1: range(10)}, outputs) == again


def test_an_output_that_cannot_be_read_is_no_repeat() -> None:
    odd = prediction(0, 110)
    odd.value = b"not of ours"
    assert repeated({0: range(100, 150)}, [odd]) == {}
