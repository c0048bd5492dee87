"""Carries verdicts out, in automatic mode: the judge as one more writer of the control record.

A verdict is acted upon only when the checkpoint that holds it is committed, and until the control record shows it. A
judge that dies in between finds it in its state when it starts again; the change goes by the rollout and its stage, so
it is made once, whoever makes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError
from mode import Service

from penstock.schemas.control import Control
from penstock.schemas.errors import PenstockError
from penstock.schemas.gates import Look
from penstock.streams.control import ControlFollower, ControlPlane
from penstock.streams.judging.verdicts import AUTHOR, asked_for, carried_out, is_due

if TYPE_CHECKING:
    from penstock.streams.settings import Settings

log = logging.getLogger("penstock.judge")

AGAIN_S = 5.0
"""Between two attempts."""


class Actor(Service):
    """Follows the control record, tells `followed` of every state, and makes the changes that looks ask for."""

    def __init__(
        self,
        plane: ControlPlane,
        follower: ControlFollower,
        followed: Callable[[Control], None],
        *,
        again_s: float = AGAIN_S,
    ) -> None:
        super().__init__()
        self._plane, self._follower, self._followed, self._again_s = plane, follower, followed, again_s
        self._due: Look | None = None
        self._written = -1
        """The revision that it wrote last: until that is read, what was read is out of date."""
        self._news = asyncio.Event()

    @classmethod
    def of(cls, settings: Settings, followed: Callable[[Control], None]) -> Actor:
        """Raises ConfigurationError or KeyUnusable where it is to act, and could not sign what it writes."""
        plane = ControlPlane.of(settings)
        if settings.rollout.mode == "automatic":
            plane.signer.key()
        return cls(plane, ControlFollower.of(settings), followed)

    @property
    def control(self) -> Control | None:
        """What serves, as far as it was read."""
        return self._follower.current

    def act(self, look: Look | None) -> None:
        """From now on this committed look is to be carried out, if it asks for anything; None: none is."""
        self._due = look
        self._news.set()

    async def on_start(self) -> None:
        """Returns when the control record was read. Raises UnreachableError, TopicMissing."""
        await self._follower.start()

    async def on_stop(self) -> None:
        await self._follower.stop()

    @Service.task
    async def _follow(self) -> None:
        async for control in self._follower:
            self._followed(control)
            self._news.set()

    @Service.task
    async def _carry_out(self) -> None:
        while not self.should_stop:
            await self.wait(self._news.wait())
            self._news.clear()
            look, control = self._due, self._follower.current
            if look is None or control is None or control.revision < self._written or not is_due(look, control):
                continue
            if not await self._change(look, control):
                await self.sleep(self._again_s)
                self._news.set()

    async def _change(self, look: Look, before: Control) -> bool:
        """Whether the change stands; the follower brings it to whoever follows."""
        command = asked_for(look, len(before.rollout.stages)) if before.rollout is not None else None
        if command is None:
            return True
        log.info("%s of %s is due: %s", command, look.candidate, look.reason)
        try:
            control = await self._plane.change(
                carried_out(look, self._plane.pipeline), command=command, author=AUTHOR, reason=look.reason, look=look
            )
        except (PenstockError, KafkaError) as error:
            log.error("%s of %s: not done yet. %s Trying again.", command, look.candidate, error)
            return False
        self._written = control.revision
        log.info("%s of %s, revision %d: %s", command, look.candidate, control.revision, look.reason)
        return True
