"""Variables that are ours by their name, and mean nothing: whoever set one wanted something."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from penstock.schemas.errors import ConfigurationError
from penstock.streams.settings import Settings
from penstock.streams.settings.environment import OTHERS
from penstock.streams.settings.errors import InvalidSettings

ROOT = Path(__file__).parents[3]
TREE = {"pipeline": {"name": "p"}, "events": {"topic": "e"}, "features": {"net.amount": {"type": "float"}}}


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("PENSTOCK_KAFKA_SERVERS", "PENSTOCK_KAFKA__SERVERS. Rename it."),
        ("penstock_kafka__servers", "PENSTOCK_KAFKA__SERVERS. Rename it."),
        ("PENSTOCK_DELIVERY_MAX_CRASHES", "PENSTOCK_DELIVERY__MAX_CRASHES. Rename it."),
        ("PENSTOCK_FEATURES_NET_AMOUNT_RANGE", "PENSTOCK_FEATURES__NET_AMOUNT__RANGE. Rename it."),
        ("PENSTOCK_ADMIN_PORT", "PENSTOCK_ADMIN__PORT. Rename it."),
        ("PENSTOCK_KAFKA_SERVRES", "PENSTOCK_KAFKA__SERVERS. Rename it."),
        ("PENSTOCK_CONFIGS", "PENSTOCK_CONFIG. Rename it."),
        ("penstock_config", "PENSTOCK_CONFIG. Rename it."),
        ("PENSTOCK_FOO", "PENSTOCK_<TABLE>__<KEY>. Unset it."),
    ],
)
def test_a_variable_that_means_nothing_is_refused_with_the_one_that_does(variable: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.of(TREE, environ={variable: "hunter2"})

    assert str(caught.value) == f"the environment: {variable} is unknown; expected {expected}"


def test_it_is_told_beside_what_else_is_wrong() -> None:
    with pytest.raises(InvalidSettings) as caught:
        Settings.of({**TREE, "windw": {}}, environ={"PENSTOCK_FOO": "1", "PENSTOCK_KAFKA_SERVERS": "a:1"})

    assert [error.key for error in caught.value.errors] == ["PENSTOCK_FOO", "PENSTOCK_KAFKA_SERVERS", "windw"]


def test_an_empty_one_counts_as_unset() -> None:
    assert Settings.of(TREE, environ={"PENSTOCK_FOO": "", "penstock_bar": ""}) == Settings.of(TREE)


def test_what_kubernetes_says_of_services_with_such_a_name_is_nobodys_mistake() -> None:
    environ = {
        "PENSTOCK_SERVICE_HOST": "10.0.0.7",
        "PENSTOCK_SERVICE_PORT": "6066",
        "PENSTOCK_SERVICE_PORT_METRICS": "6066",
        "PENSTOCK_PORT": "tcp://10.0.0.7:6066",
        "PENSTOCK_ADMIN_PORT": "tcp://10.0.0.7:6066",
        "PENSTOCK_PORT_6066_TCP": "tcp://10.0.0.7:6066",
        "PENSTOCK_PORT_6066_TCP_ADDR": "10.0.0.7",
    }

    assert Settings.of(TREE, environ=environ) == Settings.of(TREE)


def test_those_that_are_no_settings_are_all_that_the_repository_names() -> None:
    """Code, containers, CI and texts: whoever sets one of these must not be refused."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not listed:
        pytest.skip("this is no checkout")
    suffixes = {".py", ".yml", ".md", ".toml", ".template", ""}
    paths = [path for path in map(Path, listed) if path.suffix in suffixes and path.parts[0] != "tests"]
    texts = [(ROOT / path).read_text("utf-8") for path in paths if (ROOT / path).is_file()]
    named = {name for text in texts for name in re.findall(r"(?<![A-Z_])PENSTOCK_[A-Z][A-Z_]*[A-Z]", text)}

    assert {name for name in named if "__" not in name} == OTHERS.keys()
    assert Settings.of(TREE, environ=dict.fromkeys(OTHERS, "1")) == Settings.of(TREE)
