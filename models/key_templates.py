"""Key templates: how a look-up's Redis key is made from an event. `{origin}:{time:hour-1}` → `JFK:2013-03-01T05`.

A field is a path into the event, or one of the reserved names `id`, `key`, `time` (the event's own). A field with a
unit is a time, truncated to the unit (UTC) and shifted by whole units: `{time:hour-1}` is the hour before the event's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["minute", "hour", "day", "month"]


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
