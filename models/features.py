"""The feature catalogue: where each feature comes from, its type, what stands in when it is missing, its maximum age.

The score role reads and logs every feature of the catalogue, whichever models are deployed; a model names the ones
that it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from penstock.models.key_templates import KeyTemplate
from penstock.schemas.events import EventFeature, EventSchema, KeyPart, TimeUnit
from penstock.schemas.layout import FeatureType, Layout

MissingPolicy = Literal["reject", "default", "nan"]
"""What happens to a row whose feature is missing, stale or malformed: the event becomes a dead letter; the default
stands in; the value stays NaN (-1 for a category) and the model sees that it is missing. Never silently 0."""

Value = float | int | bool | str | tuple[float, ...]


@dataclass(frozen=True)
class Feature:
    """One feature. It comes with the event (`path`) or from a look-up (`entity` and `field`), never both.

    range      lowest and highest plausible value, for monitoring; nothing is changed
    max_age_s  a looked-up value written longer before the event's time than this is stale
    sensitive  stays out of logs, evidence, alerts and reports; hashed or left out in the scored log
    """

    name: str
    type: FeatureType
    path: str | None = None
    entity: str | None = None
    field: str | None = None
    missing: MissingPolicy = "reject"
    default: Value | None = None
    range: tuple[float, float] | None = None
    max_age_s: float | None = None
    sensitive: bool = False

    @property
    def looked_up(self) -> bool:
        return self.entity is not None


@dataclass(frozen=True)
class Entity:
    """A kind of hash in Redis: `<prefix>:<key>`, its key made from the event by a template.

    Two entities may share a prefix: the weather at the origin and at the destination.
    """

    name: str
    prefix: str
    key: KeyTemplate
    features: tuple[Feature, ...]
    """Those looked up here, in catalogue order; one round trip fetches them all."""


@dataclass(frozen=True)
class Catalogue:
    """All features of a pipeline, in the order of the configuration file."""

    features: tuple[Feature, ...]
    entity_keys: Mapping[str, tuple[str, KeyTemplate]] = field(default_factory=dict)
    """Entity name → (Redis prefix, key template)."""

    @cached_property
    def by_name(self) -> dict[str, Feature]:
        return {feature.name: feature for feature in self.features}

    @cached_property
    def event_features(self) -> tuple[Feature, ...]:
        return tuple(feature for feature in self.features if not feature.looked_up)

    @cached_property
    def looked_up_features(self) -> tuple[Feature, ...]:
        """In the order of `entities` and, within one, of the catalogue: the columns of `LookedUp.written`."""
        return tuple(feature for entity in self.entities for feature in entity.features)

    @cached_property
    def entities(self) -> tuple[Entity, ...]:
        """Only those that some feature uses."""
        return tuple(
            Entity(name, prefix, template, wanted)
            for name, (prefix, template) in self.entity_keys.items()
            if (wanted := tuple(feature for feature in self.features if feature.entity == name))
        )

    @cached_property
    def layout(self) -> Layout:
        """Event features first in each group, then looked-up ones."""
        ordered = (*self.event_features, *self.looked_up_features)
        return Layout(
            floats=_names(ordered, "float"),
            integers=_names(ordered, "int", "bool"),
            categories=_names(ordered, "category"),
            vectors=tuple((feature.name, feature.type.width) for feature in ordered if feature.type.kind == "vector"),
        )

    def event_schema(
        self, *, id: str | None = None, time: str | None = None, time_unit: TimeUnit = "ms", key: str | None = None
    ) -> EventSchema:
        """What the decoder must read from an event for this catalogue."""
        parts: dict[str, KeyPart] = {}
        for entity in self.entities:
            for part in entity.key.parts:
                if part.path not in ("id", "key", "time"):
                    parts.setdefault(part.path, KeyPart(part.path, part.type))
        return EventSchema(
            layout=self.layout,
            features=tuple(
                EventFeature(feature.name, feature.path or feature.name, feature.type, feature.missing == "reject")
                for feature in self.event_features
            ),
            id=id,
            time=time,
            time_unit=time_unit,
            key=key,
            key_parts=tuple(parts.values()),
        )


def _names(features: Iterable[Feature], *kinds: str) -> tuple[str, ...]:
    return tuple(feature.name for feature in features if feature.type.kind in kinds)
