"""Where a registry keeps its files: a local directory, or anything fsspec can open."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import fsspec  # type: ignore[import-untyped]
import msgspec

from penstock.models.package_files import CONTENTS, MODEL_NAME, PACKAGE_FILES, SUMS, digest_of_package
from penstock.models.package_signatures import (
    SIGNATURES,
    decode_signatures,
    read_signatures,
    replace_file,
    with_signatures,
)
from penstock.models.user_cache import user_cache
from penstock.schemas.errors import ConfigurationError, ModelRefused
from penstock.schemas.signing import Signature

_ALIASES = "aliases.json"


class Store(Protocol):
    """Names → versions → package files. A version is visible only once it is whole."""

    def names(self) -> list[str]: ...

    def versions(self, name: str) -> dict[int, str]:
        """Version → digest; empty for an unknown name."""
        ...

    def add(self, name: str, package: Path) -> int:
        """The version that this content has, or now gets, with the signatures that the package brings."""
        ...

    def fetch(self, name: str, version: int) -> Path:
        """A local directory with the files of a version that exists."""
        ...

    def add_signatures(self, name: str, version: int, signatures: Sequence[Signature]) -> None:
        """To a version that exists."""
        ...

    def aliases(self, name: str) -> dict[str, int]: ...

    def set_alias(self, name: str, alias: str, version: int) -> None: ...


class DirectoryStore:
    """A directory on this machine, or one that several mount. Writers of one name take turns by a lock file."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        if not self.root.is_dir():
            return []
        return sorted(entry.name for entry in self.root.iterdir() if self.versions(entry.name))

    def versions(self, name: str) -> dict[int, str]:
        directory = self.root / name
        if MODEL_NAME.fullmatch(name) is None or not directory.is_dir():
            return {}
        found = (entry for entry in directory.iterdir() if _is_version(entry.name) and (entry / SUMS).is_file())
        return {int(entry.name): digest_of_package(entry) for entry in found}

    def add(self, name: str, package: Path) -> int:
        digest = digest_of_package(package)
        with self._turn(name) as directory:
            existing = self.versions(name)
            for version, known in sorted(existing.items()):
                if known == digest:
                    _add_to(directory / str(version), _signatures_of(package))
                    return version
            with tempfile.TemporaryDirectory(prefix=".adding-", dir=directory) as temporary:
                draft = Path(temporary) / "package"
                draft.mkdir()
                for file in PACKAGE_FILES:
                    shutil.copyfile(package / file, draft / file)
                _add_to(draft, _signatures_of(package))
                version = max(existing, default=0) + 1
                draft.rename(directory / str(version))
            return version

    def fetch(self, name: str, version: int) -> Path:
        return self.root / name / str(version)

    def add_signatures(self, name: str, version: int, signatures: Sequence[Signature]) -> None:
        with self._turn(name) as directory:
            _add_to(directory / str(version), signatures)

    def aliases(self, name: str) -> dict[str, int]:
        path = self.root / name / _ALIASES
        if MODEL_NAME.fullmatch(name) is None or not path.is_file():
            return {}
        return _decoded_aliases(path.read_bytes(), str(path))

    def set_alias(self, name: str, alias: str, version: int) -> None:
        with self._turn(name) as directory:
            draft = directory / f".{_ALIASES}"
            draft.write_bytes(msgspec.json.encode({**self.aliases(name), alias: version}))
            draft.replace(directory / _ALIASES)

    @contextmanager
    def _turn(self, name: str) -> Iterator[Path]:
        directory = self.root / name
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield directory


class RemoteStore:
    """Files behind an fsspec URL. SHA256SUMS is written last: a version without it is not there yet.

    A writer claims its version by creating a file that nobody else may create; where the file system cannot promise
    that, only one writer at a time is safe. A claim whose writer died leaves a gap in the versions.
    """

    def __init__(self, url: str, cache: Path | None) -> None:
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigurationError(
                "penstock.toml",
                "models.registry",
                found=repr(url),
                expected="a directory or an fsspec URL",
                fix=f"{error}.",
            ) from error
        self._root = self._root.rstrip("/")
        self._cache = cache or user_cache() / "registry" / hashlib.sha256(url.encode()).hexdigest()[:16]

    def names(self) -> list[str]:
        return [name for name in self._list("") if self.versions(name)]

    def versions(self, name: str) -> dict[int, str]:
        if MODEL_NAME.fullmatch(name) is None:
            return {}
        found = {}
        for entry in self._list(name):
            sums = f"{self._root}/{name}/{entry}/{SUMS}"
            if _is_version(entry) and self._files.exists(sums):
                found[int(entry)] = hashlib.sha256(self._files.cat_file(sums)).hexdigest()
        return found

    def add(self, name: str, package: Path) -> int:
        digest = digest_of_package(package)
        existing = self.versions(name)
        for version, known in sorted(existing.items()):
            if known == digest:
                self.add_signatures(name, version, _signatures_of(package))
                return version
        version = self._claim(name, max(existing, default=0) + 1)
        place = f"{self._root}/{name}/{version}"
        self.add_signatures(name, version, _signatures_of(package))
        for file in (*CONTENTS, SUMS):
            self._files.pipe_file(f"{place}/{file}", (package / file).read_bytes())
        return version

    def fetch(self, name: str, version: int) -> Path:
        place, local = f"{self._root}/{name}/{version}", self._cache / name / str(version)
        expected = hashlib.sha256(self._files.cat_file(f"{place}/{SUMS}")).hexdigest()
        signatures = self._signatures(name, version)
        if (local / SUMS).is_file() and digest_of_package(local) == expected:
            if read_signatures(local) != signatures:
                replace_file(local / SIGNATURES, signatures)
            return local
        local.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=local.parent) as temporary:
            draft = Path(temporary) / "package"
            draft.mkdir()
            for file in PACKAGE_FILES:
                (draft / file).write_bytes(self._files.cat_file(f"{place}/{file}"))
            replace_file(draft / SIGNATURES, signatures)
            if (found := digest_of_package(draft)) != expected:
                raise ModelRefused(
                    f"{name}@{version}", f"its digest changed from {expected} to {found} while it was read"
                )
            if local.exists():
                local.rename(Path(temporary) / "stale")
            try:
                draft.rename(local)
            except OSError:
                # Another process fetched the same version first; anything else is an error.
                if not (local / SUMS).is_file() or digest_of_package(local) != expected:
                    raise
        return local

    def add_signatures(self, name: str, version: int, signatures: Sequence[Signature]) -> None:
        if signatures:
            place = f"{self._root}/{name}/{version}/{SIGNATURES}"
            self._files.pipe_file(place, with_signatures(place, self._signatures(name, version), signatures))

    def _signatures(self, name: str, version: int) -> bytes:
        place = f"{self._root}/{name}/{version}/{SIGNATURES}"
        data: bytes = self._files.cat_file(place) if self._files.exists(place) else b""
        return data

    def aliases(self, name: str) -> dict[str, int]:
        path = f"{self._root}/{name}/{_ALIASES}"
        if MODEL_NAME.fullmatch(name) is None or not self._files.exists(path):
            return {}
        return _decoded_aliases(self._files.cat_file(path), path)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        data = msgspec.json.encode({**self.aliases(name), alias: version})
        self._files.pipe_file(f"{self._root}/{name}/{_ALIASES}", data)

    def _claim(self, name: str, version: int) -> int:
        claims = f"{self._root}/{name}/claims"
        self._files.makedirs(claims, exist_ok=True)
        while True:
            try:
                self._files.pipe_file(f"{claims}/{version}", b"", mode="create")
            except FileExistsError:
                version += 1
            else:
                break
        self._files.makedirs(f"{self._root}/{name}/{version}", exist_ok=True)
        return version

    def _list(self, below: str) -> list[str]:
        directory = f"{self._root}/{below}".rstrip("/")
        self._files.invalidate_cache()
        if not self._files.isdir(directory):
            return []
        entries: list[Any] = self._files.ls(directory, detail=False)
        return sorted(str(entry).rstrip("/").rpartition("/")[2] for entry in entries)


def _signatures_of(package: Path) -> list[Signature]:
    return decode_signatures(str(package), read_signatures(package))


def _add_to(directory: Path, signatures: Sequence[Signature]) -> None:
    if signatures:
        data = with_signatures(str(directory), read_signatures(directory), signatures)
        replace_file(directory / SIGNATURES, data)


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and not name.startswith("0")


def _decoded_aliases(data: bytes, place: str) -> dict[str, int]:
    try:
        return msgspec.json.decode(data, type=dict[str, int])
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            place, "aliases", found=f"unreadable ({error})", expected='{"alias": version}', fix="Restore or delete it."
        ) from error
