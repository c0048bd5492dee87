"""Membership of a consumer group: leaving it at once, and noticing that somebody else bears one's instance id.

aiokafka's own `stop` waits for a rebalance that is under way, and takes leave only of a group that it has fully joined.
A member that goes away in between stays in the group as one who does not answer, and the others wait for it: until its
session ends, or the rebalance's own time is up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.client import ConnectionGroup
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaError, UnknownMemberIdError
from aiokafka.protocol.group import JoinGroupRequest, LeaveGroupRequest

log = logging.getLogger("penstock.transport")

GOODBYE_S = 2.0
"""How long the broker may take to answer."""

POLL_S = 0.01

FENCED_INSTANCE_ID = 82
"""Kafka's code for a member whose instance id another one bears now; aiokafka does not know it."""


async def leave(consumer: AIOKafkaConsumer, *, patience_s: float) -> None:
    """End the membership of `consumer`; afterwards it fetches and commits nothing, and only `stop` is left to call.

    1. Nothing new is begun: no rebalance, no heartbeat.
    2. A member that has just asked to join waits for its name, `patience_s` at most: under that name the group already
       expects it.
    3. The group is told.
    4. A rebalance that is under way is abandoned; a broker may leave its SyncGroup without an answer now.

    A static member tells nobody: its partitions wait for it until its session ends.
    """
    coordinator = consumer._coordinator
    rebalances, static = coordinator._coordination_task, coordinator._group_instance_id is not None
    if not coordinator._closing.done():
        coordinator._closing.set_result(None)
    await coordinator._stop_heartbeat_task()
    if not static:
        await _named(consumer, patience_s)
        if coordinator.member_id:
            await _say_goodbye(consumer)
            coordinator.member_id = ""
    rebalances.cancel()
    await asyncio.wait([rebalances])
    await coordinator._stop_heartbeat_task()
    await coordinator._stop_commit_offsets_refresh_task()


async def _named(consumer: AIOKafkaConsumer, patience_s: float) -> None:
    """Returns when the consumer has a name in the group, or does not ask for one any more."""
    coordinator, loop = consumer._coordinator, asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while not coordinator.member_id and not coordinator._coordination_task.done() and loop.time() < deadline:
        await asyncio.wait([coordinator._coordination_task], timeout=POLL_S)


async def _say_goodbye(consumer: AIOKafkaConsumer) -> None:
    """By the connection of the fetches: that of the group is deaf while the broker lets a JoinGroup wait."""
    coordinator = consumer._coordinator
    if coordinator.coordinator_id is None:
        return
    request = LeaveGroupRequest(coordinator.group_id, coordinator.member_id)
    try:
        async with asyncio.timeout(GOODBYE_S):
            await consumer._client.send(coordinator.coordinator_id, request, group=ConnectionGroup.DEFAULT)
    except (KafkaError, TimeoutError) as error:
        log.warning(
            "The group could not be told that this worker leaves, and waits for its session to end: %s",
            error or "no answer",
        )


def on_name(consumer: AIOKafkaConsumer, named: Callable[[str], None]) -> None:
    """Call `named` with each name that the group gives `consumer`, which is started; an empty one when it has none."""
    coordinator = consumer._coordinator
    coordinator.__class__ = _NamedCoordinator
    coordinator._named = named


class _NamedCoordinator(GroupCoordinator):
    """Tells its name when it gets one, which is as soon as it asks to join."""

    _named: Callable[[str], None]

    @property
    def member_id(self) -> str:
        name: str = self.__dict__["member_id"]
        return name

    @member_id.setter
    def member_id(self, name: str) -> None:
        self.__dict__["member_id"] = name
        self._named(name)


def on_takeover(consumer: AIOKafkaConsumer, taken_over: Callable[[], None]) -> None:
    """Call `taken_over` when another member joins with the instance id of `consumer`, which is started."""
    coordinator = consumer._coordinator
    coordinator.__class__ = _StaticCoordinator
    coordinator._taken_over = taken_over


class _StaticCoordinator(GroupCoordinator):
    """Asks under its old name what became of it.

    aiokafka's heartbeats do not carry the instance id, so all they hear is that the member is not known any more.
    aiokafka would join anew with the instance id then and put the other one out, which would do the same. Asked to join
    under the old name, the broker tells a session that has ended from an instance id that another one bears.
    """

    member_id: str
    _taken_over: Callable[[], None]

    def reset_generation(self) -> None:
        name = self.member_id
        super().reset_generation()
        self.member_id = name

    async def _send_req(self, request: Any) -> Any:
        response = await super()._send_req(request)
        error = getattr(response, "error_code", 0)
        if error == FENCED_INSTANCE_ID:
            self._taken_over()
        elif error == UnknownMemberIdError.errno and isinstance(request, JoinGroupRequest):
            self.member_id = ""
        return response
