"""Versions and aliases: one contract, run on a directory and on a remote file system."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import fsspec  # type: ignore[import-untyped]
import pytest

from penstock.models.package_files import PACKAGE_FILES, digest_of_package, write_sums
from penstock.models.registry import ModelNotFound, Registry, RegistryUnreadable
from penstock.schemas.errors import ConfigurationError, ModelRefused
from penstock.schemas.records import ModelRef

MakePackage = Callable[[int], Path]


@pytest.fixture(params=["directory", "memory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    if request.param == "directory":
        yield Registry(tmp_path / "registry")
        return
    url = f"memory://{uuid.uuid4().hex}/models"
    yield Registry(url, cache=tmp_path / "cache")
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def make(package: Path, tmp_path: Path) -> MakePackage:
    """Packages that differ in their seed alone."""

    def make(seed: int) -> Path:
        copy = shutil.copytree(package, tmp_path / f"package-{seed}", dirs_exist_ok=True)
        manifest = json.loads((copy / "manifest.json").read_text())
        manifest["training"]["seed"] = seed
        (copy / "manifest.json").write_text(json.dumps(manifest))
        write_sums(copy)
        return copy

    return make


def test_versions_count_from_one(registry: Registry, make: MakePackage) -> None:
    assert [registry.add(make(seed)) for seed in (10, 20)] == [ModelRef("delay", 1), ModelRef("delay", 2)]
    assert registry.resolve("delay@1") == ModelRef("delay", 1)
    assert registry.resolve("delay@latest") == registry.resolve("delay") == ModelRef("delay", 2)


def test_the_same_content_keeps_its_version(registry: Registry, make: MakePackage) -> None:
    registry.add(make(10))
    registry.add(make(20))
    assert registry.add(make(10)) == ModelRef("delay", 1)
    assert [model.ref.version for model in registry.models()] == [1, 2]


def test_what_comes_back_is_what_went_in(registry: Registry, make: MakePackage) -> None:
    package = make(10)
    path = registry.path(registry.add(package))
    assert sorted(file.name for file in path.iterdir()) == sorted(PACKAGE_FILES)
    assert digest_of_package(path) == digest_of_package(package) == registry.models()[0].digest
    assert registry.manifest(ModelRef("delay", 1)).training.seed == 10


def test_aliases_are_names_for_versions(registry: Registry, make: MakePackage) -> None:
    registry.add(make(10))
    registry.add(make(20))
    registry.alias("delay", "winter", 1)
    registry.alias("delay", "summer", 1)
    registry.alias("delay", "summer", 2)
    assert registry.resolve("delay@winter") == ModelRef("delay", 1)
    assert [model.aliases for model in registry.models()] == [("winter",), ("summer",)]


@pytest.mark.parametrize("alias", ["latest", "3", "../up", "", "Winter"])
def test_an_alias_that_would_mislead_is_refused(registry: Registry, make: MakePackage, alias: str) -> None:
    registry.add(make(10))
    with pytest.raises(ConfigurationError, match=r"registry: alias is .*; expected a lower-case name"):
        registry.alias("delay", alias, 1)


def test_what_is_not_there_lists_what_is(registry: Registry, make: MakePackage) -> None:
    with pytest.raises(ModelNotFound, match="has no delay@latest; it is empty"):
        registry.resolve("delay")
    registry.add(make(10))
    registry.alias("delay", "winter", 1)
    for wanted in ("delay@2", "delay@summer", "delay@0", "other@1", "../delay@1"):
        with pytest.raises(ModelNotFound, match="it has delay@1, delay@winter"):
            registry.resolve(wanted)
    with pytest.raises(ModelNotFound, match="has no delay@7"):
        registry.path(ModelRef("delay", 7))
    with pytest.raises(ModelNotFound, match="has no delay@7"):
        registry.alias("delay", "winter", 7)


def test_a_damaged_package_does_not_get_in(registry: Registry, make: MakePackage) -> None:
    package = make(10)
    (package / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ModelRefused, match=r"weights\.safetensors does not match"):
        registry.add(package)
    assert registry.models() == []


def test_concurrent_writers_get_distinct_versions(registry: Registry, make: MakePackage) -> None:
    packages = [make(seed) for seed in range(6)]
    barrier = Barrier(len(packages))

    def add(package: Path) -> int:
        barrier.wait()
        return registry.add(package).version

    with ThreadPoolExecutor(len(packages)) as pool:
        versions = list(pool.map(add, packages))
    assert sorted(versions) == [1, 2, 3, 4, 5, 6]
    for package, version in zip(packages, versions, strict=True):
        assert digest_of_package(registry.path(ModelRef("delay", version))) == digest_of_package(package)


def test_processes_take_turns_on_a_directory(make: MakePackage, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from penstock.models.registry import Registry\n"
        "print(Registry(sys.argv[1]).add(Path(sys.argv[2])).version)"
    )
    root = tmp_path / "registry"
    adding = [
        subprocess.Popen([sys.executable, "-c", script, root, make(seed)], stdout=subprocess.PIPE, text=True)
        for seed in range(3)
    ]
    assert sorted(int(process.communicate(timeout=120)[0]) for process in adding) == [1, 2, 3]
    assert not [entry for entry in (root / "delay").iterdir() if entry.name.startswith(".adding")]


def test_a_version_in_the_registry_that_was_changed_is_refused(make: MakePackage, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    ref = registry.add(make(10))
    (tmp_path / "registry" / "delay" / "1" / "golden.arrow").write_bytes(b"other")
    with pytest.raises(ModelRefused, match=r"golden\.arrow does not match SHA256SUMS"):
        registry.path(ref)


def test_a_stale_local_copy_is_fetched_again(make: MakePackage, tmp_path: Path) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    registry = Registry(url, cache=tmp_path / "cache")
    ref = registry.add(make(10))
    path = registry.path(ref)
    (path / "SHA256SUMS").write_text("an older registry at this address")
    assert digest_of_package(registry.path(ref)) == registry.models()[0].digest


def test_a_half_written_version_is_not_there_yet(make: MakePackage, tmp_path: Path) -> None:
    """A writer to a remote registry dies before SHA256SUMS: readers see nothing, the next writer goes on."""
    name = uuid.uuid4().hex
    registry = Registry(f"memory://{name}", cache=tmp_path / "cache")
    files = fsspec.filesystem("memory")
    files.pipe_file(f"/{name}/delay/claims/1", b"")
    files.pipe_file(f"/{name}/delay/1/manifest.json", b"{}")
    assert registry.models() == []
    assert registry.add(make(10)) == ModelRef("delay", 2)


def test_an_unknown_protocol_names_the_key() -> None:
    with pytest.raises(ConfigurationError, match=r"models\.registry is 'gopher://models'; expected a directory or an"):
        Registry("gopher://models")


def test_the_cache_lies_in_the_users_cache_directory(
    make: MakePackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "XDG_CACHE_HOME", str(tmp_path / "cache"))
    registry = Registry(f"memory://{uuid.uuid4().hex}")
    assert registry.path(registry.add(make(10))).is_relative_to(tmp_path / "cache" / "penstock" / "registry")


def test_a_store_that_does_not_answer_is_told_apart_from_a_model_that_is_refused(
    make: MakePackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(f"memory://{uuid.uuid4().hex}/models", cache=tmp_path / "cache")
    model = registry.add(make(10))

    def silent(*_: object, **__: object) -> bytes:
        raise ConnectionResetError("reset by peer")

    with monkeypatch.context() as outage:
        outage.setattr(type(fsspec.filesystem("memory")), "cat_file", silent)
        for read in (registry.path, registry.manifest, registry.digest):
            with pytest.raises(RegistryUnreadable, match="cannot be read: ConnectionResetError: reset by peer"):
                read(model)
        with pytest.raises(RegistryUnreadable):
            registry.resolve("delay@latest")
    assert registry.path(model).is_dir()
