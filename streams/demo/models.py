"""The demo's three models: the champion, a candidate that knows the weather, and one that learnt nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.schemas.records import ModelRef
from penstock.streams.demo.flights import Flights
from penstock.streams.demo.folder import Folder
from penstock.streams.demo.history import feature_columns
from penstock.streams.demo.lookups import Lookups
from penstock.streams.settings import Settings

if TYPE_CHECKING:
    from penstock.streams.demo.training import Trained


@dataclass(frozen=True)
class Model:
    """A registered model, and the network that is in its package. `how` it was trained, in words."""

    ref: ModelRef
    how: str
    trained: Trained


def train_and_register(settings: Settings, year: Flights, lookups: Lookups, folder: Folder) -> tuple[Model, ...]:
    """Train the champion and the two candidates, in this order, write their packages and add them to the registry."""
    from penstock.models.package import write_package
    from penstock.models.registry import Registry
    from penstock.streams.demo import training

    past = year.months(*training.TRAINING_MONTHS)
    past = past.take(past.labelled)
    columns, models = feature_columns(settings.catalogue, past, lookups), list[Model]()
    with training.one_thread():
        for how, numbers, late in (
            ("without the weather", training.CHAMPION, past.late),
            ("with all the weather", training.CANDIDATE, past.late),
            ("on shuffled labels", training.CANDIDATE, training.shuffled(past.late)),
        ):
            trained = training.train(columns, late, numbers=numbers)
            package = write_package(
                folder.path / "packages",
                settings.catalogue,
                name=training.MODEL,
                network=trained.network,
                factory=training.FACTORY,
                arguments=trained.arguments,
                signature=trained.signature,
                reference=columns,
                labels=late,
                times=past.time,
                seed=training.SEED,
                segment_rows=settings.watch.segment_rows,
            )
            models.append(Model(Registry(settings.registry_location).add(package), how, trained))
    return tuple(models)
