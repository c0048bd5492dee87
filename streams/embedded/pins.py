"""Which jars make an Apache Kafka broker: each with its coordinate and SHA-256, in `kafka-jars.sha256`.

Pinned like the Python dependencies: every machine runs the same bytes, nothing that Maven hands out is run unseen, and
the first start need not walk Maven's dependency graph. For another version of Kafka, write the file anew:

    python -m penstock.streams.embedded.pins 4.1.2 > streams/embedded/kafka-jars.sha256
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

PINS = Path(__file__).with_name("kafka-jars.sha256")
BINDING = "org.apache.logging.log4j:log4j-slf4j-impl"  # in the version of Kafka's own log4j-core


class Pin(NamedTuple):
    sha256: str
    coordinate: str

    def matches(self, jar: Path) -> bool:
        with jar.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256


def read_pins() -> list[Pin]:
    return [Pin(*line.split()) for line in PINS.read_text().splitlines()]


def maven(repository: Path) -> Any:
    """The way to Maven Central, and to the repositories that the user's own `jgo.conf` names."""
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    remotes = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
    return MavenContext(repo_cache=repository, remote_repos=remotes, timeout=20)


def resolve(version: str, context: Any) -> list[Any]:
    """Kafka's artifacts and those it needs at run time, as jgo names them, and the binding of slf4j to log4j.

    The binding is not resolved together with Kafka: the versions that log4j's own build manages would win over
    Kafka's, and kafka-clients would be older than the broker.
    """
    inputs, needed = context.resolver.resolve([context.create_dependency(f"org.apache.kafka:kafka_2.13:{version}")])
    artifacts = [item.artifact for item in inputs]
    artifacts += [item.artifact for item in needed if item.scope in ("compile", "runtime")]
    log4j = next(artifact.version for artifact in artifacts if artifact.artifactId == "log4j-core")
    return [*artifacts, context.create_dependency(f"{BINDING}:{log4j}").artifact]


def main(version: str) -> None:
    with tempfile.TemporaryDirectory() as repository:
        for artifact in resolve(version, maven(Path(repository))):
            digest = hashlib.sha256(artifact.resolve().read_bytes()).hexdigest()
            sys.stdout.write(f"{digest}  {artifact.groupId}:{artifact.artifactId}:{artifact.version}\n")


if __name__ == "__main__":
    main(sys.argv[1])
