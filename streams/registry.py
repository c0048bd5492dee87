"""The registry of the settings: it believes whom they trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.models.registry import Registry

if TYPE_CHECKING:
    from penstock.streams.settings import Settings


def registry_of(settings: Settings) -> Registry:
    """Raises ConfigurationError when the registry's URL cannot be used."""
    return Registry(settings.registry_location, trusted=settings.trusted_keys)
