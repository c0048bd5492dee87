"""The newest record that can be followed is followed, others change nothing, and no model that is named is closed."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from answering import CANARY_2, CHAMPION_1, SMALL, Model, control

from penstock.models.registry import ModelNotFound, RegistryUnreadable
from penstock.monitoring.metrics.score import ScoreMetrics
from penstock.schemas.control import Experiment
from penstock.schemas.errors import ModelRefused
from penstock.schemas.records import ModelRef
from penstock.streams.back_off import BackOff
from penstock.streams.scoring.serving import Models

SLOW, BAD, CLASSES, THIRD = ModelRef("slow", 1), ModelRef("bad", 1), ModelRef("classes", 1), ModelRef("sum", 3)

AT_ONCE = BackOff(first_s=0.001, longest_s=0.001)


class Registry:
    """Makes models: `bad` ones fail their checks, `slow` ones wait until the test lets them load.

    While it is `gone`, that is raised instead.
    """

    def __init__(self) -> None:
        self.release = threading.Event()
        self.loads: list[ModelRef] = []
        self.made: dict[ModelRef, Model] = {}
        self.gone: Exception | None = None

    def load(self, ref: ModelRef) -> Model:
        self.loads.append(ref)
        if self.gone is not None:
            raise self.gone
        if ref.name == "bad":
            raise ModelRefused(str(ref), "its weights are not those of SHA256SUMS")
        if ref.name == "slow":
            self.release.wait(10)
        self.made[ref] = Model(ref, outputs=3 if ref.name == "classes" else 1)
        return self.made[ref]

    def retire(self, model: ModelRef, close: Callable[[], None]) -> None:
        close()


@pytest.fixture
def registry() -> Registry:
    return Registry()


@asynccontextmanager
async def following(registry: Registry, metrics: ScoreMetrics | None = None) -> AsyncIterator[Models]:
    models = Models(registry.load, retire=registry.retire, metrics=metrics or ScoreMetrics("test"), back_off=AT_ONCE)
    loader = asyncio.create_task(models.keep_loaded())
    try:
        yield models
    finally:
        registry.release.set()
        loader.cancel()
        await asyncio.wait([loader])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (there is nothing to wait for but the loader's turns)
            await asyncio.sleep(0.001)


def revision(models: Models) -> int:
    return 0 if models.current is None else models.current.revision


def followed(metrics: ScoreMetrics) -> float | None:
    return metrics.registry.get_sample_value("penstock_control_revision", {"pipeline": "test"})


async def test_a_record_takes_over_when_all_its_models_are_loaded(registry: Registry) -> None:
    async with following(registry) as models:
        models.follow(control(canary=CANARY_2, fallback=SMALL))
        await models.serves.wait()
        assert models.current is not None
        assert [runtime.model for runtime in models.current.runtimes] == [CHAMPION_1, CANARY_2]
        assert models.current.fallback is registry.made[SMALL]


async def test_a_record_whose_models_are_loaded_takes_over_at_once(registry: Registry) -> None:
    async with following(registry) as models:
        models.follow(control(1, CHAMPION_1))
        await models.serves.wait()
        models.follow(control(2, CANARY_2, previous=CHAMPION_1))
        await until(lambda: revision(models) == 2)
        models.follow(control(3, CHAMPION_1, previous=CANARY_2))
        assert revision(models) == 3  # nothing was awaited in between
        assert registry.loads == [CHAMPION_1, CANARY_2]


async def test_a_rollback_overtakes_a_model_that_is_still_loading(registry: Registry) -> None:
    metrics = ScoreMetrics("test")
    async with following(registry, metrics) as models:
        models.follow(control(1))
        await models.serves.wait()
        models.follow(control(2, SLOW, previous=CHAMPION_1))
        await until(lambda: SLOW in registry.loads)
        assert followed(metrics) == 1  # not what it read, but what it works by
        models.follow(control(3))
        assert revision(models) == followed(metrics) == 3
        registry.release.set()
        await until(lambda: SLOW in registry.made and registry.made[SLOW].closed)
        assert revision(models) == 3
        assert not registry.made[CHAMPION_1].closed


async def test_a_model_that_fails_its_checks_changes_nothing_and_is_reported(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = ScoreMetrics("test")
    async with following(registry, metrics) as models:
        models.follow(control(1))
        await models.serves.wait()
        with caplog.at_level(logging.ERROR):
            models.follow(control(2, canary=BAD, fallback=SMALL))
            await until(lambda: caplog.records)
        assert revision(models) == 1
        [record] = caplog.records
        assert record.message.startswith("Revision 2 is not followed. Model bad@1 is refused")
        await until(lambda: SMALL not in registry.made or registry.made[SMALL].closed)
        told = metrics.exposition().decode()
        assert 'penstock_models_refused_total{model="bad@1",pipeline="test"} 1.0' in told
        assert 'penstock_revisions_refused_total{pipeline="test"} 1.0' in told
        models.follow(control(3, CANARY_2))
        await until(lambda: revision(models) == 3)


async def test_a_record_that_contradicts_itself_is_refused_and_what_is_loading_goes_on(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(registry) as models:
        models.follow(control(1))
        await models.serves.wait()
        models.follow(control(2, SLOW))
        await until(lambda: SLOW in registry.loads)
        models.follow(msgspec.structs.replace(control(3), experiments=(Experiment("x", 0.5, {"nobody": 1.0}),)))
        assert "Revision 3 is not followed. In the control record, " in caplog.text
        registry.release.set()
        await until(lambda: revision(models) == 2)


async def test_a_variant_whose_scores_mean_something_else_is_refused(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(registry) as models:
        models.follow(control(1))
        await models.serves.wait()
        models.follow(control(2, canary=CLASSES))
        await until(lambda: "not followed" in caplog.text)
        assert revision(models) == 1
        assert "The canary classes@1 gives classes c0, c1, c2; expected a probability" in caplog.text
        assert registry.made[CLASSES].closed
        models.follow(control(3, CLASSES))
        await until(lambda: revision(models) == 3)


async def test_the_champion_before_is_kept_ready_and_nobody_waits_for_it(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(registry) as models:
        models.follow(control(1, previous=SLOW))
        await models.serves.wait()
        registry.release.set()
        await until(lambda: SLOW in registry.made)
        models.follow(control(2, CANARY_2, previous=BAD))
        await until(lambda: "There is no going back" in caplog.text)
        assert revision(models) == 2
        assert registry.made[SLOW].closed
        assert registry.loads.count(BAD) == 1


async def test_what_no_record_names_any_more_is_closed_and_what_one_names_is_not(registry: Registry) -> None:
    async with following(registry) as models:
        models.follow(control(1, canary=CANARY_2))
        await models.serves.wait()
        models.follow(control(2, canary=CANARY_2, share=0.9))
        models.follow(control(3, CANARY_2, previous=CHAMPION_1))
        assert not registry.made[CHAMPION_1].closed
        models.follow(control(4, THIRD, previous=CANARY_2))
        await until(lambda: revision(models) == 4)
        assert registry.made[CHAMPION_1].closed
        assert not registry.made[CANARY_2].closed


async def test_a_registry_that_cannot_be_read_is_tried_again_while_the_old_model_answers(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = ScoreMetrics("test")
    async with following(registry, metrics) as models:
        models.follow(control(1))
        await models.serves.wait()
        registry.gone = RegistryUnreadable("models", OSError("stale file handle"))
        models.follow(control(2, canary=CANARY_2))
        await until(lambda: registry.loads.count(CANARY_2) > 2)
        assert revision(models) == 1
        assert metrics.registry.get_sample_value("penstock_models_unread", {"pipeline": "test"}) == 1
        assert len(caplog.records) == 1, "one line, however often it is tried"
        models.follow(control(3, previous=THIRD))  # in between, who needs nothing new is not held up
        assert revision(models) == 3
        models.follow(control(4, canary=CANARY_2))
        registry.gone = None
        await until(lambda: revision(models) == 4)
    assert metrics.registry.get_sample_value("penstock_models_unread", {"pipeline": "test"}) == 0


async def test_a_model_that_is_not_there_yet_is_waited_for(registry: Registry) -> None:
    registry.gone = ModelNotFound("sum", "1", [])
    async with following(registry) as models:
        models.follow(control(1))
        await until(lambda: registry.loads.count(CHAMPION_1) > 2)
        registry.gone = None
        await models.serves.wait()
