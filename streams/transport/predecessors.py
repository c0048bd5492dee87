"""Members of a consumer group whose process died on this host: whoever starts here next says goodbye for them.

A worker that is killed tells nobody. Its group misses it when its session ends, and until then its partitions rest. A
rebalance that begins meanwhile, as its own restart brings about, is worse: all partitions of the group wait for the
dead one. Yet its host knows at once, for the kernel lets go of what a dead process had locked. So a member writes its
name in the group into a file of its own that it keeps locked; a name in a file that nobody holds is a dead one's.

Only the kernel that gave a lock out knows of it for certain: on a cache that hosts share, a lock may hold on its own
host only. So each host, and each of its boots, has a folder of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import socket
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import LeaveGroupRequest

from penstock.models.user_cache import user_cache

log = logging.getLogger("penstock.transport")

PATIENCE_S = 3.0
"""For the goodbyes at a start: without them the dead one's session ends by itself."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Of this kernel since it started; Linux has one."""


class Names:
    """The names of a group's members on this host, in `directory`; one per process, and removed when it leaves."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._own: tuple[Path, IO[bytes]] | None = None

    @classmethod
    def of(cls, kafka: Mapping[str, Any], group: str) -> Names:
        """Below the user's cache directory, apart from those of other hosts, boots, clusters and groups."""
        which = f"{this_boot()} {sorted(kafka['bootstrap_servers'])} {group}"
        return cls(user_cache() / "members" / hashlib.sha256(which.encode()).hexdigest()[:32])

    def bear(self, name: str) -> None:
        """This process is the member `name` from now on; with an empty one it is none."""
        try:
            if not name:
                self._give_up()
                return
            self._own = self._own or self._take()
            file = self._own[1]
            file.seek(0)
            file.write(name.encode())
            file.truncate()
            file.flush()
        except OSError as error:
            log.info("This member's name cannot be noted, so its death would be noticed later: %s", error)

    def of_the_dead(self) -> list[str]:
        """The names whose process died; they are given out once."""
        names = []
        for path in self._directory.glob("*.member"):
            with suppress(OSError), path.open("rb") as file:  # held by the living, or removed by another one meanwhile
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if name := file.read().decode():  # none yet: its process is about to lock it
                    path.unlink()
                    names.append(name)
        return names

    def _take(self) -> tuple[Path, IO[bytes]]:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._directory / f"{uuid.uuid4().hex}.member"
        file = path.open("wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        return path, file

    def _give_up(self) -> None:
        if self._own is not None:
            path, file = self._own
            self._own = None
            path.unlink(missing_ok=True)
            file.close()


def this_boot() -> str:
    """Which host this is, and since which of its starts, as far as it says."""
    boot = ""
    with suppress(OSError):
        boot = BOOT_ID.read_text().strip()
    return f"{socket.gethostname()} {boot}"


async def say_goodbye_for_the_dead(kafka: Mapping[str, Any], group: str) -> list[str]:
    """Take the members whose process died on this host out of the group; returns their names.

    `kafka` are aiokafka's connection options. Where Kafka does not answer, their sessions end by themselves.
    """
    if not (names := Names.of(kafka, group).of_the_dead()):
        return []
    client = AIOKafkaClient(**kafka)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await client.bootstrap()
            coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
            for name in names:
                await client.send(coordinator, LeaveGroupRequest(group, name), group=ConnectionGroup.DEFAULT)
    except (KafkaError, TimeoutError) as error:
        log.info("The group %s waits for the session of a dead worker to end: %s", group, error or "no answer")
    finally:
        await client.close()
    return names
