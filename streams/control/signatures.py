"""Who signs control records, and over what: the state, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.schemas.errors import ConfigurationError
from penstock.schemas.records import CONTROL_SCHEMA
from penstock.schemas.signing import ANYBODY, PrivateKey, Signature, TrustedKeys
from penstock.streams.key_files import read_private_key

if TYPE_CHECKING:
    from penstock.streams.settings import Settings

SIGNATURE_HEADER = "penstock-signature"
"""`ed25519 KEY-ID BASE64`, over the record's topic, key, schema and value; the value holds the revision."""

_SETTING = "security.control_signing_key"


def signature_headers(key: PrivateKey | None, topic: str, pipeline: str, value: bytes) -> list[tuple[str, bytes]]:
    """What to add to the headers of a record that is written now; nothing without a key."""
    if key is None:
        return []
    signature = key.sign("control", *_signed(topic, pipeline, CONTROL_SCHEMA[1], value))
    return [(SIGNATURE_HEADER, str(signature).encode())]


def doubts(trusted: TrustedKeys, topic: str, pipeline: str, schema: bytes, value: bytes, header: bytes) -> str | None:
    """Why a record that was read is not to be believed, in words; None where it is, or where nobody asks.

    `header` is the content of `SIGNATURE_HEADER`, empty where the record has none.
    """
    if not trusted:
        return None
    try:
        signatures = [Signature.parse(header.decode("ascii", "replace"))] if header else []
    except ValueError as error:
        return f"its signature cannot be read: {error}"
    return trusted.refusal(signatures, "control", *_signed(topic, pipeline, schema, value))


def _signed(topic: str, pipeline: str, schema: bytes, value: bytes) -> tuple[bytes, ...]:
    return topic.encode(), pipeline.encode(), schema, value


@dataclass(frozen=True)
class ControlSigner:
    """What signs control records: the key in a file, which must be one that their readers believe."""

    file: Path | None = None
    trusted: TrustedKeys = ANYBODY

    @classmethod
    def of(cls, settings: Settings) -> ControlSigner:
        return cls(settings.security.control_signing_key, settings.control_keys)

    def key(self) -> PrivateKey | None:
        """None where records need no signature and no key is given.

        Raises KeyUnusable, and ConfigurationError where records need a signature that this process cannot give.
        """
        fix = (
            "Whoever changes what serves needs one, the judge in automatic mode too: "
            "PENSTOCK_SECURITY__CONTROL_SIGNING_KEY names its file."
        )
        expected = "the private key of one of security.control_keys"
        if self.file is None:
            if self.trusted:
                raise ConfigurationError("penstock.toml", _SETTING, found="missing", expected=expected, fix=fix)
            return None
        key = read_private_key(self.file)
        mine = key.public().id
        if self.trusted and mine not in {each.id for each in self.trusted.keys}:
            raise ConfigurationError("penstock.toml", _SETTING, found=f"the key {mine}", expected=expected, fix=fix)
        return key


NOBODY = ControlSigner()
"""Signs nothing, where nothing need be signed."""
