"""`penstock.toml` and the environment as one frozen value.

Every error names the file or the variable, the key, what was found there and what was expected. Secrets are SecretStr,
and a password in the Redis URL is moved out of it on loading, so that no representation of the settings shows one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError

from penstock.models.features import Catalogue
from penstock.schemas.errors import ConfigurationError
from penstock.schemas.events import EventSchema
from penstock.schemas.json_struct import EventStruct
from penstock.schemas.signing import TrustedKeys
from penstock.schemas.topics import DAY_MS, Topics
from penstock.streams.settings import environment
from penstock.streams.settings.errors import Location, dotted, raise_all, translate
from penstock.streams.settings.features import (
    EntitySettings,
    FeatureSettings,
    build_catalogue,
    unknown_entities,
    unusable_slices,
)
from penstock.streams.settings.monitoring import AlertsSettings, DriftSettings, LabelsSettings, WatchSettings
from penstock.streams.settings.sections import (
    AdminSettings,
    DeliverySettings,
    EventsSettings,
    KafkaSettings,
    ModelsSettings,
    Name,
    PipelineSettings,
    RedisSettings,
    ScoredSettings,
    Section,
    WindowSettings,
)
from penstock.streams.settings.security import SecuritySettings, public_keys, unusable_keys
from penstock.streams.settings.serving import AutomationSettings, FallbackSettings, RolloutSettings, unusable_loss

FILE_NAME = "penstock.toml"

__all__ = [
    "AdminSettings",
    "AlertsSettings",
    "AutomationSettings",
    "DeliverySettings",
    "DriftSettings",
    "EventsSettings",
    "FallbackSettings",
    "KafkaSettings",
    "LabelsSettings",
    "ModelsSettings",
    "PipelineSettings",
    "RedisSettings",
    "RolloutSettings",
    "ScoredSettings",
    "SecuritySettings",
    "Settings",
    "WatchSettings",
    "WindowSettings",
]

PlaceOf = Callable[[Location], str]


class Settings(Section):
    """All of a pipeline's configuration; `load` reads it, and what is derived from it is computed once."""

    pipeline: PipelineSettings
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    events: EventsSettings
    entities: dict[Name, EntitySettings] = Field(default={})
    features: dict[Name, FeatureSettings] = Field(min_length=1)
    models: ModelsSettings = ModelsSettings()
    window: WindowSettings = WindowSettings()
    delivery: DeliverySettings = DeliverySettings()
    scored: ScoredSettings = ScoredSettings()
    watch: WatchSettings = WatchSettings()
    drift: DriftSettings = DriftSettings()
    labels: LabelsSettings = LabelsSettings()
    alerts: AlertsSettings = AlertsSettings()
    rollout: RolloutSettings = RolloutSettings()
    fallback: FallbackSettings = FallbackSettings()
    automation: AutomationSettings = AutomationSettings()
    admin: AdminSettings = AdminSettings()
    security: SecuritySettings = SecuritySettings()
    _file: Path = PrivateAttr(default=Path(FILE_NAME))

    @classmethod
    def load(cls, path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings of `path` (`./penstock.toml`), with the environment's over them. Raises ConfigurationError."""
        file = Path(path or FILE_NAME)
        try:
            tree = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            fix = "Run `penstock init` for one to begin with, or name another with --config."
            found = "missing" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
            raise ConfigurationError(str(file), "the file", found=found, expected="a configuration", fix=fix) from error
        except ValueError as error:
            raise ConfigurationError(
                str(file), "the file", found=f"not TOML: {error}", expected="valid TOML"
            ) from error
        return cls.of(tree, file=file, environ=os.environ if environ is None else environ)

    @classmethod
    def of(
        cls, tree: Mapping[str, Any], *, file: Path = Path(FILE_NAME), environ: Mapping[str, str] | None = None
    ) -> Settings:
        """The settings that `tree` spells out, as if it had been read from `file`. Raises ConfigurationError."""
        overrides = environment.overrides(environ or {}, cls, tree)
        unknown = list(environment.unknown(environ or {}, cls, tree))
        place_of = _places(tree, overrides, str(file))
        try:
            settings = cls.model_validate(environment.merged(tree, overrides))
        except ValidationError as error:
            raise_all([*unknown, *translate(error, cls, place_of)])
            raise
        settings = settings._with_files_of(file)
        raise_all([*unknown, *settings._contradictions(place_of)])
        return settings

    @property
    def file(self) -> Path:
        return self._file

    @property
    def directory(self) -> Path:
        """The folder of the configuration file: what relative paths start from."""
        return self._file.absolute().parent

    @cached_property
    def catalogue(self) -> Catalogue:
        return build_catalogue(self.features, self.entities)

    @cached_property
    def topics(self) -> Topics:
        return Topics(
            self.pipeline.name,
            self.events.topic,
            events_max_bytes=self.events.max_bytes,
            # Rows are read again when their labels are mature: the log must still have them then.
            scored_retention_ms=max(30 * DAY_MS, int(2000 * self.labels.maturity_s)),
        )

    @cached_property
    def event_schema(self) -> EventSchema:
        events = self.events
        return self.catalogue.event_schema(id=events.id, time=events.time, time_unit=events.time_unit, key=events.key)

    @cached_property
    def trusted_keys(self) -> TrustedKeys:
        """Whose model packages are believed."""
        return public_keys(self.security.trusted_keys)

    @cached_property
    def control_keys(self) -> TrustedKeys:
        """Whose control records are believed."""
        return public_keys(self.security.control_keys)

    @property
    def registry_location(self) -> str:
        """An absolute directory, or the fsspec URL as it was given."""
        return self.models.registry if "://" in self.models.registry else str(self.directory / self.models.registry)

    def _with_files_of(self, file: Path) -> Settings:
        directory = file.absolute().parent
        keys = ("ssl_ca_file", "ssl_certificate_file", "ssl_key_file")
        named = {key: path for key in keys if (path := getattr(self.kafka, key)) is not None}
        kafka = self.kafka.model_copy(update={key: directory / path for key, path in named.items()})
        settings = self.model_copy(update={"kafka": kafka, "security": self.security.relative_to(directory)})
        settings._file = file
        return settings

    def _contradictions(self, place_of: PlaceOf) -> list[ConfigurationError]:
        found = [
            ConfigurationError(place_of(location), dotted(location), found=state, expected=expected)
            for location, state, expected in unknown_entities(self.features, self.entities)
        ]
        for key in ("ssl_ca_file", "ssl_certificate_file", "ssl_key_file"):
            path = getattr(self.kafka, key)
            if path is not None and not path.is_file():
                place = place_of(("kafka", key))
                found.append(ConfigurationError(place, f"kafka.{key}", found=repr(str(path)), expected="a file"))
        found += unusable_keys(self.security, place_of)
        place = place_of(("labels", "slices"))
        found += [
            ConfigurationError(place, f"labels.slices.{position}", found=state, expected=expected, fix=fix)
            for position, state, expected, fix in unusable_slices(self.labels.slices, self.features)
        ]
        if expected := unusable_loss(self.rollout.loss, self.labels.task):
            place = place_of(("rollout", "loss"))
            found.append(ConfigurationError(place, "rollout.loss", found=repr(self.rollout.loss), expected=expected))
        for position, name in enumerate(self.rollout.slices):
            if name not in self.labels.slices:
                place, fix = place_of(("rollout", "slices")), "Add it to labels.slices."
                key = f"rollout.slices.{position}"
                found.append(ConfigurationError(place, key, found=repr(name), expected="one of labels.slices", fix=fix))
        if self.automation.level == "shadow_people" and not self.scored.enabled:
            place, fix = place_of(("scored", "enabled")), "What the model would have said is in the scored log alone."
            expected = 'true, as automation.level is "shadow_people"'
            found.append(ConfigurationError(place, "scored.enabled", found="false", expected=expected, fix=fix))
        own = {topic.name for topic in self.topics.table()[1:]}
        if self.events.topic in own:
            place = place_of(("events", "topic"))
            expected = "a topic that the pipeline does not write itself"
            found.append(ConfigurationError(place, "events.topic", found=repr(self.events.topic), expected=expected))
        if not found:
            try:
                EventStruct(self.event_schema)
            except ConfigurationError as error:
                state, expected, fix = error.found, error.expected, error.fix
                found.append(ConfigurationError(str(self._file), error.key, found=state, expected=expected, fix=fix))
        return found


def _places(tree: Mapping[str, Any], overrides: Sequence[environment.Override], file: str) -> PlaceOf:
    """Which variable a setting came from, or `file`. What is missing of a table came from whoever began the table."""

    def place_of(location: Location) -> str:
        for override in overrides:
            shared = min(len(location), len(override.location))
            same = tuple(map(str, location[:shared])) == override.location[:shared]
            if same and (shared == len(override.location) or not _has(tree, location)):
                return override.variable
        began = next((n for n in range(1, len(location)) if not _has(tree, location[:n])), None)
        makers = (each.variable for each in overrides if began and each.location[:began] == location[:began])
        return next(makers, file)

    return place_of


def _has(tree: Any, location: Location) -> bool:
    for part in location:
        if not isinstance(tree, Mapping) or part not in tree:
            return False
        tree = tree[part]
    return True
