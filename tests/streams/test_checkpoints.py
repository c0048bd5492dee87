"""Whose turn it is to be written; `tests/integration` shows that what is written counts once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from penstock.streams.checkpoints import Checkpoints
from penstock.streams.settings import KafkaSettings


class IdleProducer:
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Unhurried(Checkpoints):
    """Remembers how long it would have slept, and finds no state."""

    def __init__(self) -> None:
        super().__init__(
            kafka=KafkaSettings(), group="g", role="r", state_topic="s",
            new_producer=lambda name: IdleProducer(),
        )  # fmt: skip
        self.slept: list[float] = []

    async def sleep(self, n: Any, *, loop: Any = None) -> None:
        self.slept.append(n)

    async def _read_state(self, partitions: Collection[int]) -> dict[int, dict[str, bytes]]:
        return {partition: {} for partition in partitions}


@pytest.fixture
def checkpoints() -> Unhurried:
    return Unhurried()


async def turns(checkpoints: Checkpoints, count: int) -> list[int]:
    taken: list[int] = []
    async for partition in checkpoints.turns(1.0):
        taken.append(partition)
        if len(taken) == count:
            break
    return taken


async def test_each_partition_has_its_turn_once_in_the_time_of_all(checkpoints: Unhurried) -> None:
    await checkpoints.open([7, 3, 5, 1])

    assert sorted(await turns(checkpoints, 4)) == [1, 3, 5, 7]
    assert checkpoints.slept == [0.25] * 4


async def test_the_turns_go_on_with_the_partitions_that_are_left(checkpoints: Unhurried) -> None:
    await checkpoints.open([1, 2, 3])
    taking = checkpoints.turns(1.0)
    await anext(taking)

    await checkpoints.open([2])

    assert [await anext(taking) for _ in range(3)] == [2, 2, 2]


async def test_while_there_are_none_it_is_nobodys_turn(checkpoints: Unhurried) -> None:
    async def one_comes(n: Any, *, loop: Any = None) -> None:
        checkpoints.slept.append(n)
        if len(checkpoints.slept) == 3:
            await checkpoints.open([4])

    checkpoints.sleep = one_comes  # type: ignore[method-assign]

    assert await turns(checkpoints, 1) == [4]
    assert checkpoints.slept == [1.0] * 3
