"""Which training data the stream is compared with: the champion's, from its package in the registry."""

from __future__ import annotations

import logging

from penstock.models.package_files import read_profile
from penstock.models.registry import RegistryUnreadable
from penstock.monitoring.counting.binning import Binning
from penstock.schemas.errors import PenstockError
from penstock.schemas.profile import ReferenceProfile
from penstock.schemas.records import ModelRef
from penstock.schemas.scored import ScoredBlock
from penstock.streams.registry import registry_of
from penstock.streams.settings import Settings

log = logging.getLogger("penstock.reference")


class References:
    """Reference profiles by model, and the bins that are made of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._registry = settings, registry_of(settings)
        self._profiles: dict[str, ReferenceProfile | None] = {}
        self._binnings: dict[object, Binning] = {}
        self._model = ""
        catalogue = settings.catalogue
        self._ranges = {feature.name: feature.range for feature in catalogue.features if feature.range is not None}
        self._sensitive = frozenset(feature.name for feature in catalogue.features if feature.sensitive)

    def use(self, model: str | None) -> None:
        """Compare with this model's training data from now on; blocks while its profile is read.

        Raises RegistryUnreadable; what was compared with until now stays.
        """
        if model is not None:
            self.profile(model)
        self._model = model or ""

    def profile(self, model: str) -> ReferenceProfile | None:
        """None where the registry does not have it, or it is refused: then the stream itself becomes the reference,
        which is logged once. Raises RegistryUnreadable where nobody can say yet.
        """
        if model not in self._profiles:
            try:
                self._profiles[model] = read_profile(self._registry.path(ModelRef.parse(model)))
            except RegistryUnreadable:
                raise
            except OSError as error:
                raise RegistryUnreadable(self._registry.location, error) from error
            except (PenstockError, ValueError) as error:
                log.error("The stream is compared with its own beginning, not with %s: %s", model or "a model", error)
                self._profiles[model] = None
        return self._profiles[model]

    def binning(self, block: ScoredBlock) -> Binning:
        """The bins for a block, by the reference in use and the columns that the block has."""
        outputs = 0 if block.scores is None else block.scores.shape[1]
        key = (self._model, block.columns.layout, block.aged, outputs)
        if key not in self._binnings:
            self._binnings[key] = Binning.of(
                block.columns.layout,
                block.aged,
                self._profiles.get(self._model),
                reference=self._model,
                ranges=self._ranges,
                sensitive=self._sensitive,
                withheld=self._sensitive,  # the log does not have them
                outputs=outputs,
            )
        return self._binnings[key]
