"""Leaving a consumer group at once, wherever its rebalance stands.

aiokafka's own `stop` waits for a rebalance that is under way, and takes leave only of a group that it has fully joined.
A member that goes away in between stays in the group as one who does not answer, and the others wait for it: until its
session ends, or the rebalance's own time is up.
"""

from __future__ import annotations

import asyncio
import logging

from aiokafka import AIOKafkaConsumer
from aiokafka.client import ConnectionGroup
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import LeaveGroupRequest

log = logging.getLogger("penstock.transport")

GOODBYE_S = 2.0
"""How long the broker may take to answer."""

POLL_S = 0.01


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
