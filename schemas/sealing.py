"""Bytes that only the holders of a secret key can read: AES-256 in Galois/counter mode (NIST SP 800-38D).

What is sealed is bound to a context, which need not be secret: opened in another one, or changed in one bit, it is
refused. Each sealing draws its own 96-bit nonce; that is safe for 2³² messages under one key, so change keys before.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable

CIPHER = "aes-256-gcm"
_KEY_BYTES, _NONCE_BYTES, _TAG_BYTES = 32, 12, 16

OVERHEAD_BYTES = _NONCE_BYTES + _TAG_BYTES
"""By which a sealed message is longer."""


class NotOpened(ValueError):
    """What was sealed was changed on the way, or belongs elsewhere, or the key is another one."""


class SecretKey:
    """One key, that seals and opens. No representation shows it.

    >>> key = SecretKey(bytes(32))
    >>> key.open(key.seal(b"DE02120300000000202051", context=b"payments/0/17"), context=b"payments/0/17")
    b'DE02120300000000202051'
    >>> key.open(key.seal(b"DE02120300000000202051", context=b"payments/0/17"), context=b"payments/0/18")
    Traceback (most recent call last):
    penstock.schemas.sealing.NotOpened: what was sealed with b1a05baceadee1d2 was changed on the way
    >>> key.id
    'b1a05baceadee1d2'
    """

    def __init__(self, data: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(data) != _KEY_BYTES:
            raise ValueError(f"it holds {len(data)} bytes, not {_KEY_BYTES}")
        self._cipher = AESGCM(data)
        self.id = hashlib.sha256(b"penstock secret key\n" + data).hexdigest()[:16]
        """16 hexadecimal digits that tell it from others and nothing about it."""

    @classmethod
    def parse(cls, text: str) -> SecretKey:
        """A key's file: `aes-256-gcm:BASE64`. Raises ValueError, without showing what was found."""
        prefix, _, encoded = text.strip().partition(":")
        if prefix != CIPHER:
            raise ValueError(f"it is not `{CIPHER}:BASE64`")
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("it is not Base64") from None
        return cls(data)

    @staticmethod
    def generate() -> str:
        """The text of a new key, for its file."""
        return f"{CIPHER}:{base64.b64encode(os.urandom(_KEY_BYTES)).decode()}"

    def seal(self, data: bytes, *, context: bytes) -> bytes:
        """Nonce, cipher text and tag, in this order."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, context)

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """Raises NotOpened."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise NotOpened(f"what was sealed with {self.id} was changed on the way") from error


class SecretKeys(dict[str, SecretKey]):
    """Keys by their id."""

    @classmethod
    def of(cls, keys: Iterable[SecretKey]) -> SecretKeys:
        return cls({key.id: key for key in keys})

    def __repr__(self) -> str:
        return f"SecretKeys({', '.join(self)})"
