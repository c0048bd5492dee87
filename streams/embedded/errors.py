"""What can keep an embedded server from running, each with the way out."""

from __future__ import annotations

from pathlib import Path

from penstock.schemas.errors import PenstockError


class NotInstalled(PenstockError):
    """A package that carries a part of the embedded servers is not installed.

    >>> print(NotInstalled("jgo", server="Kafka", setting="kafka.servers"))
    The embedded Kafka needs the package jgo, which is not installed. Run `pip install 'penstock[embedded]'`, or set \
kafka.servers to a server of yours.
    """

    exit_code = 3

    def __init__(self, package: str, *, server: str, setting: str) -> None:
        self.package, self.server, self.setting = package, server, setting
        super().__init__(
            f"The embedded {server} needs the package {package}, which is not installed. "
            f"Run `pip install 'penstock[embedded]'`, or set {setting} to a server of yours."
        )


class JarsUnavailable(PenstockError):
    """Kafka's jars are not in the cache, and Maven Central or the disk did not let them be put there.

    >>> print(JarsUnavailable("4.1.2", "no route to host", cache=Path("cache")))
    Apache Kafka 4.1.2 could not be downloaded from Maven Central to cache: no route to host. Try again with a \
network, copy cache/kafka-4.1.2 from a machine that has it, or set kafka.servers to a broker of yours.
    """

    exit_code = 3

    def __init__(self, version: str, reason: str, *, cache: Path) -> None:
        self.version, self.reason, self.cache = version, reason, cache
        super().__init__(
            f"Apache Kafka {version} could not be downloaded from Maven Central to {cache}: {reason}. "
            f"Try again with a network, copy {cache / f'kafka-{version}'} from a machine that has it, "
            "or set kafka.servers to a broker of yours."
        )


class DirectoryInUse(PenstockError):
    """Another process runs a server on the same data directory.

    >>> print(DirectoryInUse(Path("data/kafka"), pid=4711))
    data/kafka is in use by process 4711. Stop that process, or name another directory.
    """

    exit_code = 5

    def __init__(self, directory: Path, *, pid: int | None) -> None:
        self.directory, self.pid = directory, pid
        who = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{directory} is in use by {who}. Stop that process, or name another directory.")


class OtherCluster(PenstockError):
    """The data directory belongs to a cluster of another size.

    >>> print(OtherCluster(Path("data/kafka"), held=1, wanted=3))
    data/kafka holds the data of 1 broker(s); 3 were asked for. Name another directory, or ask for 1.
    """

    exit_code = 2

    def __init__(self, directory: Path, *, held: int, wanted: int) -> None:
        self.directory, self.held, self.wanted = directory, held, wanted
        super().__init__(
            f"{directory} holds the data of {held} broker(s); {wanted} were asked for. "
            f"Name another directory, or ask for {held}."
        )


class StartFailed(PenstockError):
    """An embedded server ended, or did not answer in time; carries the last lines it logged.

    >>> print(StartFailed("Redis", "it ended with status 1", log=Path("redis.log"), tail=["Out of memory"]))
    The embedded Redis did not start: it ended with status 1. The end of redis.log:
      Out of memory
    """

    exit_code = 3

    def __init__(self, server: str, reason: str, *, log: Path, tail: list[str]) -> None:
        self.server, self.reason, self.log, self.tail = server, reason, log, tail
        lines = "".join(f"\n  {line}" for line in tail) or " (it is empty)"
        super().__init__(f"The embedded {server} did not start: {reason}. The end of {log}:{lines}")
