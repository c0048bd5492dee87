"""The table [security] of `penstock.toml`: whose models and commands are believed, and what is kept secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from penstock.schemas.errors import ConfigurationError
from penstock.schemas.sealing import CIPHER
from penstock.schemas.signing import ALGORITHM, PublicKey, TrustedKeys
from penstock.streams.settings.sections import File, Section

Keys = Annotated[tuple[str, ...], Field(strict=False)]
"""Public keys: each the text `ed25519:BASE64 NAME`, or a file that holds it."""


class SecuritySettings(Section):
    """Public keys are texts or files; private and secret ones are files alone. Files are relative to the configuration.

    trusted_keys         whose signatures model packages need; none: packages need no signature
    control_keys         whose signatures control records need; none: they need no signature
    control_signing_key  the private key that this process signs control records with
    dead_letter_keys     secret keys: dead letters are encrypted with the first, where the catalogue has sensitive
                         features, and read with any

    A file of private or secret keys is read where it is needed, and need not be there elsewhere.
    """

    trusted_keys: Keys = ()
    control_keys: Keys = ()
    control_signing_key: File | None = None
    dead_letter_keys: Annotated[tuple[File, ...], Field(strict=False)] = ()

    def relative_to(self, directory: Path) -> SecuritySettings:
        """The same with absolute paths."""
        key = self.control_signing_key
        return self.model_copy(
            update={
                "trusted_keys": tuple(_from(directory, each) for each in self.trusted_keys),
                "control_keys": tuple(_from(directory, each) for each in self.control_keys),
                "control_signing_key": None if key is None else directory / key,
                "dead_letter_keys": tuple(directory / path for path in self.dead_letter_keys),
            }
        )


def _from(directory: Path, key: str) -> str:
    return key if key.startswith(f"{ALGORITHM}:") or looks_secret(key) else str(directory / key)


def public_keys(keys: Sequence[str]) -> TrustedKeys:
    """Raises ValueError for the first that cannot be used, with what is wrong with it."""
    return TrustedKeys(tuple(map(_public_key, keys)))


def unusable_keys(
    table: SecuritySettings, place_of: Callable[[tuple[str | int, ...]], str]
) -> Iterator[ConfigurationError]:
    """What is wrong with the public keys."""
    for name in ("trusted_keys", "control_keys"):
        for position, key in enumerate(getattr(table, name)):
            try:
                _public_key(key)
            except ValueError as error:
                yield ConfigurationError(
                    place_of(("security", name)),
                    f"security.{name}[{position}]",
                    found=f"{_shown(key)}: {error}",
                    expected=f"a public key, {ALGORITHM}:BASE64, or a file with one",
                    fix="`penstock keys show NAME` prints one.",
                )


def _shown(key: str) -> str:
    """Whoever pasted a secret here must not see it in a log."""
    return "a secret (not shown)" if looks_secret(key) else repr(key)


def looks_secret(text: str) -> bool:
    """Whether this is a private or secret key itself, where a file's name was asked for."""
    return "PRIVATE KEY" in text or text.startswith(f"{CIPHER}:")


def _public_key(key: str) -> PublicKey:
    if key.startswith(f"{ALGORITHM}:"):
        return PublicKey.parse(key)
    if looks_secret(key):
        raise ValueError("keep it out of here")
    try:
        text = Path(key).read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not text") from None
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    if "PRIVATE KEY" in text:
        raise ValueError("that is a private key: keep it out of here")
    return PublicKey.parse(text)
