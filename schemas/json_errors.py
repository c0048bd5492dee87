"""Why one event could not be decoded: from msgspec's exception to a `Rejection` with a sentence that names the field.

No sentence repeats a value of the event: values can be sensitive, names of fields are the user's own configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from penstock.schemas.events import Rejection
from penstock.schemas.json_struct import Leaf

_MISSING = re.compile(r"(?s)Object missing required field `(?P<name>.*)`\Z")
_INDEX = re.compile(r"(\[(\d+|\.\.\.)\])+\Z")


class TimeUnreadable(ValueError):
    """A string that is no ISO 8601 time within the years 1 to 9999."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path} is no ISO 8601 time of the years 1 to 9999.")


def rejection(position: int, value: bytes | None, error: Exception, leaves: Mapping[str, Leaf]) -> Rejection:
    """`error` is what decoding `value` raised: a ValueError or a RecursionError."""
    if value is None:
        return Rejection(position, "decode", "tombstone", "The record is a tombstone: it has no value.")
    if not value:
        return Rejection(position, "decode", "empty", "The record's value is empty.")
    if isinstance(error, TimeUnreadable):
        return Rejection(position, "validate", "wrong_type", str(error))
    if isinstance(error, msgspec.ValidationError):
        name, message = _validation(str(error), leaves)
        return Rejection(position, "validate", name, message)
    return Rejection(position, "decode", "not_json", _not_json(value, error))


def _not_json(value: bytes, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "The value is nested too deeply to be read."
    if isinstance(error, UnicodeDecodeError):
        return "The value is not JSON: a string is not valid UTF-8."
    if "trailing characters" in str(error):
        return "The value goes on after the end of its JSON document: one record must hold one event."
    if value.startswith(b"\xef\xbb\xbf"):
        return "The value is not JSON: it begins with a byte order mark."
    return f"The value is not JSON: {str(error).removeprefix('JSON is malformed: ')}."


def _validation(text: str, leaves: Mapping[str, Leaf]) -> tuple[str, str]:
    what, _, place = text.partition(" - at `$")
    path = place.removesuffix("`").removeprefix(".")
    missing = _MISSING.fullmatch(what)
    if missing is not None:
        return "missing_field", f"{f'{path}.' if path else ''}{missing['name']} is missing."
    leaf = leaves.get(_INDEX.sub("", path))
    plain = what.replace("`", "").replace("Expected", "expected", 1)
    if what.endswith("got `null`") and path.endswith("]"):
        return "wrong_type", f"{path} is null; every element of the array must be a number."
    if what.endswith("got `null`") and path:
        return "missing_field", f"{path} is null; {plain.removesuffix(', got null')}."
    if what.startswith("Expected `str` of length"):
        return "missing_field", f"{path} is an empty string; expected an id."
    if "out of range" in what or what.startswith(("Expected `float` <=", "Expected `float` >=")):
        if leaf is not None and any(use.name == "a time" for use in leaf.uses):
            return "wrong_type", f"{path} is no time of the years 1 to 9999."
        if not what.startswith("Integer"):
            return "not_finite", f"{path} is too large for a float32: it would become infinite."
    return "wrong_type", f"{path or 'The value'} has the wrong type: {plain}."
