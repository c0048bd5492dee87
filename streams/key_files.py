"""Files of keys: made so that nobody but their owner can read what is private, and never shown.

NAME.pem   a private key for signatures (Ed25519, PKCS #8), mode 0600
NAME.pub   its public key, `ed25519:BASE64 NAME`: goes to whoever checks signatures
NAME.key   a secret key for dead letters, `aes-256-gcm:BASE64`, mode 0600
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from penstock.schemas.errors import PenstockError
from penstock.schemas.sealing import SecretKey, SecretKeys
from penstock.schemas.signing import ALGORITHM, PrivateKey, PublicKey
from penstock.streams.settings.security import looks_secret

if TYPE_CHECKING:
    from penstock.streams.settings import Settings

Kind = Literal["signing", "dead-letters"]

PRIVATE, PUBLIC, SECRET = ".pem", ".pub", ".key"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_IGNORED = f"# Private and secret keys are in no repository.\n*{PRIVATE}\n*{SECRET}\n"
_LONGEST = 65_536

Key = TypeVar("Key")


class KeyUnusable(PenstockError):
    """A file of a key cannot be read, or holds no such key.

    >>> print(KeyUnusable(Path("keys/release.pem"), "anybody may read it", fix="chmod 600 keys/release.pem"))
    The key file keys/release.pem cannot be used: anybody may read it. chmod 600 keys/release.pem
    """

    exit_code = 2

    def __init__(self, path: Path, reason: str, *, fix: str = "") -> None:
        self.path, self.reason, self.fix = path, reason, fix
        shown = "(not shown: that is no path but a key itself)" if looks_secret(str(path)) else str(path)
        super().__init__(f"The key file {shown} cannot be used: {reason}.{' ' + fix if fix else ''}")


class KeyExists(PenstockError):
    """A key of this name is there, and is not written over.

    >>> print(KeyExists(Path("keys/release.pem")))
    keys/release.pem is there already, and a key is never written over. Choose another name.
    """

    exit_code = 2

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path} is there already, and a key is never written over. Choose another name.")


@dataclass(frozen=True)
class KeyOnFile:
    """What a folder holds of one key, without anything private.

    held    the private or secret part is there
    public  None for a secret key
    """

    name: str
    id: str
    kind: Kind
    held: bool
    public: PublicKey | None


def create_signing_key(directory: Path, name: str) -> PublicKey:
    """A new pair, NAME.pem and NAME.pub. Raises KeyExists, KeyUnusable."""
    key = PrivateKey(secrets.token_bytes(32))
    public = key.public(name)
    _make(directory)
    for suffix in (PRIVATE, PUBLIC):
        if (directory / f"{name}{suffix}").exists():
            raise KeyExists(directory / f"{name}{suffix}")
    _write(directory / f"{name}{PRIVATE}", key.to_pem(), 0o600)
    _write(directory / f"{name}{PUBLIC}", f"{public}\n".encode(), 0o644)
    return public


def create_secret_key(directory: Path, name: str) -> SecretKey:
    """A new one, NAME.key. Raises KeyExists, KeyUnusable."""
    text = SecretKey.generate()
    _make(directory)
    _write(directory / f"{name}{SECRET}", f"{text}\n".encode(), 0o600)
    return SecretKey.parse(text)


def read_private_key(path: Path) -> PrivateKey:
    """Raises KeyUnusable, also where anybody on this machine may read the file."""
    return _parsed(path, PrivateKey.from_pem)


def read_secret_key(path: Path) -> SecretKey:
    """Raises KeyUnusable, also where anybody on this machine may read the file."""
    return _parsed(path, lambda data: SecretKey.parse(data.decode("ascii", "replace")))


def read_secret_keys(paths: Sequence[Path]) -> SecretKeys:
    """The keys of those files that are there. Raises KeyUnusable for one that is there and cannot be used."""
    return SecretKeys.of(read_secret_key(path) for path in paths if path.exists())


def letter_key(settings: Settings) -> SecretKey | None:
    """What dead letters are encrypted with; None where no key is set or no feature is sensitive. Raises KeyUnusable."""
    files = settings.security.dead_letter_keys
    if not files or not any(feature.sensitive for feature in settings.catalogue.features):
        return None
    return read_secret_key(files[0])


def keys_in(directory: Path) -> list[KeyOnFile]:
    """By name. Raises KeyUnusable for a public key that is none."""
    found = []
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        if path.suffix == PUBLIC:
            public = read_public_key(path)
            found.append(KeyOnFile(path.stem, public.id, "signing", path.with_suffix(PRIVATE).exists(), public))
        elif path.suffix == SECRET:
            found.append(KeyOnFile(path.stem, read_secret_key(path).id, "dead-letters", True, None))
    return found


def read_public_key(path: Path) -> PublicKey:
    """Raises KeyUnusable."""
    try:
        return PublicKey.parse(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise KeyUnusable(path, reason, fix=f"Expected `{ALGORITHM}:BASE64 NAME`.") from error


def _parsed(path: Path, parse: Callable[[bytes], Key]) -> Key:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_LONGEST)
    except OSError as error:
        raise KeyUnusable(path, error.strerror or str(error), fix="`penstock keys create` makes one.") from error
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise KeyUnusable(path, "anybody on this machine may read it", fix=f"chmod 600 {path}")
    try:
        return parse(data)
    except ValueError as error:
        raise KeyUnusable(path, str(error)) from error


def _make(directory: Path) -> None:
    try:
        if not directory.exists():
            directory.mkdir(parents=True, mode=0o700)
            (directory / ".gitignore").write_text(_IGNORED)
    except OSError as error:
        raise KeyUnusable(directory, error.strerror or str(error)) from error


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
    except FileExistsError as error:
        raise KeyExists(path) from error
    except OSError as error:
        raise KeyUnusable(path, error.strerror or str(error)) from error
