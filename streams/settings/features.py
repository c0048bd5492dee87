"""The tables `[entities.NAME]` and `[features.NAME]`: what they may say, and the catalogue that they make."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from penstock.models.features import Catalogue, Feature, MissingPolicy, Value
from penstock.models.key_templates import KeyTemplate
from penstock.schemas.layout import MISSING_INTEGER, FeatureType
from penstock.streams.settings.errors import nearest, shown, wrong
from penstock.streams.settings.sections import EventPath, Section

_INT64_LIMIT = 2**63


class EntitySettings(Section):
    """A kind of Redis hash, `<prefix>:<key>`."""

    key: str
    prefix: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> EntitySettings:
        self.template()
        return self

    def template(self) -> KeyTemplate:
        try:
            return KeyTemplate.parse(self.key)
        except ValueError as error:
            reason = str(error).partition(", ")[2] or str(error)
            fix = f"{reason[0].upper()}{reason[1:]}."
            raise wrong(repr(self.key), "a template like {origin}:{time:hour-1}", key="key", fix=fix) from error


class FeatureSettings(Section):
    """One feature: it comes with the event (`path`), or from a look-up (`entity`, `field`)."""

    type: str
    path: EventPath | None = None
    entity: str | None = None
    field: str | None = Field(default=None, min_length=1)
    missing: Literal["reject", "nan"] | None = None
    default: Any = None
    range: Annotated[tuple[float, float], Field(strict=False)] | None = None
    max_age_s: float | None = Field(default=None, gt=0)
    sensitive: bool = False

    @model_validator(mode="after")
    def _check(self) -> FeatureSettings:
        kind = self.parsed_type()
        if self.path is not None and self.entity is not None:
            raise wrong(
                "given beside entity", "one of the two: a feature comes with the event or is looked up", key="path"
            )
        if self.entity is None and self.field is not None:
            raise wrong(repr(self.field), "an entity beside it", key="field", fix="Name the entity, or write path.")
        if self.entity is None and self.max_age_s is not None:
            raise wrong(
                shown(self.max_age_s), "an entity beside it: only what is looked up can be stale", key="max_age_s"
            )
        if self.missing is not None and self.default is not None:
            raise wrong(repr(self.missing), "either missing or default, not both", key="missing", fix="Remove one.")
        if self.entity is not None and self.missing is None and self.default is None:
            raise wrong(
                "missing", "missing = \"nan\", missing = \"reject\" or a default: what is looked up may be absent",
                key="missing",
            )  # fmt: skip
        if self.range is not None:
            _check_range(self.range, kind)
        if self.default is not None:
            _default(self.default, kind)
        return self

    def parsed_type(self) -> FeatureType:
        try:
            return FeatureType.parse(self.type)
        except ValueError as error:
            expected = "float, int, bool, category or vector(n) with n from 1 to 4096"
            raise wrong(repr(self.type), expected, key="type") from error

    def feature(self, name: str) -> Feature:
        """The catalogue's form, with what this table leaves to its defaults filled in."""
        kind = self.parsed_type()
        policy: MissingPolicy = "default" if self.default is not None else self.missing or "reject"
        return Feature(
            name,
            kind,
            path=None if self.entity else self.path or name,
            entity=self.entity,
            field=(self.field or name) if self.entity else None,
            missing=policy,
            default=None if self.default is None else _default(self.default, kind),
            range=self.range,
            max_age_s=self.max_age_s,
            sensitive=self.sensitive,
        )


def _check_range(range: tuple[float, float], type: FeatureType) -> None:
    if type.kind in ("bool", "category"):
        raise wrong(f"given for a {type}", "a range only for float, int and vector features", key="range")
    if range[0] > range[1]:
        raise wrong(f"[{range[0]:g}, {range[1]:g}]", "the lowest value first, then the highest", key="range")


def _default(value: Any, type: FeatureType) -> Value:
    """`value` as the catalogue holds it. Raises the pydantic error of a value of another type."""
    match type.kind:
        case "float" if _is_number(value):
            return float(value)
        case "int" if isinstance(value, int) and not isinstance(value, bool) and MISSING_INTEGER < value < _INT64_LIMIT:
            return value
        case "bool" if isinstance(value, bool):
            return value
        case "category" if isinstance(value, str):
            return value
        case "vector" if isinstance(value, (list, tuple)) and len(value) == type.width and all(map(_is_number, value)):
            return tuple(map(float, value))
    expected = {
        "float": "a finite number, as the feature is a float",
        "int": "a whole number of at most 64 bits, as the feature is an int",
        "bool": "true or false, as the feature is a bool",
        "category": "a string, as the feature is a category",
        "vector": f"a list of {type.width} finite numbers, as the feature is a {type}",
    }[type.kind]
    found = f"a list of {len(value)}" if isinstance(value, (list, tuple)) else shown(value)
    raise wrong(found, expected, key="default")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def unknown_entities(
    features: Mapping[str, FeatureSettings], entities: Mapping[str, EntitySettings]
) -> Iterator[tuple[tuple[str, str, str], str, str]]:
    """Location, what was found and what was expected, for each feature whose entity is not declared."""
    for name, feature in features.items():
        if feature.entity is not None and feature.entity not in entities:
            expected = nearest(feature.entity, entities) if entities else f"a table [entities.{feature.entity}]"
            yield ("features", name, "entity"), repr(feature.entity), expected


def unusable_slices(
    slices: Sequence[str], features: Mapping[str, FeatureSettings]
) -> Iterator[tuple[int, str, str, str]]:
    """Position, what was found, what was expected and the fix, for each feature by which quality cannot be told apart.

    The values of sensitive features are not in the scored log, so that their groups cannot be compared either.
    """
    for position, name in enumerate(slices):
        feature = features.get(name)
        if feature is None or feature.type not in ("category", "bool", "int"):
            yield position, repr(name), "a category, bool or int feature of the catalogue", ""
        elif feature.sensitive:
            fix = (
                "Let the events carry a feature that may be kept, for example a pseudonym of each group, and name that."
            )
            found = f"{name!r}, which is sensitive, so that its values are not in the scored log"
            yield position, found, "a feature that is not sensitive", fix


def build_catalogue(features: Mapping[str, FeatureSettings], entities: Mapping[str, EntitySettings]) -> Catalogue:
    """Features and entities in the order of the file."""
    return Catalogue(
        tuple(feature.feature(name) for name, feature in features.items()),
        {name: (entity.prefix or name, entity.template()) for name, entity in entities.items()},
    )
