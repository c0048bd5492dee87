"""The registry of the settings: it believes whom they trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.models.registry import ModelNotFound, Registry, RegistryUnreadable

if TYPE_CHECKING:
    from penstock.streams.settings import Settings

TRANSIENT = (RegistryUnreadable, ModelNotFound, OSError)
"""What may be different in a moment: a mount or a store that is gone, a copy that is still under way. A model that was
read and does not pass its checks is another matter."""


def registry_of(settings: Settings) -> Registry:
    """Raises ConfigurationError when the registry's URL cannot be used."""
    return Registry(settings.registry_location, trusted=settings.trusted_keys)
