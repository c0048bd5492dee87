"""`penstock keys`, and signing with them, as a terminal shows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from penstock.schemas.sealing import SecretKey
from penstock.schemas.signing import PrivateKey, PublicKey
from penstock.streams.cli import app

NETWORK = """
import numpy as np
import torch
from penstock.models.package import PackageRequest
from penstock.models.signature import Signature, TensorInput


def build() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Sigmoid())


def train(catalogue) -> PackageRequest:
    return PackageRequest(
        name="delay", network=build(), factory="signednetwork:build",
        signature=Signature((TensorInput("input", ("distance",)),)), reference={"distance": np.linspace(-1, 1, 100)},
    )
"""
CONFIG = """
[pipeline]
name = "flights"
[events]
topic = "departures"
[features.distance]
type = "float"
path = "distance"
"""


def run(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result


def made(name: str = "release", *options: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("keys", "create", name, "--json", *options).stdout)
    return document


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.toml").write_text(CONFIG)
    return tmp_path


def test_what_is_private_is_in_a_file_of_ones_own_and_nowhere_else(project: Path) -> None:
    shown = run("keys", "create", "release").output
    private = project / "keys" / "release.pem"
    public = PrivateKey.from_pem(private.read_bytes()).public("release")

    assert private.stat().st_mode & 0o777 == 0o600
    assert str(public) in shown
    assert PublicKey.parse((project / "keys" / "release.pub").read_text()) == public
    assert not any(line in shown for line in private.read_text().splitlines())
    assert "*.pem" in (project / "keys" / ".gitignore").read_text()
    assert run("keys", "show", "release").stdout == run("keys", "show", "keys/release.pub").stdout == f"{public}\n"


def test_a_secret_key_is_not_printed_either(project: Path) -> None:
    shown = run("keys", "create", "letters", "--kind", "dead-letters").output
    file = project / "keys" / "letters.key"

    assert file.stat().st_mode & 0o777 == 0o600
    assert SecretKey.parse(file.read_text()).id in shown
    assert file.read_text().strip().partition(":")[2] not in shown + run("keys", "list").output


@pytest.mark.parametrize("kind", ["signing", "dead-letters"])
def test_no_key_is_written_over(kind: str) -> None:
    made("release", "--kind", kind)

    assert "never written over" in run("keys", "create", "release", "--kind", kind, code=2).output


def test_the_list_says_what_each_key_may_do(project: Path) -> None:
    release, other = made(), made("other", "-d", "elsewhere")
    (project / "penstock.toml").write_text(
        f'{CONFIG}[security]\ntrusted_keys = ["keys/release.pub"]\ncontrol_keys = ["{other["public"]}"]\n'
    )

    rows = json.loads(run("keys", "list", "--json").stdout)

    assert [(row["id"], row["held"], row["believed_for"]) for row in rows] == [
        (release["id"], True, ["models"]),
        (other["id"], False, ["commands"]),
    ]


def test_from_a_signature_to_a_registry_that_takes_nothing_else(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "signednetwork.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(project)
    key = made()
    run("package", "signednetwork:train", "--add")
    (project / "penstock.toml").write_text(f'{CONFIG}[security]\ntrusted_keys = ["keys/release.pub"]\n')

    assert "is not signed" in run("models", "show", "delay", code=4).output
    assert "--sign" in run("package", "signednetwork:train", "--add", code=2).output
    assert f"signed by {key['id']} (release)" in run("models", "sign", "delay", "--key", "keys/release.pem").output
    assert json.loads(run("models", "show", "delay", "--json").stdout)["signed_by"] == [key["id"]]

    shutil.rmtree(project / "registry")
    [unsigned] = (project / "packages").iterdir()
    assert "is not signed" in run("models", "add", str(unsigned), code=4).output
    run("models", "sign", str(unsigned), "--key", "keys/release.pem")
    assert run("models", "add", str(unsigned)).stdout == "delay@1\n"
    again = run("package", "signednetwork:train", "--add", "--sign", "keys/release.pem", "--json")
    assert json.loads(again.stdout)["signed_by"] == key["id"]


def test_a_key_that_anybody_may_read_signs_nothing(project: Path) -> None:
    made()
    (project / "keys" / "release.pem").chmod(0o644)

    said = run("models", "sign", "delay@1", "--key", "keys/release.pem", code=2).output

    assert "anybody on this machine may read it" in said
    assert "chmod 600" in said
