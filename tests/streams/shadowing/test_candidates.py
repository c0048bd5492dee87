"""Candidates come and go between two records; who is refused is said, counted, and in nobody's way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from candidates import Multiplying

from penstock.models.features import Catalogue, Feature
from penstock.models.registry import RegistryUnreadable
from penstock.models.runtime import Runtime
from penstock.monitoring.metrics.shadow import ShadowMetrics
from penstock.schemas.columns import FeatureType
from penstock.schemas.control import Control, Shadow
from penstock.schemas.errors import ModelRefused
from penstock.schemas.records import ModelRef
from penstock.streams.shadowing.candidates import Candidates
from penstock.streams.shadowing.scorer import ShadowScorer

CATALOGUE = Catalogue(
    (Feature("distance", FeatureType("float")), Feature("income", FeatureType("float"), sensitive=True))
)
NEW, OLD = ModelRef("delay", 5), ModelRef("delay", 4)


def control(*shadows: Shadow) -> Control:
    return Control("flights", 1, ModelRef("delay", 3), "", "", 0, shadows=tuple(shadows))


class Shelf:
    """Loads what stands on it, and remembers what it was asked for and what was closed."""

    def __init__(self, **models: Runtime | Exception) -> None:
        self._models = models
        self.asked: list[ModelRef] = []
        self.retired: list[Callable[[], None]] = []
        self.metrics = ShadowMetrics("flights")
        self.candidates = Candidates(
            self.load, catalogue=CATALOGUE, slices=(), metrics=self.metrics, retire=self.retired.append
        )

    def put(self, **models: Runtime) -> None:
        self._models |= models

    def load(self, model: ModelRef) -> Runtime:
        self.asked.append(model)
        found = self._models[f"v{model.version}"]
        if isinstance(found, Exception):
            raise found
        return found

    def metric(self, line: str) -> bool:
        return line in self.metrics.exposition().decode().splitlines()


def asked(scorer: ShadowScorer | None) -> Sequence[tuple[str, float]]:
    return [] if scorer is None else [(str(runtime.model), sample) for runtime, sample in scorer._candidates]


async def test_candidates_come_change_and_go() -> None:
    shelf = Shelf(v4=Multiplying(OLD), v5=Multiplying(NEW))
    candidates = shelf.candidates
    await candidates.follow(None)
    assert candidates.scorer is None
    await candidates.follow(control(Shadow(NEW, 0.5)))
    assert asked(candidates.scorer) == [("delay@5", 0.5)]
    await candidates.follow(control(Shadow(NEW, 0.5), Shadow(OLD)))
    assert asked(candidates.scorer) == [("delay@5", 0.5), ("delay@4", 1.0)]
    before = candidates.scorer
    await candidates.follow(control(Shadow(NEW, 0.5), Shadow(OLD)))
    assert candidates.scorer is before  # another record that says the same of them
    await candidates.follow(control(Shadow(OLD, 0.2)))
    assert asked(candidates.scorer) == [("delay@4", 0.2)]
    assert shelf.metric('penstock_shadow_sample{model="delay@4",pipeline="flights"} 0.2')
    await candidates.follow(control())
    assert candidates.scorer is None
    assert shelf.asked == [NEW, OLD]
    assert len(shelf.retired) == 2


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        (ModelRefused("delay@5", "its golden outputs differ"), "its golden outputs differ"),
        (MemoryError("no room for it"), "MemoryError: no room for it"),
        (Multiplying(NEW, of="income"), "it reads income, which is sensitive"),
    ],
)
async def test_who_is_refused_is_in_nobodys_way(
    refused: Runtime | Exception, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Shelf(v4=Multiplying(OLD), v5=refused)
    await shelf.candidates.follow(control(Shadow(NEW), Shadow(OLD)))
    assert asked(shelf.candidates.scorer) == [("delay@4", 1.0)]
    [said] = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert said.startswith("The candidate delay@5 is not asked")
    assert says in said
    assert shelf.metric('penstock_models_refused_total{model="delay@5",pipeline="flights"} 1.0')
    assert not isinstance(refused, Multiplying) or refused.closed


async def test_a_candidate_that_cannot_be_read_now_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    refused = ModelRefused("delay@6", "its golden outputs differ")
    shelf = Shelf(v4=Multiplying(OLD), v5=RegistryUnreadable("models", OSError("stale file handle")), v6=refused)
    await shelf.candidates.follow(control(Shadow(NEW), Shadow(OLD), Shadow(ModelRef("delay", 6))))
    assert not await shelf.candidates.try_again()
    assert asked(shelf.candidates.scorer) == [("delay@4", 1.0)]
    assert shelf.metric('penstock_models_unread{pipeline="flights"} 1.0')
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1

    shelf.put(v5=Multiplying(NEW))
    assert await shelf.candidates.try_again()
    assert asked(shelf.candidates.scorer) == [("delay@5", 1.0), ("delay@4", 1.0)]
    assert shelf.metric('penstock_models_unread{pipeline="flights"} 0.0')
    assert shelf.asked.count(OLD) == shelf.asked.count(ModelRef("delay", 6)) == 1, "who was refused stays so"


async def test_nobody_waits_for_a_candidate_that_no_record_names_any_more() -> None:
    shelf = Shelf(v5=RegistryUnreadable("models", OSError("stale file handle")))
    await shelf.candidates.follow(control(Shadow(NEW)))
    await shelf.candidates.follow(control())
    assert await shelf.candidates.try_again()
    assert shelf.asked == [NEW]
