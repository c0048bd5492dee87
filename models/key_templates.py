"""Key templates: how a look-up's Redis key is made from an event. `{origin}:{time:hour-1}` → `JFK:2013-03-01T05`.

A field is a path into the event, or one of the reserved names `id`, `key`, `time` (the event's own). A field with a
unit is a time, truncated to the unit (UTC) and shifted by whole units: `{time:hour-1}` is the hour before the event's.
Braces that belong to the key are doubled: `{{` and `}}`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Literal, TypeAlias, cast, get_args

from penstock.schemas.layout import MISSING_INTEGER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from penstock.schemas.events import DecodedEvents

    Times: TypeAlias = NDArray[np.int64]

Unit = Literal["minute", "hour", "day", "month"]

_NUMPY_UNITS: Mapping[Unit, Literal["m", "h", "D", "M"]] = {"minute": "m", "hour": "h", "day": "D", "month": "M"}
_TOKEN = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<stray>[{}])|(?P<literal>[^{}]+)")
_FIELD = re.compile(r"(?P<path>[^:]*)(?::(?P<unit>[a-z]*)(?P<shift>[+-]\d{1,6})?)?")


@dataclass(frozen=True)
class TemplatePart:
    """One `{field}` of a template; `unit` is None for a field that is taken as it is."""

    path: str
    unit: Unit | None = None
    shift: int = 0

    @property
    def type(self) -> Literal["string", "time"]:
        return "string" if self.unit is None else "time"


@dataclass(frozen=True)
class KeyTemplate:
    """A parsed template: `literals[i]` stands before `parts[i]`; the last literal closes the key."""

    text: str
    literals: tuple[str, ...]
    parts: tuple[TemplatePart, ...]

    @classmethod
    def parse(cls, text: str) -> KeyTemplate:
        """Raises ValueError, naming the character at fault (counted from 1).

        >>> template = KeyTemplate.parse("{origin}:{time:hour-1}")
        >>> template.parts[1]
        TemplatePart(path='time', unit='hour', shift=-1)
        >>> KeyTemplate.parse("{origin}:{time:hours}")
        Traceback (most recent call last):
            ...
        ValueError: key template '{origin}:{time:hours}', character 10: 'hours' is no unit; expected minute, hour, day or month
        """  # noqa: E501 - the sentence is one line
        if not text:
            raise ValueError("a key template is empty; expected, for example, {origin}:{time:hour}")
        literals, parts = [""], list[TemplatePart]()
        for token in _TOKEN.finditer(text):
            match token.lastgroup:
                case "brace":
                    literals[-1] += token[0][0]
                case "literal":
                    literals[-1] += token[0]
                case "stray":
                    raise _fault(text, token.start(), f"{token[0]!r} has no partner; a brace of the key is doubled")
                case _:
                    parts.append(_part(text, token["field"], token.start()))
                    literals.append("")
        return cls(text, tuple(literals), tuple(parts))

    def render(self, events: DecodedEvents, start: int = 0, stop: int | None = None) -> list[str | None]:
        """The keys of a window's rows `start` to `stop`; None where any part is missing.

        The parts' columns come from `events.key_parts`, and the reserved names from the events themselves. `key` is
        read as UTF-8 with `surrogateescape`, so that any bytes reach Redis as they were.
        """
        rows = slice(start, stop)
        columns: dict[str, Sequence[str | None] | Times] = {}
        for path in {part.path for part in self.parts}:
            match path:
                case "id":
                    columns[path] = events.ids[rows]
                case "time":
                    columns[path] = events.times[rows]
                case "key":
                    columns[path] = [
                        None if key is None else key.decode("utf-8", "surrogateescape") for key in events.keys[rows]
                    ]
                case _:
                    columns[path] = events.key_parts[path][rows]
        return self.render_columns(columns, len(range(*rows.indices(events.rows))))

    def render_columns(self, columns: Mapping[str, Sequence[str | None] | Times], rows: int) -> list[str | None]:
        """The keys of `rows` rows of which `columns` holds the fields by path: strings, or int64 Unix ms for times.

        A time that is taken as it is gives its Unix milliseconds.

        >>> import numpy as np
        >>> KeyTemplate.parse("{origin}:{at:hour-1}").render_columns(
        ...     {"origin": ["JFK", None], "at": np.array([1362114000000, 1362114000000])}, 2)
        ['JFK:2013-03-01T04', None]
        """
        if not self.parts:
            return [self.literals[0]] * rows
        import numpy as np  # here: commands read templates with the settings, and render none

        pieces: list[Sequence[str | None]] = []
        for literal, part in zip(self.literals, self.parts, strict=False):
            column = columns[part.path]
            if part.unit is not None:
                pieces.append(_times(cast("Times", column), _NUMPY_UNITS[part.unit], part.shift, literal))
                continue
            if literal:
                pieces.append(cast(Sequence[str], _Constant(literal)))
            pieces.append(_whole_times(column) if isinstance(column, np.ndarray) else column)
        if self.literals[-1]:
            pieces.append(cast(Sequence[str], _Constant(self.literals[-1])))
        return _joined(pieces)


class _Constant:
    """A literal, as often as its neighbours need it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __iter__(self) -> repeat[str]:
        return repeat(self.text)


def _joined(pieces: Sequence[Sequence[str | None]]) -> list[str | None]:
    if len(pieces) == 1:
        return list(pieces[0])
    try:
        # str + None raises: the usual window, in which no part is missing, pays nothing for the check.
        keys = map(operator.add, cast(Sequence[str], pieces[0]), cast(Sequence[str], pieces[1]))
        for piece in pieces[2:]:
            keys = map(operator.add, keys, cast(Sequence[str], piece))
        return list(keys)
    except TypeError:
        return [None if None in row else "".join(cast(tuple[str, ...], row)) for row in zip(*pieces, strict=False)]


def _times(times: Times, unit: Literal["m", "h", "D", "M"], shift: int, before: str) -> list[str | None]:
    """Times as text, each distinct one rendered once, with the literal `before` already in front."""
    if not len(times):
        return []
    import numpy as np

    # MISSING_INTEGER is numpy's NaT: it goes through truncation and shift unchanged.
    truncated = times.view("datetime64[ms]").astype(f"datetime64[{unit}]").astype(np.int64)
    first, last = int(truncated.min()), int(truncated.max())
    if last - first <= 4 * len(times) and first != MISSING_INTEGER:
        distinct, positions = np.arange(first, last + 1), truncated - first
    else:
        distinct, positions = np.unique(truncated, return_inverse=True)
    shifted = np.where(distinct == MISSING_INTEGER, distinct, distinct + shift)
    texts = np.datetime_as_string(shifted.astype(f"datetime64[{unit}]")).tolist()
    rendered = [None if text == "NaT" else before + text for text in texts]
    if len(rendered) == 1:
        return rendered * len(times)
    return list(map(rendered.__getitem__, positions.tolist()))


def _whole_times(times: Times) -> list[str | None]:
    return [None if time == MISSING_INTEGER else str(time) for time in times.tolist()]


def _part(text: str, field: str, position: int) -> TemplatePart:
    found = _FIELD.fullmatch(field)
    if found is None:
        raise _fault(text, position, f"{{{field}}} is no field; expected {{path}}, {{path:unit}} or {{path:unit-1}}")
    path, unit, shift = found["path"], found["unit"], found["shift"]
    if not path or not all(path.split(".")) or path != path.strip():
        raise _fault(text, position, f"{{{field}}} names no field; expected a path, for example {{payload.origin}}")
    if unit is None:
        return TemplatePart(path)
    if unit not in get_args(Unit):
        raise _fault(text, position, f"{unit!r} is no unit; expected minute, hour, day or month")
    if path in ("id", "key"):
        raise _fault(text, position, f"{path} is text and takes no unit; expected {{{path}}}")
    return TemplatePart(path, cast(Unit, unit), int(shift or 0))


def _fault(text: str, position: int, problem: str) -> ValueError:
    return ValueError(f"key template {text!r}, character {position + 1}: {problem}")
