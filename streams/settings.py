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
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, ValidationError, model_validator

from penstock.models.features import Catalogue
from penstock.schemas.errors import ConfigurationError
from penstock.schemas.events import EventSchema, TimeUnit
from penstock.schemas.json_struct import EventStruct
from penstock.schemas.topics import Topics
from penstock.streams import settings_environment as environment
from penstock.streams.settings_errors import Location, dotted, raise_all, shown, translate, wrong
from penstock.streams.settings_features import (
    EntitySettings,
    EventPath,
    FeatureSettings,
    Name,
    Section,
    build_catalogue,
    unknown_entities,
)

FILE_NAME = "penstock.toml"

PlaceOf = Callable[[Location], str]

_LONGEST_TOPIC = 249
_LONGEST_ROLE = len(".shadow-scores")


def _check_topic(name: str) -> str:
    allowed = all(character.isascii() and (character.isalnum() or character in "._-") for character in name)
    if not allowed or not 0 < len(name) <= _LONGEST_TOPIC - _LONGEST_ROLE or name in (".", ".."):
        raise wrong(shown(name), "a topic's name: letters, digits, '.', '_' and '-', at most 235 of them")
    return name


def _check_server(server: str) -> str:
    host, _, port = server.rpartition(":")
    if not host or "/" in server or not port.isdecimal() or not 0 < int(port) < 65536:
        raise wrong(shown(server), "host:port")
    return server


TopicName = Annotated[str, AfterValidator(_check_topic)]
Server = Annotated[str, AfterValidator(_check_server)]
File = Annotated[Path, Field(strict=False)]


class PipelineSettings(Section):
    """`name` begins the names of topics, consumer groups and transactional ids."""

    name: TopicName


class KafkaSettings(Section):
    """How to reach the brokers. Files are relative to the configuration file."""

    servers: Annotated[tuple[Server, ...], Field(strict=False, min_length=1)] = ("localhost:9092",)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca_file: File | None = None
    ssl_certificate_file: File | None = None
    ssl_key_file: File | None = None
    ssl_key_password: SecretStr | None = None
    partitions: int = Field(default=4, ge=1)
    replication_factor: int = Field(default=1, ge=1, le=32767)

    @property
    def address(self) -> str:
        """The servers, for a sentence."""
        return ",".join(self.servers)

    @model_validator(mode="after")
    def _check_security(self) -> KafkaSettings:
        protocol = self.security_protocol
        sasl = ("sasl_mechanism", "sasl_username", "sasl_password")
        files = ("ssl_ca_file", "ssl_certificate_file", "ssl_key_file")
        if protocol.startswith("SASL"):
            for key in sasl:
                if getattr(self, key) is None:
                    raise wrong("missing", f"a value, as security_protocol is {protocol}", key=key)
        for key in sasl:
            if not protocol.startswith("SASL") and getattr(self, key) is not None:
                raise wrong("given", f"nothing, as security_protocol is {protocol}", key=key, fix="Say SASL_SSL there.")
        for key in files:
            if not protocol.endswith("SSL") and getattr(self, key) is not None:
                raise wrong(
                    "given", f"nothing, as security_protocol is {protocol}", key=key, fix="Say SSL or SASL_SSL."
                )
        if self.ssl_key_file is not None and self.ssl_certificate_file is None:
            raise wrong("missing", "the certificate that belongs to ssl_key_file", key="ssl_certificate_file")
        return self


class RedisSettings(Section):
    """Where looked-up features are. `url` never holds a user or a password: those are keys of their own."""

    url: str = "redis://localhost:6379/0"
    username: str | None = None
    password: SecretStr | None = None
    deadline_ms: float = Field(default=50.0, gt=0)
    cache_rows: int = Field(default=100_000, ge=0)
    cache_ttl_s: float = Field(default=60.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _take_credentials_out_of_url(cls, table: Any) -> Any:
        url = table.get("url") if isinstance(table, dict) else None
        if not isinstance(url, str):
            return table
        try:
            parts = urlsplit(url)
            parts.port  # noqa: B018 (raises for a port that is none)
        except ValueError as error:
            raise wrong("not readable as a URL", "redis://host:6379/0", key="url") from error
        if parts.scheme not in ("redis", "rediss", "unix") or (parts.scheme != "unix" and not parts.hostname):
            raise wrong(shown(url), "redis://host:6379/0, or rediss:// for TLS", key="url")
        if "password" in parts.query:
            raise wrong("a URL with a password in its query", "the password as redis.password", key="url")
        given = {"username": parts.username, "password": parts.password}
        credentials = {key: unquote(text) for key, text in given.items() if text}
        for key in credentials.keys() & table.keys():
            raise wrong("given beside the one in redis.url", "one of the two", key=key, fix="Remove one.")
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        return {**table, **credentials, "url": bare}


class EventsSettings(Section):
    """The user's events: the topic, and where id, key and time lie in each."""

    topic: TopicName
    format: Literal["json"] = "json"
    id: EventPath | None = None
    key: EventPath | None = None
    time: EventPath | None = None
    time_unit: TimeUnit = "ms"
    max_bytes: int = Field(default=1_048_576, ge=1024, le=1 << 30)


class ModelsSettings(Section):
    registry: str = Field(default="registry", min_length=1)
    device: str = Field(default="auto", min_length=1)


class WindowSettings(Section):
    """How much one inference call may hold, and how long it may wait for more."""

    max_rows: int = Field(default=2048, ge=1, le=1 << 20)
    max_bytes: int = Field(default=8 << 20, ge=1)
    max_wait_ms: float = Field(default=0.0, ge=0)


class ScoredSettings(Section):
    """The inference log. Without it nothing can watch, shadow, replay or retrain: for benchmarks only."""

    enabled: bool = True


class DeliverySettings(Section):
    mode: Literal["at_least_once", "exactly_once"] = "at_least_once"
    transaction_ms: float = Field(default=50.0, gt=0)
    commit_interval_ms: float = Field(default=250.0, gt=0)


class AdminSettings(Section):
    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=6066, ge=0, le=65535)


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
    admin: AdminSettings = AdminSettings()
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
        place_of = _places(tree, overrides, str(file))
        try:
            settings = cls.model_validate(environment.merged(tree, overrides))
        except ValidationError as error:
            raise_all(translate(error, cls, place_of))
            raise
        settings = settings._with_files_of(file)
        raise_all(settings._contradictions(place_of))
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
        return Topics(self.pipeline.name, self.events.topic, events_max_bytes=self.events.max_bytes)

    @cached_property
    def event_schema(self) -> EventSchema:
        events = self.events
        return self.catalogue.event_schema(id=events.id, time=events.time, time_unit=events.time_unit, key=events.key)

    @property
    def registry_location(self) -> str:
        """An absolute directory, or the fsspec URL as it was given."""
        return self.models.registry if "://" in self.models.registry else str(self.directory / self.models.registry)

    def _with_files_of(self, file: Path) -> Settings:
        directory = file.absolute().parent
        keys = ("ssl_ca_file", "ssl_certificate_file", "ssl_key_file")
        named = {key: path for key in keys if (path := getattr(self.kafka, key)) is not None}
        kafka = self.kafka.model_copy(update={key: directory / path for key, path in named.items()})
        settings = self.model_copy(update={"kafka": kafka})
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
    """Which variable a setting came from, or `file`."""

    def place_of(location: Location) -> str:
        for override in overrides:
            shared = min(len(location), len(override.location))
            same = tuple(map(str, location[:shared])) == override.location[:shared]
            if same and (shared == len(override.location) or not _has(tree, location)):
                return override.variable
        return file

    return place_of


def _has(tree: Any, location: Location) -> bool:
    for part in location:
        if not isinstance(tree, Mapping) or part not in tree:
            return False
        tree = tree[part]
    return True
