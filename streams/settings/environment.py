"""Settings from the environment: `PENSTOCK_KAFKA__PARTITIONS=8` is `kafka.partitions = 8`, and wins over the file.

A double underscore goes one table deeper, so variables without one (`PENSTOCK_CONFIG`) are no settings. A list is JSON
or comma separated. An empty variable counts as unset: Compose files write those for what nobody gave.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from penstock.streams.settings.errors import annotation_at

PREFIX = "PENSTOCK_"


class Override(NamedTuple):
    """One variable, the place of its setting, and its value as the file would write it."""

    variable: str
    location: tuple[str, ...]
    value: Any


def overrides(environ: Mapping[str, str], model: type[BaseModel], tree: Mapping[str, Any]) -> list[Override]:
    """What the environment says about `model`. Names in `tree` are matched without regard to case.

    What cannot be parsed as its setting's type stays a string, for validation to refuse.
    """
    found = []
    for variable in sorted(environ):
        parts = variable.removeprefix(PREFIX).split("__")
        if not variable.startswith(PREFIX) or len(parts) < 2 or not environ[variable]:
            continue
        location = _location(parts, model, tree)
        found.append(Override(variable, location, parse(environ[variable], annotation_at(model, location))))
    return found


def merged(tree: Mapping[str, Any], found: list[Override]) -> dict[str, Any]:
    """`tree` with the overrides written over it; `tree` itself is left as it is."""
    result = dict(tree)
    for override in found:
        table = result
        for part in override.location[:-1]:
            inner = table.get(part)
            table[part] = dict(inner) if isinstance(inner, dict) else {}
            table = table[part]
        table[override.location[-1]] = override.value
    return result


def parse(text: str, annotation: Any) -> Any:
    """A variable's text as the value of a setting of type `annotation`.

    >>> parse("a:9092, b:9092", tuple[str, ...]), parse("[0, 6000]", tuple[float, float]), parse("8", int)
    (['a:9092', 'b:9092'], [0, 6000], 8)
    >>> parse("many", int)
    'many'
    """
    if annotation is str or annotation is SecretStr:
        return text
    if get_origin(annotation) is tuple:
        return _list(text, get_args(annotation)[0])
    if annotation is Any or annotation is None or get_origin(annotation) is dict or _is_model(annotation):
        return _json(text)
    try:
        return TypeAdapter(annotation).validate_python(text)
    except ValidationError:
        return text


def _list(text: str, element: Any) -> Any:
    if text.lstrip().startswith("["):
        return _json(text)
    return [parse(part.strip(), element) for part in text.split(",")]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _location(parts: list[str], model: type[BaseModel], tree: Mapping[str, Any]) -> tuple[str, ...]:
    location: tuple[str, ...] = ()
    node: Any = tree
    for part in parts:
        annotation = annotation_at(model, location)
        known = list(annotation.model_fields) if _is_model(annotation) else list(node) if isinstance(node, dict) else []
        name = next((name for name in known if _variable_form(name) == part.upper()), part.lower())
        location += (name,)
        node = node.get(name) if isinstance(node, dict) else None
    return location


def _variable_form(name: str) -> str:
    return name.upper().replace("-", "_").replace(".", "_")


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
