"""What a network takes and gives: named tensors made from features of the catalogue, and one output.

`forward()` is called with keyword tensors, one per `TensorInput`, each [rows, width]:

- dtype float32: float, int and bool features take one column each, vector(n) features n; a missing value is NaN;
- dtype int64: category features, as positions in their vocabulary: 0 missing, 1 unknown, 2 + i for vocabulary[i];
- `mask=True` adds `<name>_missing`, float32 of the same shape: 1 where the value is missing, else 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal

import msgspec

from penstock.models.features import Catalogue
from penstock.schemas.errors import ConfigurationError, ModelRefused

MISSING_INDEX = 0
UNKNOWN_INDEX = 1
FIRST_INDEX = 2
"""Vocabulary positions: vocabulary[i] is given to the network as FIRST_INDEX + i."""


class TensorInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One keyword argument of `forward()`: the columns of `features`, side by side in this order."""

    name: str
    features: tuple[str, ...]
    dtype: Literal["float32", "int64"] = "float32"
    mask: bool = False

    @property
    def mask_name(self) -> str:
        return f"{self.name}_missing"


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What `forward()` returns.

    probability  [rows] or [rows, 1], of the positive class, in [0, 1]; `threshold` turns it into a decision
    value        [rows] or [rows, 1], any finite number
    classes      [rows, len(classes)], probabilities
    """

    kind: Literal["probability", "value", "classes"] = "probability"
    classes: tuple[str, ...] = ()
    threshold: float = 0.5

    @property
    def width(self) -> int:
        return len(self.classes) if self.kind == "classes" else 1


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A network's inputs, the vocabularies of its categories, and its output.

    Raises ConfigurationError when the parts contradict each other.

    >>> signature = Signature(
    ...     inputs=(TensorInput("numbers", ("distance", "visibility"), mask=True),
    ...             TensorInput("places", ("origin",), dtype="int64")),
    ...     vocabularies={"origin": ("EWR", "JFK", "LGA")},
    ... )
    >>> signature.features
    ('distance', 'visibility', 'origin')
    >>> Signature(inputs=(TensorInput("places", ("origin",), dtype="int64"),))
    Traceback (most recent call last):
    penstock.schemas.errors.ConfigurationError: signature: vocabularies.origin is missing or unknown; expected the \
vocabulary of each feature of an int64 input.
    """

    inputs: tuple[TensorInput, ...]
    output: Output = Output()
    vocabularies: dict[str, tuple[str, ...]] = {}

    def __post_init__(self) -> None:
        for error in self._contradictions():
            raise error

    @property
    def features(self) -> tuple[str, ...]:
        """Each feature once, in the order of the inputs."""
        return tuple(dict.fromkeys(feature for tensor in self.inputs for feature in tensor.features))

    def check(self, catalogue: Catalogue, model: str) -> None:
        """Raises ModelRefused when `catalogue` lacks a feature or has it with a type that the input cannot take."""
        for tensor in self.inputs:
            for name in tensor.features:
                feature = catalogue.by_name.get(name)
                if feature is None:
                    raise ModelRefused(
                        model,
                        f"it needs the feature {name!r}, which the catalogue does not have "
                        f"(found {_listed(catalogue.by_name)})",
                        fix=f"Add [features.{name}] to penstock.toml, or use a model that does without.",
                    )
                categorical = feature.type.kind == "category"
                if categorical != (tensor.dtype == "int64"):
                    expected = "category" if tensor.dtype == "int64" else "float, int, bool or vector(n)"
                    raise ModelRefused(
                        model,
                        f"feature {name!r} is {feature.type} in the catalogue; "
                        f"its input {tensor.name!r} ({tensor.dtype}) expects {expected}",
                        fix="Change the type in penstock.toml, or package the model again with the catalogue's type.",
                    )

    def _contradictions(self) -> Iterator[ConfigurationError]:
        if not self.inputs:
            yield _wrong("inputs", "empty", "at least one tensor")
        arguments = Counter[str]()
        categories: set[str] = set()
        for position, tensor in enumerate(self.inputs):
            place = f"inputs[{position}]"
            if not tensor.name.isidentifier():
                yield _wrong(f"{place}.name", repr(tensor.name), "a Python identifier: forward() takes it by keyword")
            if not tensor.features:
                yield _wrong(f"{place}.features", "empty", "at least one feature")
            for feature, times in Counter(tensor.features).items():
                if times > 1:
                    yield _wrong(f"{place}.features", f"listing {feature!r} {times} times", "each feature once")
            arguments.update([tensor.name, *([tensor.mask_name] if tensor.mask else [])])
            if tensor.dtype == "int64":
                categories.update(tensor.features)
        for argument, times in arguments.items():
            if times > 1:
                yield _wrong("inputs", f"naming {argument!r} {times} times", "distinct names, masks included")
        for feature in (name for name in self.features if name in categories):
            if feature not in self.vocabularies:
                yield _wrong(f"vocabularies.{feature}", None, "the vocabulary of each feature of an int64 input")
        for feature, vocabulary in self.vocabularies.items():
            if feature not in categories:
                yield _wrong(
                    f"vocabularies.{feature}",
                    "of no int64 input",
                    f"features of int64 inputs only: {_listed(sorted(categories))}",
                )
            if len(set(vocabulary)) != len(vocabulary):
                yield _wrong(f"vocabularies.{feature}", "repeating a value", "each value once")
        yield from self._wrong_outputs()

    def _wrong_outputs(self) -> Iterator[ConfigurationError]:
        output = self.output
        if output.kind == "classes" and (len(output.classes) < 2 or len(set(output.classes)) != len(output.classes)):
            yield _wrong("output.classes", repr(list(output.classes)), "at least two distinct classes")
        if output.kind != "classes" and output.classes:
            yield _wrong("output.classes", repr(list(output.classes)), f"none for the kind {output.kind!r}")
        if not 0 <= output.threshold <= 1:
            yield _wrong("output.threshold", str(output.threshold), "a probability between 0 and 1")


def _wrong(key: str, found: str | None, expected: str) -> ConfigurationError:
    return ConfigurationError("signature", key, found=found, expected=expected)


def _listed(names: object) -> str:
    found = list(names) if isinstance(names, (dict, list, tuple)) else []
    return ", ".join(found[:20]) + (f" and {len(found) - 20} more" if len(found) > 20 else "") or "none"
