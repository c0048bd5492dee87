"""A signature that contradicts itself or the catalogue says so in one sentence."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.models.features import Catalogue, Feature
from penstock.models.signature import Output, Signature, TensorInput
from penstock.schemas.columns import FeatureType
from penstock.schemas.errors import ConfigurationError, ModelRefused

NUMBERS = TensorInput("x", ("distance",))
PLACES = TensorInput("places", ("origin",), dtype="int64")
WORDS: dict[str, tuple[str, ...]] = {"origin": ("JFK", "LGA")}


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"inputs": ()}, "inputs is empty; expected at least one tensor"),
        ({"inputs": (TensorInput("2x", ("a",)),)}, "inputs[0].name is '2x'; expected a Python identifier"),
        ({"inputs": (TensorInput("x", ()),)}, "inputs[0].features is empty; expected at least one feature"),
        ({"inputs": (TensorInput("x", ("a", "a")),)}, "inputs[0].features is listing 'a' 2 times"),
        ({"inputs": (NUMBERS, NUMBERS)}, "inputs is naming 'x' 2 times; expected distinct names"),
        ({"inputs": (TensorInput("x", ("a",), mask=True), TensorInput("x_missing", ("b",)))}, "'x_missing' 2 times"),
        ({"inputs": (PLACES,)}, "vocabularies.origin is missing or unknown"),
        ({"inputs": (NUMBERS,), "vocabularies": WORDS}, "vocabularies.origin is of no int64 input"),
        ({"inputs": (PLACES,), "vocabularies": {"origin": ("a", "a")}}, "vocabularies.origin is repeating a value"),
        ({"inputs": (NUMBERS,), "output": Output("classes", ("a",))}, "at least two distinct classes"),
        ({"inputs": (NUMBERS,), "output": Output("value", ("a", "b"))}, "expected none for the kind 'value'"),
        ({"inputs": (NUMBERS,), "output": Output(threshold=2)}, "output.threshold is 2; expected a probability"),
    ],
)
def test_a_contradiction_is_named(parts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Signature(**parts)
    assert sentence in str(refused.value)


def test_a_catalogue_without_the_feature_is_named() -> None:
    catalogue = Catalogue((Feature("distance", FeatureType("float")),))
    Signature((NUMBERS,)).check(catalogue, "delay@1")
    with pytest.raises(ModelRefused, match=r"delay@1 .* needs the feature 'origin'.*\(found distance\)"):
        Signature((PLACES,), vocabularies=WORDS).check(catalogue, "delay@1")


@pytest.mark.parametrize(
    ("tensor", "type", "sentence"),
    [
        (PLACES, "int", r"feature 'origin' is int .*'places' \(int64\) expects category"),
        (TensorInput("x", ("origin",)), "category", r"'origin' is category .*'x' \(float32\) expects float, int, bool"),
    ],
)
def test_a_type_that_does_not_fit_is_named(tensor: TensorInput, type: str, sentence: str) -> None:
    catalogue = Catalogue((Feature("origin", FeatureType.parse(type)),))
    signature = Signature((tensor,), vocabularies=WORDS if tensor.dtype == "int64" else {})
    with pytest.raises(ModelRefused, match=sentence):
        signature.check(catalogue, "delay@1")


def test_it_comes_back_from_json() -> None:
    signature = Signature((NUMBERS, PLACES), Output("classes", ("no", "yes"), 0.3), WORDS)
    assert msgspec.json.decode(msgspec.json.encode(signature), type=Signature) == signature
