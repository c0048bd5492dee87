"""What would have been predicted otherwise: without the faults, by the champion alone, by a rule without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.models.features import Catalogue
from penstock.streams.demo.faults import with_unit_change, without_trailing_delays
from penstock.streams.demo.flights import Flights
from penstock.streams.demo.history import feature_columns
from penstock.streams.demo.lookups import Lookups
from penstock.streams.demo.models import Model


@dataclass(frozen=True)
class Counterfactual:
    """Scores of the same flights, [flights].

    alone    of the first champion, with the faults
    rule     of a rule that needs no model: the trailing delay of the origin alone; 0 where there is none
    healthy  version → of that model, without the faults
    """

    alone: NDArray[np.floating]
    rule: NDArray[np.float64]
    healthy: dict[int, NDArray[np.floating]]

    @classmethod
    def of(cls, catalogue: Catalogue, models: Sequence[Model], flights: Flights, lookups: Lookups) -> Counterfactual:
        """`models`, the champion first; `flights` and `lookups` are as they were before a fault came over them."""
        clean = feature_columns(catalogue, flights, lookups)
        faulty = feature_columns(catalogue, with_unit_change(flights), without_trailing_delays(lookups))
        delays, rows = lookups.found(flights)["origin_delays"]
        rule: NDArray[np.float64] = np.append(np.asarray(delays.fields["delay"], np.float64), 0.0)[rows]
        healthy = {model.ref.version: model.trained.scores(clean) for model in models}
        return cls(models[0].trained.scores(faulty), rule, healthy)

    def unspoilt(self, versions: NDArray[np.int64]) -> NDArray[np.floating]:
        """[flights] of whichever model answered, without the faults; NaN where none did (version 0)."""
        found = np.full(len(versions), np.nan)
        for version, scores in self.healthy.items():
            found = np.where(versions == version, scores, found)
        return found
