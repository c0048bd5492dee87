"""What a signature holds to: one key, one purpose, these bytes and no others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.schemas.sealing import NotOpened, SecretKey
from penstock.schemas.signing import PrivateKey, PublicKey, Signature, TrustedKeys

KEY, OTHER = PrivateKey(bytes(32)), PrivateKey(bytes(range(32)))
TRUSTED = TrustedKeys((KEY.public("release"),))
PARTS = st.lists(st.binary(max_size=20), min_size=1, max_size=4)


@settings(deadline=None)  # the first example loads the library
@given(PARTS, PARTS)
def test_a_signature_is_of_these_parts_alone(signed: list[bytes], shown: list[bytes]) -> None:
    """Also where the parts come to the same bytes one after another."""
    refusal = TRUSTED.refusal([KEY.sign("package", *signed)], "package", *shown)

    assert (refusal is None) == (signed == shown)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=50), st.data())
def test_one_changed_bit_is_noticed(content: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    context, key = b"here", SecretKey(bytes(32))
    sealed = bytearray(key.seal(content, context=context))
    sealed[bit // 8] ^= 1 << bit % 8

    assert TRUSTED.refusal([KEY.sign("control", content)], "control", bytes(changed)) is not None
    with pytest.raises(NotOpened):
        key.open(bytes(sealed), context=context)


def test_a_signature_for_one_purpose_is_none_for_another() -> None:
    assert "does not verify" in str(TRUSTED.refusal([KEY.sign("package", b"x")], "control", b"x"))


def test_of_several_signatures_one_that_is_trusted_is_enough() -> None:
    theirs, ours = OTHER.sign("package", b"x"), KEY.sign("package", b"x")

    assert TRUSTED.refusal([theirs, ours], "package", b"x") is None
    assert TRUSTED.refusal([theirs], "package", b"x") == f"it is signed by {theirs.key_id}, which is not trusted here"
    assert TRUSTED.refusal([Signature(ours.key_id, theirs.data)], "package", b"x") is not None


def test_a_key_that_openssl_made_is_one(tmp_path: Path) -> None:
    made = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, check=True).stdout

    key = PrivateKey.from_pem(made)

    assert PrivateKey.from_pem(key.to_pem()).public() == key.public()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ssh-ed25519 AAAA", "it is not `ed25519:BASE64 NAME`"),
        ("ed25519:AAAA", "it holds 3 bytes, not 32"),
        ("ed25519:A", "it is not Base64"),
        ("", "it is not `ed25519:BASE64 NAME`"),
    ],
)
def test_what_is_no_public_key_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        PublicKey.parse(text)


def test_no_secret_shows_itself() -> None:
    secret = SecretKey.generate()
    shown = f"{SecretKey.parse(secret)!r} {KEY!r}"

    assert secret.partition(":")[2] not in shown
    assert KEY.to_pem().decode().splitlines()[1] not in shown
    with pytest.raises(ValueError, match="Base64") as caught:
        SecretKey.parse(secret + "!")
    assert secret not in str(caught.value)
