"""The tables of `penstock.toml` whose keys are always the same, and what all tables have in common."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from penstock.schemas.events import TimeUnit
from penstock.streams.settings.errors import shown, without_credentials, wrong

Role = Literal["score", "watch", "judge", "shadow"]
ROLES: tuple[Role, ...] = get_args(Role)
"""The agents, each an app and a consumer group of its own."""

_NAME = re.compile(r"[^\W\d][\w.-]*")
_LONGEST_TOPIC = 249
_LONGEST_ROLE = len(".shadow-scores")
_SHORTEST_TOKEN = 16


class Section(BaseModel):
    """A table of `penstock.toml`: frozen, strict about types, and without a place for keys it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True, use_enum_values=True
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, without_credentials(value) if isinstance(value, str) else value


def _check_path(path: str) -> str:
    if not path or any(not part for part in path.split(".")):
        raise wrong(repr(path), "a dotted path into the event, like payload.plane.seats")
    return path


EventPath = Annotated[str, AfterValidator(_check_path)]


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise wrong(repr(name), "a name of letters, digits, '_', '-' and '.', beginning with a letter")
    return name


Name = Annotated[str, AfterValidator(_check_name)]


def _check_topic(name: str) -> str:
    allowed = all(character.isascii() and (character.isalnum() or character in "._-") for character in name)
    if not allowed or not 0 < len(name) <= _LONGEST_TOPIC - _LONGEST_ROLE or name in (".", ".."):
        raise wrong(shown(name), "a topic's name: letters, digits, '.', '_' and '-', at most 235 of them")
    return name


def is_loopback(host: str) -> bool:
    """Whether an address is heard on this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_server(server: str) -> str:
    if "@" in server:
        raise wrong("an address with credentials (not shown)", "host:port, and kafka.sasl_username beside it")
    host, _, port = server.rpartition(":")
    if not host or "/" in server or not port.isdecimal() or not 0 < int(port) < 65536:
        raise wrong(shown(server), "host:port")
    return server


def _check_instance(name: str) -> str:
    if not all(character.isascii() and (character.isalnum() or character in "._-") for character in name) or not (
        0 < len(name) <= _LONGEST_TOPIC and name not in (".", "..")
    ):
        raise wrong(shown(name), f"letters, digits, '.', '_' and '-', at most {_LONGEST_TOPIC} of them")
    return name


InstanceId = Annotated[str, AfterValidator(_check_instance)]
TopicName = Annotated[str, AfterValidator(_check_topic)]
Server = Annotated[str, AfterValidator(_check_server)]
File = Annotated[Path, Field(strict=False)]


class PipelineSettings(Section):
    """`name` begins the names of topics, consumer groups and transactional ids."""

    name: TopicName


class KafkaSettings(Section):
    """How to reach the brokers. Files are relative to the configuration file.

    With an `instance_id`, each worker's own, a worker is a static member of its consumer group.
    """

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
    instance_id: InstanceId | None = None

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
                    value = "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512" if key == "sasl_mechanism" else "a value"
                    raise wrong("missing", f"{value}, as security_protocol is {protocol}", key=key)
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
        except ValueError:
            raise wrong(
                "not readable as a URL", "redis://host:6379/0", key="url"
            ) from None  # it may quote the password
        if parts.scheme not in ("redis", "rediss", "unix") or (parts.scheme != "unix" and not parts.hostname):
            found = "a URL with credentials (not shown)" if "@" in url else shown(url)
            raise wrong(found, "redis://host:6379/0, or rediss:// for TLS", key="url")
        if "password" in parts.query:
            raise wrong("a URL with a password in its query", "the password as redis.password", key="url")
        if "@" in f"{parts.path}{parts.query}{parts.fragment}":
            fix = "Percent-encode what stands before the @, or use redis.password."
            raise wrong(
                "a URL whose credentials cannot be told from its path", "user:password@host", key="url", fix=fix
            )
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

    max_rows: int = Field(default=4096, ge=1, le=1 << 20)
    max_bytes: int = Field(default=8 << 20, ge=1)
    max_wait_ms: float = Field(default=0.0, ge=0, le=1000)


class ScoredSettings(Section):
    """The inference log. Without it nothing can watch, shadow, replay or retrain: for benchmarks only."""

    enabled: bool = True


class DeliverySettings(Section):
    """A rebalance finishes what is in flight, but waits 5 s at most: windows and transactions must fit in well."""

    mode: Literal["at_least_once", "exactly_once"] = "at_least_once"
    transaction_ms: float = Field(default=50.0, gt=0, le=2000)
    commit_interval_ms: float = Field(default=250.0, gt=0)
    max_crashes: int = Field(default=3, ge=1)


class AdminSettings(Section):
    """`port` is the score role's; the other roles take those after it, so that all can run on one machine.

    What listens to more than this machine needs a `token`.
    """

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=6066, ge=0, le=65532)
    token: SecretStr | None = None

    @model_validator(mode="after")
    def _check_token(self) -> AdminSettings:
        fix = "PENSTOCK_ADMIN__TOKEN keeps it out of the file; `openssl rand -hex 24` makes one."
        if self.token is None:
            if not is_loopback(self.host):
                expected = f"a token, as admin.host {self.host} is more than this machine"
                raise wrong("missing", expected, key="token", fix=fix)
            return self
        token = self.token.get_secret_value()
        if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
            expected = f"at least {_SHORTEST_TOKEN} ASCII characters without spaces"
            raise wrong("too short or not plain (not shown)", expected, key="token", fix=fix)
        return self

    def port_of(self, role: Role) -> int:
        """0, any free port, stays 0."""
        return self.port + ROLES.index(role) if self.port else 0
