"""[security] and [admin]: keys that can be used, and no door that stands open by mistake."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from penstock.schemas.errors import ConfigurationError
from penstock.schemas.sealing import SecretKey
from penstock.schemas.signing import PrivateKey
from penstock.streams.key_files import KeyUnusable, create_secret_key, letter_key, read_secret_keys
from penstock.streams.settings import Settings

MINIMAL = """
[pipeline]
name = "flights"
[events]
topic = "departures"
[features.distance]
type = "float"
"""
KEY = PrivateKey(bytes(32)).public("release")


def settings(directory: Path, environ: dict[str, str] | None = None, **security: Any) -> Settings:
    tree = {**tomllib.loads(MINIMAL), "security": security}
    return Settings.of(tree, file=directory / "penstock.toml", environ=environ)


def refusal(directory: Path, environ: dict[str, str] | None = None, **security: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings(directory, environ, **security)
    return str(caught.value)


def test_by_default_nothing_need_be_signed(tmp_path: Path) -> None:
    found = settings(tmp_path)

    assert not found.trusted_keys
    assert not found.control_keys


def test_a_public_key_is_a_text_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "release.pub").write_text(f"{KEY}\n")

    by_file = settings(tmp_path, trusted_keys=["release.pub"], control_keys=[str(KEY)])
    by_variable = settings(tmp_path, {"PENSTOCK_SECURITY__TRUSTED_KEYS": f"{KEY}, release.pub"})

    assert by_file.trusted_keys == by_file.control_keys
    assert by_file.trusted_keys.keys == (KEY,)
    assert by_variable.trusted_keys.keys == (KEY, KEY)


def test_files_lie_beside_the_configuration_and_private_ones_need_not_be_there(tmp_path: Path) -> None:
    found = settings(tmp_path, control_signing_key="keys/me.pem", dead_letter_keys=["keys/letters.key"])

    assert found.security.control_signing_key == tmp_path / "keys" / "me.pem"
    assert found.security.dead_letter_keys == (tmp_path / "keys" / "letters.key",)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("nowhere.pub", "nowhere.pub': No such file or directory; expected a public key"),
        ("ed25519:AAAA", "security.trusted_keys[0] is 'ed25519:AAAA': it holds 3 bytes, not 32; expected a public key"),
        ("penstock.toml", "it is not `ed25519:BASE64 NAME`; expected a public key"),
        ("me.pem", "that is a private key: keep it out of here"),
    ],
)
def test_what_is_no_public_key_is_refused(tmp_path: Path, key: str, sentence: str) -> None:
    (tmp_path / "penstock.toml").write_text(MINIMAL)
    (tmp_path / "me.pem").write_bytes(PrivateKey(bytes(32)).to_pem())

    assert sentence in refusal(tmp_path, trusted_keys=[key])


def test_a_secret_that_was_pasted_here_is_not_shown(tmp_path: Path) -> None:
    private, secret = PrivateKey(bytes(32)).to_pem().decode(), SecretKey.generate()

    said = refusal(tmp_path, trusted_keys=[private], control_keys=[secret])

    assert private.splitlines()[1] not in said
    assert secret.partition(":")[2] not in said


@pytest.mark.parametrize("sensitive", [True, False])
def test_dead_letters_are_encrypted_where_a_feature_is_sensitive(tmp_path: Path, sensitive: bool) -> None:
    made, older = create_secret_key(tmp_path, "letters"), create_secret_key(tmp_path, "older")
    tree = {**tomllib.loads(MINIMAL), "security": {"dead_letter_keys": ["letters.key", "older.key", "gone.key"]}}
    tree["features"]["distance"]["sensitive"] = sensitive
    found = Settings.of(tree, file=tmp_path / "penstock.toml")

    key = letter_key(found)

    assert (key.id if key else None) == (made.id if sensitive else None)
    assert set(read_secret_keys(found.security.dead_letter_keys)) == {made.id, older.id}


def test_a_worker_that_cannot_read_its_key_does_not_go_on_without(tmp_path: Path) -> None:
    tree = {**tomllib.loads(MINIMAL), "security": {"dead_letter_keys": ["gone.key"]}}
    tree["features"]["distance"]["sensitive"] = True

    with pytest.raises(KeyUnusable, match=r"gone\.key cannot be used: No such file"):
        letter_key(Settings.of(tree, file=tmp_path / "penstock.toml"))
