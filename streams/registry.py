"""The registry of the settings, which believes whom they trust, and its models, loaded as they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.models.registry import ModelNotFound, Registry, RegistryUnreadable

if TYPE_CHECKING:
    from penstock.models.past_tests import PastTests
    from penstock.models.torch_runtime import TorchRuntime
    from penstock.schemas.records import ModelRef
    from penstock.streams.settings import Settings

TRANSIENT = (RegistryUnreadable, ModelNotFound, OSError)
"""What may be different in a moment: a mount or a store that is gone, a copy that is still under way. A model that was
read and does not pass its checks is another matter."""


def registry_of(settings: Settings) -> Registry:
    """Raises ConfigurationError when the registry's URL cannot be used."""
    return Registry(settings.registry_location, trusted=settings.trusted_keys)


def load_model(settings: Settings, model: ModelRef, *, past_tests: PastTests | None = None) -> TorchRuntime:
    """The model as every worker and every check loads it; blocks. `past_tests`: see load_runtime.

    Raises ModelNotFound, RegistryUnreadable, ModelRefused.
    """
    from penstock.models.torch_runtime import load_runtime  # torch is for those who load a model

    return load_runtime(
        registry_of(settings).path(model),
        settings.catalogue,
        device=settings.models.device,
        max_rows=settings.window.max_rows,
        model=model,
        trusted=settings.trusted_keys,
        past_tests=past_tests,
    )
