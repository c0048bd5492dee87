"""What the doctor says of keys: who is believed here, what this machine can do, and what is not secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.streams.doctor_keys import Said, examine_keys
from penstock.streams.key_files import create_secret_key, create_signing_key
from penstock.streams.settings import Settings


def examined(directory: Path, *, sensitive: bool = False, **security: Any) -> list[Said]:
    tree = {
        "pipeline": {"name": "payments"},
        "events": {"topic": "payments.in"},
        "features": {"amount": {"type": "float", "sensitive": sensitive}},
        "security": security,
    }
    return list(examine_keys(Settings.of(tree, file=directory / "penstock.toml")).values())


def test_without_keys_nothing_is_wrong(tmp_path: Path) -> None:
    assert [state for state, _, _ in examined(tmp_path)] == ["passed"] * 3


def test_who_is_believed_and_what_this_machine_signs_with(tmp_path: Path) -> None:
    public, secret = create_signing_key(tmp_path, "release"), create_secret_key(tmp_path, "letters")

    found = examined(
        tmp_path,
        sensitive=True,
        trusted_keys=["release.pub"],
        control_keys=["release.pub"],
        control_signing_key="release.pem",
        dead_letter_keys=["letters.key"],
    )

    assert found == [
        ("passed", "model packages must be signed by release", ""),
        ("passed", f"control records must be signed by release; this machine signs with {public.id}", ""),
        ("passed", f"dead letters are encrypted with {secret.id}", ""),
    ]


def test_a_machine_that_may_only_read_fails_nothing(tmp_path: Path) -> None:
    create_signing_key(tmp_path, "release")

    _, (state, sentence, fix), _ = examined(tmp_path, control_keys=["release.pub"])

    assert (state, "no key to change what serves" in sentence) == ("skipped", True)
    assert "PENSTOCK_SECURITY__CONTROL_SIGNING_KEY" in fix


def test_keys_that_cannot_be_used_fail_with_the_fix(tmp_path: Path) -> None:
    create_signing_key(tmp_path, "release")
    create_signing_key(tmp_path, "other")
    (tmp_path / "other.pem").chmod(0o644)

    _, foreign, _ = examined(tmp_path, control_keys=["release.pub"], control_signing_key="gone.pem")
    _, readable, _ = examined(tmp_path, control_keys=["release.pub"], control_signing_key="other.pem")
    *_, lost = examined(tmp_path, sensitive=True, dead_letter_keys=["gone.key"])

    assert [each[0] for each in (foreign, readable, lost)] == ["failed"] * 3
    assert "anybody on this machine may read it" in readable[1]
    assert readable[2].startswith("chmod 600")


def test_sensitive_events_in_the_clear_are_mentioned(tmp_path: Path) -> None:
    *_, (state, sentence, fix) = examined(tmp_path, sensitive=True)

    assert (state, sentence) == ("skipped", "dead letters hold sensitive features as they came: no key is set")
    assert "penstock keys create" in fix
