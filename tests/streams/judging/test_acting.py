"""The judge as a writer of the control record: tries again, and does not act on what it has not written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from penstock.monitoring.config import RolloutConfig
from penstock.schemas.control import Control
from penstock.schemas.errors import UnreachableError
from penstock.schemas.gates import Look
from penstock.schemas.records import ModelRef
from penstock.streams.control.changes import start_rollout
from penstock.streams.judging.acting import Actor

OLD, NEW = ModelRef("delay", 1), ModelRef("delay", 2)


class ControlInMemory:
    """A control record without Kafka: its writer, which fails so many times first, and its follower."""

    pipeline = "flights"

    def __init__(self, control: Control, *, failures: int = 0) -> None:
        self.current, self._failures = control, failures
        self._states: asyncio.Queue[Control | None] = asyncio.Queue()
        self.commands: list[str] = []
        self.changed = asyncio.Event()

    async def change(self, change: Any, *, command: str, author: str, reason: str, look: Look) -> Control:
        if self._failures:
            self._failures -= 1
            raise UnreachableError("Kafka", "localhost:9092", "it is away", fix="Wait.")
        after: Control = msgspec.structs.replace(change(self.current), revision=self.current.revision + 1)
        self.commands.append(command)
        self._states.put_nowait(after)
        return after

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self._states.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Control]:
        while (state := await self._states.get()) is not None:
            self.current = state
            yield state
            self.changed.set()


def running() -> Control:
    plan = RolloutConfig(stages=(0.1, 0.5), mode="automatic")
    return start_rollout(Control("flights", 6, OLD, "", "", 0), NEW, plan=plan)


def good() -> Look:
    return Look("rollout-7", NEW, OLD, 0, 0.1, 0, "promote", "It is better.")


async def acted(control: ControlInMemory, *, told: int = 1) -> list[Control]:
    """What was followed when the judge was told of a committed look, so many times."""
    followed: list[Control] = []
    plane: Any = control
    async with Actor(plane, plane, followed.append, again_s=0.001) as actor:
        for _ in range(told):
            actor.act(good())
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await control.changed.wait()
    return followed


async def test_a_verdict_is_carried_out_and_followed() -> None:
    control = ControlInMemory(running())
    [after] = await acted(control)
    assert (control.commands, after.rollout is not None and after.rollout.stage) == (["canary step"], 1)


async def test_it_is_tried_again_until_kafka_is_back() -> None:
    control = ControlInMemory(running(), failures=3)
    await acted(control)
    assert control.commands == ["canary step"]


async def test_being_told_again_changes_nothing_more() -> None:
    control = ControlInMemory(running())
    await acted(control, told=5)
    assert control.commands == ["canary step"]
