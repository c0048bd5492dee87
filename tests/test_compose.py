"""docker-compose.yml and the Dockerfile against the Compose specification, and in step with the code.

No Docker engine is needed: what is held here is what can be known without one.
"""

from __future__ import annotations

import inspect
import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from penstock.streams.admin import AdminServer
from penstock.streams.settings import Settings
from penstock.streams.settings.sections import ROLES

ROOT = Path(__file__).parent.parent
PROJECT = {
    "pipeline": {"name": "flights"},
    "events": {"topic": "departures"},
    "features": {"distance": {"type": "float"}},
}


def compose(name: str = "docker-compose.yml") -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / name).read_text())
    assert isinstance(loaded, dict)
    return loaded


def penstock() -> dict[str, Any]:
    service = compose()["services"]["penstock"]
    assert isinstance(service, dict)
    return service


def kafka_environment() -> dict[str, str]:
    return {key: str(value) for key, value in compose()["services"]["kafka"]["environment"].items()}


def listeners(text: str) -> dict[str, str]:
    """`HOST://localhost:9092,DOCKER://kafka:19092` by name."""
    return dict(part.split("://", 1) for part in text.split(","))


def published(service: str) -> dict[int, int]:
    """Container port → port on the host, which must be the loopback interface."""
    ports = {}
    for mapping in compose()["services"][service]["ports"]:
        host, outside, inside = mapping.split(":")
        assert host == "127.0.0.1", f"{mapping} would be open to the network"
        ports[int(inside)] = int(outside)
    return ports


@pytest.fixture(scope="module")
def specification() -> jsonschema.protocols.Validator:
    """The Compose specification's schema, as the package check-jsonschema carries it; its code is not used."""
    files = metadata.files("check-jsonschema") or []
    (found,) = [file for file in files if file.match("builtin_schemas/vendor/compose-spec.json")]
    schema = json.loads(found.read_text())
    return jsonschema.validators.validator_for(schema)(schema)


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.gpu.yml"])
def test_the_file_keeps_to_the_compose_specification(name: str, specification: jsonschema.protocols.Validator) -> None:
    specification.validate(compose(name))


def test_the_specification_would_notice_a_misspelt_key(specification: jsonschema.protocols.Validator) -> None:
    wrong = compose()
    wrong["services"]["penstock"]["helthcheck"] = wrong["services"]["penstock"].pop("healthcheck")
    with pytest.raises(jsonschema.ValidationError, match="helthcheck"):
        specification.validate(wrong)


def test_the_variables_are_settings_and_point_at_the_other_services() -> None:
    environment = {**penstock()["environment"], "PENSTOCK_ADMIN__TOKEN": 24 * "x"}
    settings = Settings.of(PROJECT, environ=environment)
    docker = listeners(kafka_environment()["KAFKA_ADVERTISED_LISTENERS"])["DOCKER"]
    assert settings.kafka.servers == (docker,)
    assert settings.redis.url == "redis://redis:6379/0"
    assert settings.admin.host == "0.0.0.0"  # noqa: S104 (inside a container; published on loopback only)


def test_the_token_of_the_admin_port_comes_from_whoever_starts_it() -> None:
    text = penstock()["environment"]["PENSTOCK_ADMIN__TOKEN"]
    assert text.startswith("${PENSTOCK_ADMIN__TOKEN:?")  # Compose refuses to start without
    assert "ADMIN__HOST" not in (ROOT / "Dockerfile").read_text()  # the image alone listens to itself


def test_the_host_finds_the_servers_where_the_settings_look_by_default() -> None:
    defaults = Settings.of(PROJECT)
    host = listeners(kafka_environment()["KAFKA_ADVERTISED_LISTENERS"])["HOST"]
    assert defaults.kafka.servers == (host,)
    assert published("kafka") == {int(host.rpartition(":")[2]): int(host.rpartition(":")[2])}
    assert defaults.redis.url == f"redis://localhost:{published('redis')[6379]}/0"


def test_every_advertised_listener_is_listened_on() -> None:
    environment = kafka_environment()
    listening = listeners(environment["KAFKA_LISTENERS"])
    for name, address in listeners(environment["KAFKA_ADVERTISED_LISTENERS"]).items():
        assert listening[name].rpartition(":")[2] == address.rpartition(":")[2]
    mapped = dict(part.split(":") for part in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert mapped.keys() == listening.keys()


def test_the_admin_ports_are_the_same_everywhere() -> None:
    admin = Settings.of(PROJECT).admin
    port, ports = admin.port, [admin.port_of(role) for role in ROLES]
    assert int(penstock()["environment"]["PENSTOCK_ADMIN__PORT"]) == port
    assert published("penstock") == {port: port for port in ports}
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"EXPOSE {' '.join(map(str, ports))}\n" in dockerfile
    assert f"PENSTOCK_ADMIN__PORT={port}\n" in dockerfile


def test_the_health_checks_ask_for_a_page_that_the_admin_port_serves() -> None:
    served = set(re.findall(r'web\.get\("(/\w+)"', inspect.getsource(AdminServer)))
    for text in (" ".join(penstock()["healthcheck"]["test"]), (ROOT / "Dockerfile").read_text()):
        asked = re.findall(r"(?:127\.0\.0\.1:\S*?)(/\w+)", text)
        assert asked
        assert set(asked) <= served


def test_kafka_is_of_the_version_that_the_tests_run_on() -> None:
    from penstock.streams.embedded.jars import KAFKA_VERSION

    assert compose()["services"]["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_topics_are_made_by_penstock_and_replicated_no_further_than_one_broker_can() -> None:
    environment = kafka_environment()
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert penstock()["command"] == ["up"]  # creates what is missing
    assert Settings.of(PROJECT).kafka.replication_factor == 1
    assert {value for key, value in environment.items() if key.endswith("REPLICATION_FACTOR")} == {"1"}


def test_everything_starts_in_order_and_the_image_is_not_root() -> None:
    services = compose()["services"]
    assert all("healthcheck" in service for service in services.values())
    assert {name: each["condition"] for name, each in penstock()["depends_on"].items()} == {
        "kafka": "service_healthy",
        "redis": "service_healthy",
    }
    named = {volume.split(":")[0] for service in services.values() for volume in service["volumes"]}
    assert compose()["volumes"].keys() == {name for name in named if not name.startswith("$")}
    assert re.search(r"^USER penstock$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_the_image_gets_every_package() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for package in ("schemas", "models", "monitoring", "streams", "penstock"):
        assert f"COPY {package} {package}\n" in dockerfile
        assert f"!{package}" in ignored
    assert f"penstock:${{TORCH_BACKEND:-{re.findall(r'ARG TORCH_BACKEND=(.+)', dockerfile)[0]}}}" == penstock()["image"]
