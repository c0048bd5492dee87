"""The seal of a binary record: its schema, and a checksum, for a format may decode a flipped bit to something wrong."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from penstock.schemas.records import CHECKSUM_HEADER

Header = tuple[str, bytes]


def seal(value: bytes, schema: Header) -> list[Header]:
    """The headers of a record with this value."""
    return [schema, (CHECKSUM_HEADER, b"%08x" % zlib.crc32(value))]


def damage(value: bytes | None, headers: Sequence[Header], schema: Header) -> str | None:
    """What is wrong with a record that should have this schema, in words; None where its seal is whole.

    >>> damage(b"whole", seal(b"whole", ("penstock-schema", b"scored/1")), ("penstock-schema", b"scored/1"))
    >>> damage(b"holed", seal(b"whole", ("penstock-schema", b"scored/1")), ("penstock-schema", b"scored/1"))
    'its checksum does not match'
    """
    found = dict(headers)
    if (named := found.get(schema[0])) != schema[1]:
        return f"its schema is {named!r}, not {schema[1]!r}"
    checksum = found.get(CHECKSUM_HEADER)
    if value is None or checksum is None or checksum != b"%08x" % zlib.crc32(value):
        return "its checksum does not match"
    return None
