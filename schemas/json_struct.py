"""From an event schema to the msgspec Struct that decodes it: one field per path, nested objects as nested Structs.

A path may serve several purposes (a category that is also part of a look-up's key): its value must satisfy each of
them, so its type is what they have in common. Whatever msgspec can check while it decodes (lengths, limits, presence)
is in the type, so that a window whose events all decode needs no further look at single values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import attrgetter
from typing import Annotated, Any, NamedTuple, Union

import msgspec

from penstock.schemas.errors import ConfigurationError
from penstock.schemas.events import EventSchema, TimeUnit
from penstock.schemas.layout import MISSING_INTEGER, FeatureType

FLOAT32_LIMIT = math.nextafter(2.0**128 - 2.0**103, 0.0)
"""The largest double that rounds to a finite float32: half a step above float32's largest value, exclusive."""
_INT64_LIMIT = 2**63 - 1
_YEAR_1_S, _YEAR_9999_S = -62_135_596_800, 253_402_300_799
"""Event times stay within the years that calendars (and Python's datetime) can express."""
_ORDER = {"float": 0, "int": 1, "bool": 1, "category": 2, "vector": 3}


class Use(NamedTuple):
    """One purpose of a path: the JSON types that serve it, and the limits of its numbers."""

    name: str
    kinds: frozenset[str]
    low: float = -math.inf
    high: float = math.inf
    default: Any = None
    width: int = 0


ID = Use("the event's id", frozenset({"string", "integer"}))
TEXT = Use("a key", frozenset({"string", "integer", "number"}))


def feature_use(type: FeatureType) -> Use:
    match type.kind:
        case "float":
            return Use("float", frozenset({"integer", "number"}), -FLOAT32_LIMIT, FLOAT32_LIMIT, math.nan)
        case "int":
            return Use("int", frozenset({"integer"}), -_INT64_LIMIT, _INT64_LIMIT, MISSING_INTEGER)
        case "bool":
            return Use("bool", frozenset({"boolean"}), default=MISSING_INTEGER)
        case "category":
            return Use("category", frozenset({"string"}))
        case "vector":
            return Use(str(type), frozenset({"array"}), default=(math.nan,) * type.width, width=type.width)


def time_use(unit: TimeUnit) -> Use:
    if unit == "iso":
        return Use("a time", frozenset({"string"}))
    scale = 1000 if unit == "ms" else 1
    return Use("a time", frozenset({"integer", "number"}), _YEAR_1_S * scale, _YEAR_9999_S * scale)


@dataclass
class Leaf:
    """All that is asked of one path."""

    path: str
    uses: list[Use] = field(default_factory=list)
    required: bool = False

    def type(self) -> Any:
        """What msgspec shall decode. Raises ConfigurationError where no value can serve every use."""
        names = sorted({use.name for use in self.uses})
        kinds = reduce(frozenset.intersection, (use.kinds for use in self.uses))
        if not kinds or len({use.width for use in self.uses}) > 1:
            raise ConfigurationError(
                "the event schema", f"the path {self.path!r}", found=f"used as {' and as '.join(names)}",
                expected="uses that one JSON value can serve", fix="Give one of them another path.",
            )  # fmt: skip
        low, high = max(use.low for use in self.uses), min(use.high for use in self.uses)
        allowed: list[Any] = []
        if "array" in kinds:
            width = self.uses[0].width
            number = Annotated[float, msgspec.Meta(ge=-FLOAT32_LIMIT, le=FLOAT32_LIMIT)]
            allowed.append(Annotated[list[number], msgspec.Meta(min_length=width, max_length=width)])
        if "boolean" in kinds:
            allowed.append(bool)
        if "string" in kinds:
            allowed.append(Annotated[str, msgspec.Meta(min_length=1)] if ID in self.uses else str)
        if "integer" in kinds and ("number" not in kinds or TEXT in self.uses):  # 7 stays 7 in a key, not 7.0
            limits = msgspec.Meta(ge=int(max(low, -_INT64_LIMIT)), le=int(min(high, _INT64_LIMIT)))
            allowed.append(int if math.isinf(high) else Annotated[int, limits])
        if "number" in kinds:
            allowed.append(float if math.isinf(high) else Annotated[float, msgspec.Meta(ge=low, le=high)])
        if not self.required:
            allowed.append(None)
        return Union[tuple(allowed)]  # noqa: UP007 (built at run time)

    def default(self) -> Any:
        """What stands for a missing value: what the columns write, where that serves every use; else None."""
        defaults = {use.default for use in self.uses}
        return defaults.pop() if len(defaults) == 1 else None


@dataclass
class Node:
    """An object of the event: its leaves and nested objects by their JSON name."""

    path: str
    children: dict[str, Node | Leaf] = field(default_factory=dict)

    @property
    def required(self) -> bool:
        return any(child.required for child in self.children.values())


class OptionalNode(NamedTuple):
    """A nested object that may be null: where it hangs, and the empty object that stands in."""

    read: Callable[[Any], Any]
    parent: Callable[[Any], Any]
    attribute: str
    empty: msgspec.Struct


class EventStruct:
    """The Struct of a schema, and how to reach each path in it.

    Raises ConfigurationError where the schema asks one path for things that no JSON value can be at once.
    """

    def __init__(self, schema: EventSchema) -> None:
        self._root = Node("")
        self.leaves: dict[str, Leaf] = {}
        self.optional_nodes: list[OptionalNode] = []
        """Outer ones before those inside them."""
        self._attributes: dict[str, str] = {}
        for path, use, required in _uses(schema):
            leaf = self._leaf(path)
            leaf.uses.append(use)
            leaf.required |= required
        self.type = self._build(self._root, "")
        self.optional_nodes.reverse()

    def attribute(self, path: str) -> str:
        """The dotted attribute under which the decoded event holds `path`, for attrgetter."""
        return self._attributes[path]

    def _leaf(self, path: str) -> Leaf:
        *parents, name = path.split(".")
        node = self._root
        for depth, parent in enumerate(parents, 1):
            child = node.children.setdefault(parent, Node(".".join(parents[:depth])))
            if isinstance(child, Leaf):
                raise _both_value_and_object(child.path)
            node = child
        leaf = node.children.setdefault(name, Leaf(path))
        if isinstance(leaf, Node):
            raise _both_value_and_object(path)
        return self.leaves.setdefault(path, leaf)

    def _build(self, node: Node, prefix: str) -> type[msgspec.Struct]:
        fields: list[Any] = []
        rename = {}
        for number, (name, child) in enumerate(node.children.items()):
            attribute = f"f{number}"
            rename[attribute] = name
            if isinstance(child, Leaf):
                self._attributes[child.path] = prefix + attribute
                field_type, default = child.type(), child.default()
            else:
                field_type = self._build(child, f"{prefix}{attribute}.")
                if not child.required:
                    empty = field_type()
                    self.optional_nodes.append(_optional_node(prefix, attribute, empty))
                    field_type, default = field_type | None, msgspec.field(default_factory=partial(_itself, empty))
            fields.append((attribute, field_type) if child.required else (attribute, field_type, default))
        return msgspec.defstruct("Event", fields, rename=rename, gc=False, kw_only=True)


def _uses(schema: EventSchema) -> Iterator[tuple[str, Use, bool]]:
    # Numbers first, floats before integers: where they all lie at the top, they are the first fields of the Struct, in
    # the order of the columns, which is the fast way to read them.
    for feature in sorted(schema.features, key=lambda feature: _ORDER[feature.type.kind]):
        yield feature.path, feature_use(feature.type), feature.required
    if schema.id is not None:
        yield schema.id, ID, True
    if schema.time is not None:
        yield schema.time, time_use(schema.time_unit), True
    if schema.key is not None:
        yield schema.key, TEXT, False
    for part in schema.key_parts:
        yield part.path, TEXT if part.type == "string" else time_use(schema.time_unit), False


def _optional_node(prefix: str, attribute: str, empty: msgspec.Struct) -> OptionalNode:
    parent = attrgetter(prefix[:-1]) if prefix else _itself
    return OptionalNode(attrgetter(prefix + attribute), parent, attribute, empty)


def _itself(value: Any) -> Any:
    return value


def _both_value_and_object(path: str) -> ConfigurationError:
    return ConfigurationError(
        "the event schema", f"the path {path!r}", found="used as a value and as an object with fields of its own",
        expected="one of the two", fix="Correct the paths.",
    )  # fmt: skip
