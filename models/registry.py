"""Versions of models and names for them, in a directory or at any fsspec URL.

Layout: `<name>/<version>/` holds a package's files, `<name>/aliases.json` the names that people gave to versions. What
serves is said by the control record alone; an alias is a name for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from penstock.models.package_files import SUMS, Manifest, verify_package
from penstock.models.package_signatures import decode_signatures, read_signatures, sign_sums
from penstock.models.stores import DirectoryStore, RemoteStore, Store
from penstock.schemas.errors import ConfigurationError, PenstockError
from penstock.schemas.records import ModelRef
from penstock.schemas.signing import ANYBODY, PrivateKey, Signature, TrustedKeys

LATEST = "latest"
_ALIAS = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


class ModelNotFound(PenstockError):
    """The registry does not have the model, the version or the alias.

    >>> print(ModelNotFound("delay", "7", ["delay@1", "delay@2"]))
    The registry has no delay@7; it has delay@1, delay@2.
    >>> print(ModelNotFound("delay", "latest", []))
    The registry has no delay@latest; it is empty. Add a package with `penstock models add`.
    """

    exit_code = 6

    def __init__(self, name: str, version: str, existing: Sequence[str]) -> None:
        self.name, self.version, self.existing = name, version, list(existing)
        has = f"it has {', '.join(existing)}." if existing else "it is empty. Add a package with `penstock models add`."
        super().__init__(f"The registry has no {name}@{version}; {has}")


class RegistryUnreadable(PenstockError):
    """The registry's files cannot be read now: a mount that hangs or is gone, a store that does not answer.

    >>> print(RegistryUnreadable("s3://models", TimeoutError("no answer")))
    The registry s3://models cannot be read: TimeoutError: no answer. Is it there, and may this user read it?
    """

    exit_code = 3

    def __init__(self, location: str, error: Exception) -> None:
        self.location, self.error = location, error
        reason = f"{type(error).__name__}: {error}".rstrip(".")
        super().__init__(f"The registry {location} cannot be read: {reason}. Is it there, and may this user read it?")


class RegisteredModel(msgspec.Struct, frozen=True):
    """One line of the registry's table."""

    ref: ModelRef
    digest: str
    """SHA-256 of the package's SHA256SUMS."""
    aliases: tuple[str, ...]


class Registry:
    """`location` is a directory or an fsspec URL such as s3://bucket/models (its driver must be installed).

    Whatever reads raises RegistryUnreadable where the files cannot be read: the next time they may be.

    Packages at a URL are copied once to `cache` (by default below the user's cache directory) and checked against the
    registry's digest each time they are asked for. Where keys are `trusted`, whatever none of them signed is refused.
    """

    def __init__(self, location: str | Path, *, cache: Path | None = None, trusted: TrustedKeys = ANYBODY) -> None:
        """Raises ConfigurationError when the URL's protocol is not known or its driver not installed."""
        self.location, self.trusted = str(location), trusted
        remote = "://" in self.location
        self._store: Store = RemoteStore(self.location, cache) if remote else DirectoryStore(Path(location))
        self._failures = Exception if remote else OSError  # every driver of fsspec has errors of its own

    def add(self, package: Path) -> ModelRef:
        """Copy a package in as the next version of its name; one that is already there keeps its version.

        A reader never sees half a package, and concurrent calls get distinct versions. Raises ModelRefused.
        """
        manifest = verify_package(package, self.trusted)
        return ModelRef(manifest.name, self._store.add(manifest.name, package))

    def path(self, ref: ModelRef) -> Path:
        """The local, verified directory of a version. Raises ModelNotFound or ModelRefused."""
        with self._reading():
            directory = self._fetch(ref)
            verify_package(directory, self.trusted)
            return directory

    def manifest(self, ref: ModelRef) -> Manifest:
        """Raises ModelNotFound or ModelRefused."""
        with self._reading():
            return verify_package(self._fetch(ref), self.trusted)

    def sign(self, ref: ModelRef, key: PrivateKey) -> Signature:
        """Add a signature to a version, whoever signed it so far: nobody, it may be.

        Raises ModelNotFound or ModelRefused.
        """
        directory = self._fetch(ref)
        verify_package(directory)
        signature = sign_sums(key, (directory / SUMS).read_bytes())
        self._store.add_signatures(ref.name, ref.version, [signature])
        return signature

    def signatures(self, ref: ModelRef) -> list[Signature]:
        """All that a version carries, trusted or not. Raises ModelNotFound or ModelRefused."""
        with self._reading():
            directory = self._fetch(ref)
            return decode_signatures(str(directory), read_signatures(directory))

    def digest(self, ref: ModelRef) -> str:
        """Of a version, as `RegisteredModel` has it. Raises ModelNotFound."""
        with self._reading():
            digest = self._store.versions(ref.name).get(ref.version)
        if digest is None:
            raise self._not_found(ref.name, str(ref.version))
        return digest

    def models(self) -> list[RegisteredModel]:
        """Everything registered, by name and version."""
        models = []
        with self._reading():
            for name in self._store.names():
                aliases = self._store.aliases(name)
                for version, digest in sorted(self._store.versions(name).items()):
                    given = tuple(sorted(alias for alias, target in aliases.items() if target == version))
                    models.append(RegisteredModel(ModelRef(name, version), digest, given))
        return models

    def resolve(self, text: str) -> ModelRef:
        """`delay@3`, `delay@ALIAS` or `delay@latest` (also written `delay`) to a version. Raises ModelNotFound."""
        name, _, wanted = text.partition("@")
        wanted = wanted or LATEST
        with self._reading():
            versions = self._store.versions(name)
            if wanted.isascii() and wanted.isdigit():
                version = int(wanted)
            elif wanted == LATEST:
                version = max(versions, default=0)
            else:
                version = self._store.aliases(name).get(wanted, 0)
        if version not in versions:
            raise self._not_found(name, wanted)
        return ModelRef(name, version)

    def alias(self, name: str, alias: str, version: int) -> None:
        """Let `name@alias` mean this version from now on. Raises ModelNotFound or ConfigurationError."""
        if _ALIAS.fullmatch(alias) is None or alias == LATEST:
            raise ConfigurationError(
                "registry", "alias", found=repr(alias), expected="a lower-case name other than 'latest', not a number"
            )
        if version not in self._store.versions(name):
            raise self._not_found(name, str(version))
        self._store.set_alias(name, alias, version)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except PenstockError:
            raise
        except self._failures as error:
            raise RegistryUnreadable(self.location, error) from error

    def _fetch(self, ref: ModelRef) -> Path:
        if ref.version not in self._store.versions(ref.name):
            raise self._not_found(ref.name, str(ref.version))
        return self._store.fetch(ref.name, ref.version)

    def _not_found(self, name: str, wanted: str) -> ModelNotFound:
        known = self.models()
        of_name = [model for model in known if model.ref.name == name] or known
        existing = [str(model.ref) for model in of_name]
        return ModelNotFound(name, wanted, existing + [f"{m.ref.name}@{alias}" for m in of_name for alias in m.aliases])
