"""Settings from the environment: `PENSTOCK_KAFKA__PARTITIONS=8` is `kafka.partitions = 8`, and wins over the file.

A double underscore goes one table deeper, so variables without one are no settings. The few that mean something are
`OTHERS`; any other one is refused, as what somebody wanted to set would stay as it was. A list is JSON or comma
separated. An empty variable counts as unset: Compose files write those for what nobody gave.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from penstock.schemas.errors import ConfigurationError
from penstock.streams.settings.errors import annotation_at

PREFIX = "PENSTOCK_"

OTHERS = {
    "PENSTOCK_CONFIG": "the configuration file",
    "PENSTOCK_DEBUG": "tracebacks",
    "PENSTOCK_CACHE": "where Kafka's jars are kept",
    "PENSTOCK_PROJECT": "the project's folder, for Compose",
    "PENSTOCK_BENCHMARK_TASK": "what a benchmark asks of its contenders",
}
"""Variables that are no settings, and what each says."""

_OF_A_SERVICE = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
"""Variables that Kubernetes gives every container for a service: here one whose name begins with ours."""


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


def unknown(
    environ: Mapping[str, str], model: type[BaseModel], tree: Mapping[str, Any]
) -> Iterator[ConfigurationError]:
    """One finding for each variable that is ours by its name, and neither a setting nor one of `OTHERS`.

    Variables with a double underscore are settings: what is wrong with those is for validation to say.
    """
    for variable in sorted(environ):
        ours, setting = variable.upper().startswith(PREFIX), variable.startswith(PREFIX) and "__" in variable
        if not ours or setting or variable in OTHERS or not environ[variable]:
            continue
        if not _is_of_a_service(variable, environ[variable]):
            meant = _meant(variable, [*_variables(model, tree), *OTHERS])
            expected, fix = (meant, "Rename it.") if meant else ("PENSTOCK_<TABLE>__<KEY>", "Unset it.")
            yield ConfigurationError("the environment", variable, found="unknown", expected=expected, fix=fix)


def _is_of_a_service(variable: str, value: str) -> bool:
    """A port alone is a mistake for `admin.port`; one in a URL belongs to a service whose name begins with ours."""
    return _OF_A_SERVICE.fullmatch(variable) is not None or (variable.endswith("_PORT") and "://" in value)


def _meant(variable: str, known: list[str]) -> str | None:
    """The name that differs in underscores and case alone, or else the one most like it."""
    bare = re.sub("_+", "_", variable.upper())
    same = [name for name in known if re.sub("_+", "_", name) == bare]
    return next(iter(same or difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.8)), None)


def _variables(model: type[BaseModel], tree: Mapping[str, Any]) -> Iterator[str]:
    """All that are settings; of features and entities, those that `tree` has."""
    for name, table in model.model_fields.items():
        names = [name]
        inner: Any = table.annotation
        if get_origin(inner) is dict:
            inner, written = get_args(inner)[1], tree.get(name)
            names = [f"{name}__{each}" for each in (written if isinstance(written, Mapping) else ())]
        for each in names:
            yield from (f"{PREFIX}{_variable_form(each)}__{_variable_form(key)}" for key in inner.model_fields)


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
