"""What is wrong with a configuration, in sentences: pydantic's findings are translated here, once."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from penstock.schemas.errors import ConfigurationError

Location = tuple[str | int, ...]
"""Where a setting stands: `("kafka", "partitions")`."""

_CREDENTIALS = re.compile(r"(?<=://)\S*@")  # up to the last @: a password may hold one that is not encoded

_EXPECTED = {
    "missing": "a value",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of at most 64 bits",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a string",
    "path_type": "a path, as a string",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


class InvalidSettings(ConfigurationError):
    """Several settings cannot be used; `errors` are all of them, and the message has a line for each."""

    def __init__(self, errors: Sequence[ConfigurationError]) -> None:
        first = errors[0]
        super().__init__(first.place, first.key, found=first.found, expected=first.expected, fix=first.fix)
        self.errors = tuple(errors)
        self.args = ("\n".join(map(str, errors)),)


def raise_all(errors: Sequence[ConfigurationError]) -> None:
    """Nothing for no error, the error itself for one, `InvalidSettings` for more."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise InvalidSettings(errors)


def wrong(found: str, expected: str, *, key: str = "", fix: str = "") -> PydanticCustomError:
    """What a validator raises: the facts of a ConfigurationError. `key` is the field when a whole table is judged."""
    return PydanticCustomError("penstock", "wrong", {"key": key, "found": found, "expected": expected, "fix": fix})


def without_credentials(text: str) -> str:
    """`text` with the user and password of any URL in it masked.

    >>> without_credentials("redis://:hunter2@cache:6379/0")
    'redis://***@cache:6379/0'
    """
    return _CREDENTIALS.sub("***@", text)


def shown(value: object) -> str:
    """A value as an error shows it: short, and never with a password.

    >>> shown(True), shown("many"), shown([1, 2])
    ('true', "'many'", 'a list')
    """
    match value:
        case bool():
            return "true" if value else "false"
        case dict():
            return "a table"
        case list() | tuple():
            return "a list" if value else "empty"
        case SecretStr():
            return "a secret"
        case str():
            text = without_credentials(value)
            return repr(text if len(text) <= 60 else f"{text[:57]}…")
    return str(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """What to expect instead of an unknown name: the one most like it, or all of them.

    >>> nearest("windw", ["window", "redis"])
    'window'
    >>> nearest("colour", ["window", "redis"])
    'one of redis, window'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return close[0] if close else f"one of {', '.join(names)}" if names else "nothing here"


def translate(
    error: ValidationError, model: type[BaseModel], place_of: Callable[[Location], str]
) -> list[ConfigurationError]:
    """One ConfigurationError per finding, in the order of the settings.

    A list that is too short for its entries that can be used is none: what is wrong with the others says it all.
    """
    found = error.errors(include_url=False)
    spoilt = {details["loc"][:-1] for details in found}
    return [
        _translate(details, model, place_of)
        for details in found
        if details["type"] != "too_short" or details["loc"] not in spoilt
    ]


def _translate(
    details: ErrorDetails, model: type[BaseModel], place_of: Callable[[Location], str]
) -> ConfigurationError:
    location: Location = details["loc"]
    context = details.get("ctx", {})
    kind, value = details["type"], details["input"]
    if kind == "penstock":
        at = (*location, context["key"]) if context["key"] else location
        return ConfigurationError(
            place_of(at), dotted(at), found=context["found"], expected=context["expected"], fix=context["fix"]
        )
    place, key = place_of(location), dotted(location)
    if kind == "extra_forbidden":
        expected = nearest(str(location[-1]), known_names(model, location[:-1]))
        fix = "" if expected.startswith(("one of", "nothing")) else "Rename it."
        return ConfigurationError(place, key, found="unknown", expected=expected, fix=fix)
    annotation = annotation_at(model, location)
    if kind == "missing":
        return ConfigurationError(place, key, found="missing", expected=_description(annotation))
    found = f"{_kind(value)} (not shown)" if _is_secret(annotation) else shown(value)
    return ConfigurationError(place, key, found=found, expected=expected_of(details))


def expected_of(details: ErrorDetails) -> str:
    """What would have been accepted."""
    kind, context, message = details["type"], details.get("ctx", {}), details["msg"]
    match kind:
        case "literal_error":
            return str(context["expected"]).replace("'", "")
        case "greater_than":
            return f"more than {context['gt']}"
        case "greater_than_equal":
            return f"at least {context['ge']}"
        case "less_than":
            return f"less than {context['lt']}"
        case "less_than_equal":
            return f"at most {context['le']}"
        case "too_short":
            return f"at least {context['min_length']} entr{'y' if context['min_length'] == 1 else 'ies'}"
        case "too_long":
            return f"at most {context['max_length']} entries"
        case "string_too_short":
            return "a text that is not empty"
    return _EXPECTED.get(kind) or message.removeprefix("Input should be ")


def dotted(location: Location) -> str:
    """The key as a person writes it.

    >>> dotted(("kafka", "servers", 0))
    'kafka.servers[0]'
    """
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def annotation_at(model: type[BaseModel], location: Location) -> Any:
    """The type that `model` declares at `location`; None where it declares nothing."""
    current: Any = model
    for part in location:
        current = _without_none(current)
        if isinstance(current, type) and issubclass(current, BaseModel):
            declared = current.model_fields.get(str(part))
            if declared is None:
                return None
            current = declared.annotation
        elif get_origin(current) in (dict, tuple) and get_args(current):
            current = get_args(current)[-1 if get_origin(current) is dict else 0]
        else:
            return None
    return _without_none(current)


def known_names(model: type[BaseModel], location: Location) -> list[str]:
    """The keys that the table at `location` may have."""
    found = annotation_at(model, location)
    return list(found.model_fields) if isinstance(found, type) and issubclass(found, BaseModel) else []


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        options = [option for option in get_args(annotation) if option is not type(None)]
        return _without_none(options[0]) if len(options) == 1 else annotation
    return annotation


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
    return kinds.get(type(value), shown(value))


def _description(annotation: Any) -> str:
    kinds = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
    return kinds.get(annotation, "a table" if isinstance(annotation, type) else "a value")
