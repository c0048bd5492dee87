"""What `penstock doctor` says of [security]: who is believed, and whether this machine can do its part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from penstock.schemas.errors import ConfigurationError
from penstock.streams.control.signatures import ControlSigner
from penstock.streams.key_files import KeyUnusable, letter_key

if TYPE_CHECKING:
    from penstock.streams.settings import Settings

Said = tuple[Literal["passed", "failed", "skipped"], str, str]
"""State, sentence, fix."""


def examine_keys(settings: Settings) -> dict[str, Said]:
    """One line each for models, control records and dead letters, by the names that the report gives them."""
    return {
        "models": ("passed", _believed("model packages", [str(key) for key in settings.trusted_keys.keys]), ""),
        "control": _control(settings),
        "letters": _letters(settings),
    }


def _believed(what: str, keys: list[str]) -> str:
    signed = ", ".join(key.partition(" ")[2] or key for key in keys)
    return f"{what} must be signed by {signed}" if keys else f"{what} need no signature"


def _control(settings: Settings) -> Said:
    sentence = _believed("control records", [str(key) for key in settings.control_keys.keys])
    if settings.security.control_signing_key is None and settings.control_keys:
        fix = "Where changes are made: PENSTOCK_SECURITY__CONTROL_SIGNING_KEY names a private key."
        return "skipped", f"{sentence}; this machine has no key to change what serves", fix
    try:
        key = ControlSigner.of(settings).key()
    except (ConfigurationError, KeyUnusable) as error:
        return "failed", str(error).removesuffix(error.fix).rstrip(" ."), error.fix
    return "passed", sentence if key is None else f"{sentence}; this machine signs with {key.public().id}", ""


def _letters(settings: Settings) -> Said:
    if not any(feature.sensitive for feature in settings.catalogue.features):
        return "passed", "no feature is sensitive: dead letters hold events as they came", ""
    try:
        key = letter_key(settings)
    except KeyUnusable as error:
        return "failed", str(error).removesuffix(error.fix).rstrip(" ."), error.fix
    if key is None:
        fix = "`penstock keys create letters --kind dead-letters`, and name its file in security.dead_letter_keys."
        return "skipped", "dead letters hold sensitive features as they came: no key is set", fix
    return "passed", f"dead letters are encrypted with {key.id}", ""
