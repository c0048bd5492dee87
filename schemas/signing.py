"""Ed25519 signatures (RFC 8032): who says that bytes are what they should be.

A signature is made for a purpose, which is part of what is signed: one of a model package never passes for one of a
control record. Parts are signed with their lengths, so that no byte can move from one into the next. Nothing here reads
a file; a private key shows itself in no representation.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Purpose = Literal["package", "control"]

ALGORITHM = "ed25519"
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64


class Signature(NamedTuple):
    """One signature, and whose.

    >>> signature = Signature("5f0c2d9be07a11c4", bytes(64))
    >>> Signature.parse(str(signature)) == signature
    True
    """

    key_id: str
    data: bytes
    """64 bytes."""

    @classmethod
    def parse(cls, text: str) -> Signature:
        """Raises ValueError for anything but `ed25519 KEY-ID BASE64`."""
        words = text.split()
        if len(words) != 3 or words[0] != ALGORITHM:
            raise ValueError(f"it is not `{ALGORITHM} KEY-ID BASE64`")
        return cls(words[1], _decoded(words[2], _SIGNATURE_BYTES))

    def __str__(self) -> str:
        return f"{ALGORITHM} {self.key_id} {base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class PublicKey:
    """What a signature is checked with; anybody may see it. Written `ed25519:BASE64 NAME`, the name for people alone.

    >>> key = PublicKey.parse("ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo= release")
    >>> key.name, key.id
    ('release', '21fe31dfa154a261')
    >>> PublicKey.parse(str(key)) == key
    True
    """

    data: bytes
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Raises ValueError."""
        key, _, name = text.strip().partition(" ")
        prefix, separator, encoded = key.partition(":")
        if prefix != ALGORITHM or not separator:
            raise ValueError(f"it is not `{ALGORITHM}:BASE64 NAME`")
        return cls(_decoded(encoded, _KEY_BYTES), name.strip())

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the key's SHA-256."""
        return hashlib.sha256(self.data).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{ALGORITHM}:{base64.b64encode(self.data).decode()} {self.name}".rstrip()

    def verifies(self, signature: Signature, purpose: Purpose, *parts: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.data).verify(signature.data, _message(purpose, parts))
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """What signatures are made with."""

    def __init__(self, seed: bytes) -> None:
        """`seed` are the key's 32 bytes, as RFC 8032 has them."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @classmethod
    def from_pem(cls, data: bytes) -> PrivateKey:
        """A key as `to_pem` or `openssl genpkey -algorithm ed25519` writes it. Raises ValueError."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(data, password=None)
        except TypeError as error:
            raise ValueError("it is protected by a password") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError("it is no private key in PEM form") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("it is a key of another kind than Ed25519")
        return cls(key.private_bytes_raw())

    def to_pem(self) -> bytes:
        """PKCS #8, not encrypted."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def public(self, name: str = "") -> PublicKey:
        return PublicKey(self._key.public_key().public_bytes_raw(), name)

    def sign(self, purpose: Purpose, *parts: bytes) -> Signature:
        return Signature(self.public().id, self._key.sign(_message(purpose, parts)))


@dataclass(frozen=True)
class TrustedKeys:
    """Whose signatures are believed. Without any key nothing need be signed.

    >>> key = PrivateKey(bytes(32))
    >>> trusted = TrustedKeys((key.public("release"),))
    >>> trusted.refusal([key.sign("package", b"sums")], "package", b"sums") is None
    True
    >>> trusted.refusal([], "package", b"sums")
    'it is not signed'
    >>> trusted.refusal([key.sign("package", b"sums")], "package", b"other sums")
    'its signature by 139e3940e64b5491 (release) does not verify'
    >>> TrustedKeys().refusal([], "package", b"sums") is None
    True
    """

    keys: tuple[PublicKey, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.keys)

    def refusal(self, signatures: Sequence[Signature], purpose: Purpose, *parts: bytes) -> str | None:
        """Why none of the signatures counts, in words; None where one does, or where none is asked for."""
        if not self.keys:
            return None
        if not signatures:
            return "it is not signed"
        known = {key.id: key for key in self.keys}
        ours = [signature for signature in signatures if signature.key_id in known]
        if not ours:
            whose = ", ".join(signature.key_id for signature in signatures)
            return f"it is signed by {whose}, which is not trusted here"
        if any(known[signature.key_id].verifies(signature, purpose, *parts) for signature in ours):
            return None
        return f"its signature by {self.name_of(ours[0].key_id)} does not verify"

    def name_of(self, key_id: str) -> str:
        """The key's id, and its name where it is known."""
        name = next((key.name for key in self.keys if key.id == key_id), "")
        return f"{key_id} ({name})" if name else key_id


ANYBODY = TrustedKeys()
"""No signature is asked for."""


def _message(purpose: Purpose, parts: Sequence[bytes]) -> bytes:
    return b"".join([f"penstock {purpose} 1\n".encode(), *(len(part).to_bytes(8, "big") + part for part in parts)])


def _decoded(text: str, size: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("it is not Base64") from error
    if len(data) != size:
        raise ValueError(f"it holds {len(data)} bytes, not {size}")
    return data
