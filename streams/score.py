"""The score role: a Faust agent takes blocks, and three overlapping stages turn windows of them into predictions.

    take ──► windows ──► prepare ──► score ──► deliver
    (agent)              decode,     model,    encode, send,
                         look up     in a      acknowledge
                                     thread

Each stage works on one window while the next one works on the window before, so the model computes while the event loop
decodes and encodes. Order is kept throughout.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from faust.types import TP
from mode import Service

from penstock.models.past_tests import PastTests
from penstock.monitoring.metrics.score import ScoreMetrics
from penstock.schemas.json_events import JsonCodec
from penstock.schemas.operations import OperationalReading
from penstock.schemas.records import ModelRef
from penstock.streams import topics
from penstock.streams.access import outcomes
from penstock.streams.admin import AdminServer
from penstock.streams.brokers import Brokers
from penstock.streams.clocks import ClockWatch, SteadyClock
from penstock.streams.control import ControlFollower
from penstock.streams.delivery import AtLeastOnce
from penstock.streams.features.store import FeatureStore, NoFeatures, RedisFeatureStore
from penstock.streams.kafka import client_options
from penstock.streams.key_files import letter_key
from penstock.streams.readings import Readings, now_ms, worker_name
from penstock.streams.registry import load_model
from penstock.streams.scoring.answering import Answering
from penstock.streams.scoring.automation import Automation
from penstock.streams.scoring.inference import Inference
from penstock.streams.scoring.outputs import OutputEncoder
from penstock.streams.scoring.repeats import Repeats
from penstock.streams.scoring.scoring import Scoring, Window
from penstock.streams.scoring.serving import LoadedModel, Models
from penstock.streams.scoring.stretches import Arrival, Stretch, by_partition
from penstock.streams.scoring.trials import Trials
from penstock.streams.scoring.window import WindowLimits, Windows
from penstock.streams.settings import Settings
from penstock.streams.transactions import ExactlyOnce
from penstock.streams.transport import BlockApp, BlockSchema, new_producer

log = logging.getLogger("penstock.score")


def install(app: BlockApp, settings: Settings) -> None:
    """Add the score role to an app."""
    role = ScoreRole(app, settings)
    app.start_first(role)
    app.before_assigned, app.after_revoked, app.cut = role.on_assigned, role.on_revoked, role.trials.cut
    app.has_room = role.brokers.has_room
    app.agent(app.topic(settings.topics.events.name, schema=BlockSchema()), name="score")(role.take)


class ScoreRole(Service):
    """Holds the models that serve and the stages between the agent and Kafka."""

    def __init__(self, app: BlockApp, settings: Settings) -> None:
        super().__init__()
        self._app, self._settings = app, settings
        self._kafka = client_options(settings.kafka)
        self.metrics = ScoreMetrics(settings.pipeline.name, worker=worker_name())
        self._clock = SteadyClock()
        self._readings = Readings(settings, self._reading)
        self.brokers = Brokers.of(settings, "score", self.metrics.brokers)
        self._admin = AdminServer.of(settings.admin, "score", self.metrics, self.brokers.or_else(self._not_ready))
        self._follower = ControlFollower.of(settings)
        self._store = _feature_store(settings)
        self._scoring = Scoring(
            codec=JsonCodec(settings.event_schema),
            catalogue=settings.catalogue,
            store=self._store,
            metrics=self.metrics,
        )
        self._encoder = OutputEncoder(
            settings.catalogue,
            settings.topics,
            self.metrics,
            log_scored=settings.scored.enabled,
            automation=Automation(settings.automation.level, settings.automation.abstain),
            letter_key=letter_key(settings),
        )
        self._exactly_once: ExactlyOnce | None = None
        if settings.delivery.mode == "exactly_once":
            self._exactly_once = ExactlyOnce(
                group=app.conf.id,
                new_producer=self._transactional,
                transaction_s=settings.delivery.transaction_ms / 1000,
                log=self._encoder.log,
            )
        self._delivery = self._exactly_once or AtLeastOnce(
            lambda: app.producer._producer, log=self._encoder.log, commit_note=app.commit_note
        )
        self._repeats = (
            None
            if self._exactly_once
            else Repeats(settings.kafka, outcomes(settings), lambda: app.consumer._thread._consumer, self.metrics)
        )
        self.trials = Trials(
            max_rows=settings.window.max_rows,
            max_crashes=settings.delivery.max_crashes,
            notes=app.notes,
            waits=app.waits,
            delivery=self._delivery,
            metrics=self.metrics,
        )
        self._windows: Windows[Arrival] = Windows(
            WindowLimits(settings.window.max_rows, settings.window.max_bytes, settings.window.max_wait_ms / 1000)
        )
        self._prepared: asyncio.Queue[tuple[list[Stretch], Window]] = asyncio.Queue(1)
        self._scored: asyncio.Queue[tuple[list[Stretch], Window]] = asyncio.Queue(1)
        self._under_way = 0
        self._none_under_way = asyncio.Event()
        self._none_under_way.set()
        self._inference = Inference()
        self._models = Models(self._load, retire=self._inference.retire, metrics=self.metrics)
        self._answering = Answering(
            self._inference,
            self.metrics,
            queue_ms=settings.fallback.queue_ms,
            leave_ms=settings.fallback.leave_ms,
            hold_s=settings.fallback.hold_s,
            age_s=self._clock.age_s,
        )
        self._partitions: list[int] = []
        self._done: dict[int, int] = {}
        """Partition → when the broker got its last event that is done, Unix ms."""

    # Before the first event: a model.

    async def on_start(self) -> None:
        """Returns when a model serves; only then does the worker join its consumer group."""
        await self.add_runtime_dependency(self._admin)
        await self.add_runtime_dependency(self._delivery)
        await self.add_runtime_dependency(self._readings)
        await self.add_runtime_dependency(ClockWatch(self.metrics.clock, self._clock))
        await self.add_runtime_dependency(self.brokers)
        log.info("Admin at %s", self._admin.address)
        await asyncio.to_thread(self._encoder.warm_up)
        await topics.require(self._settings)
        await self._follower.start()
        if (control := self._follower.current) is not None:
            self._models.follow(control)
        else:
            log.warning(
                "No model serves %s yet; waiting for one: penstock models use NAME@VERSION",
                self._settings.pipeline.name,
            )
        self.add_future(self._models.keep_loaded())
        self.add_future(self._follow_control())
        await self.wait(self._models.serves)

    async def on_stop(self) -> None:
        await self._follower.stop()
        await self._store.close()
        if self._repeats is not None:
            await self._repeats.stop()
        self._inference.shutdown()

    def _not_ready(self) -> str | None:
        if self._models.current is None:
            return "no model serves yet: penstock models use NAME@VERSION"
        if not self._partitions:
            return "no partition of the events topic is assigned to this worker"
        return None

    # What it says of itself.

    def _reading(self) -> OperationalReading | None:
        topic = self._settings.topics.events.name
        waited = [
            self._clock.age_ms(timestamp)
            for partition, timestamp in self._done.items()
            if partition in self._partitions and self._app.waits(TP(topic, partition))
        ]
        return self.metrics.tally.reading(now=now_ms(), partitions=self._partitions, behind_ms=max(waited, default=0))

    # The models, as the control record says.

    async def _follow_control(self) -> None:
        async for control in self._follower:
            self._models.follow(control)

    def _load(self, model: ModelRef) -> LoadedModel:
        return load_model(self._settings, model, past_tests=PastTests())

    # Partitions come and go.

    async def on_assigned(self, assigned: set[TP]) -> None:
        await self.brokers.know_of(assigned)
        if self._exactly_once is not None:
            await self._exactly_once.open(assigned, self._app.consumer_generation_id)
        if self._repeats is not None:
            self._repeats.assigned(assigned)
        await self.trials.assigned(assigned)
        self._partitions = sorted(tp.partition for tp in assigned)
        self.metrics.partitions.set(len(assigned))
        log.info("Scoring partitions %s", ", ".join(map(str, self._partitions)))

    async def on_revoked(self, revoked: set[TP]) -> None:
        self._partitions = []
        self.trials.revoked()
        self.metrics.partitions.set(0)
        if self._exactly_once is not None:
            await self._exactly_once.close()

    def _transactional(self, transactional_id: str) -> Any:
        return new_producer(self._kafka, client_id=self._app.conf.id, transactional_id=transactional_id)

    # The stages.

    async def take(self, stream: Any) -> None:
        """The agent: blocks from all partitions, as they come."""
        async for event in stream.noack().events():
            await self._windows.put(Arrival(event, event.value))

    @Service.task
    async def _prepare_windows(self) -> None:
        while not self.should_stop:
            arrivals = await self._windows.next()
            if self.trials.suspicious:
                await self._none_under_way.wait()
                for arrival in arrivals:
                    await self._try(arrival)
                continue
            await self.trials.starting((arrival.block, arrival.generation) for arrival in arrivals)
            stretches = list(by_partition(arrivals))
            self._under_way += 1
            self._none_under_way.clear()
            await self._prepared.put((stretches, await self._prepare(stretches)))

    @Service.task
    async def _score_windows(self) -> None:
        while not self.should_stop:
            stretches, window = await self._prepared.get()
            await self._scored.put((stretches, await self._score(window)))

    @Service.task
    async def _deliver_windows(self) -> None:
        while not self.should_stop:
            stretches, window = await self._scored.get()
            await self._outputs_are_noted()
            for stretch, made in zip(stretches, self._encoder.encode(window), strict=True):
                await self._delivery.deliver(stretch.outputs(made))
            self._observe(stretches, window)
            self._under_way -= 1
            if not self._under_way:
                self._none_under_way.set()

    async def _prepare(self, stretches: Sequence[Stretch]) -> Window:
        records = [record for stretch in stretches for record in stretch.records()]
        return await self._scoring.prepare([stretch.run for stretch in stretches], records)

    async def _score(self, window: Window) -> Window:
        serving = self._models.current
        if serving is None:
            raise RuntimeError("a block arrived before a model was loaded")
        return await self._answering.answer(window, serving)

    async def _outputs_are_noted(self) -> None:
        if self._repeats is not None:
            await self._repeats.noted()

    def _observe(self, stretches: Sequence[Stretch], window: Window) -> None:
        oldest = min(window.records[run.start].timestamp for run in window.runs)
        self.metrics.observe_latency(self._clock.age_s(oldest), rows=len(window.records))
        for stretch in stretches:
            last = stretch.arrivals[-1].block
            self._done[last.partition] = last.records[-1].timestamp

    async def _try(self, arrival: Arrival) -> None:
        """All stages for one block, while nothing else is under way: should the process die, it died of this."""
        block, generation, [stretch] = arrival.block, arrival.generation, list(by_partition([arrival]))
        if self.trials.given_up(block):
            window = self._scoring.give_up(stretch.run, block.records)
            [made] = self._encoder.encode(window)
        elif not await self.trials.begin(block, generation):
            return
        else:
            try:
                window = await self._score(await self._prepare([stretch]))
                [made] = self._encoder.encode(window)
            except Exception:
                await self.trials.survived(block, generation)
                raise
            await self.trials.survived(block, generation)
        await self._outputs_are_noted()
        await self.trials.commit(block, stretch.outputs(made))
        self._observe([stretch], window)


def _feature_store(settings: Settings) -> FeatureStore:
    catalogue, redis = settings.catalogue, settings.redis
    if not catalogue.looked_up_features:
        return NoFeatures()
    return RedisFeatureStore(
        catalogue,
        url=redis.url,
        username=redis.username,
        password=redis.password.get_secret_value() if redis.password else None,
        deadline_ms=redis.deadline_ms,
        cache_rows=redis.cache_rows,
        cache_ttl_s=redis.cache_ttl_s,
    )
