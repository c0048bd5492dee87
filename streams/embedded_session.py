"""Which embedded servers run beside a project, so that a second terminal's commands find them.

`penstock up --embedded` writes `.penstock/session.json` beside the configuration file and holds a lock on it while it
runs; a file without its lock is what a killed run left behind, and counts for nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

FOLDER = ".penstock"
_FILE = "session.json"


class Session(NamedTuple):
    """Where the embedded servers listen, and over how many brokers data is replicated."""

    servers: tuple[str, ...]
    redis_url: str
    replication_factor: int

    def environment(self) -> dict[str, str]:
        """The environment variables that lead to these servers.

        >>> Session(("127.0.0.1:9092",), "redis://127.0.0.1:6379/0", 1).environment()["PENSTOCK_KAFKA__SERVERS"]
        '127.0.0.1:9092'
        """
        return {
            "PENSTOCK_KAFKA__SERVERS": ",".join(self.servers),
            "PENSTOCK_KAFKA__REPLICATION_FACTOR": str(self.replication_factor),
            "PENSTOCK_REDIS__URL": self.redis_url,
        }


@contextmanager
def announced(directory: Path, servers: Sequence[str], redis_url: str) -> Iterator[Session]:
    """While this lasts, `find(directory)` gives these servers to every process. Raises DirectoryInUse."""
    if find(directory) is not None:
        from penstock.streams.embedded.errors import DirectoryInUse

        raise DirectoryInUse(directory / FOLDER, pid=None)
    session = Session(tuple(servers), redis_url, len(servers))
    path = directory / FOLDER / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_suffix(f".{os.getpid()}")
    with made.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(session._asdict(), file)
        file.flush()
        made.replace(path)  # complete and locked from the first moment that others can see it
        try:
            yield session
        finally:
            path.unlink(missing_ok=True)


def find(directory: Path) -> Session | None:
    """The session beside the configuration file in `directory`; None where none runs."""
    try:
        with (directory / FOLDER / _FILE).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                written = json.load(file)
            else:
                return None
    except FileNotFoundError:
        return None
    return Session(tuple(written["servers"]), written["redis_url"], written["replication_factor"])
