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
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from faust.types import TP
from mode import Service

from penstock.models.torch_runtime import load_runtime
from penstock.monitoring.metrics.score import ScoreMetrics
from penstock.schemas.json_events import JsonCodec
from penstock.schemas.operations import OperationalReading
from penstock.schemas.records import ModelRef
from penstock.streams import topics
from penstock.streams.admin import AdminServer
from penstock.streams.blocks import Block
from penstock.streams.control import ControlFollower
from penstock.streams.delivery import AtLeastOnce, Outputs
from penstock.streams.features.store import FeatureStore, NoFeatures, RedisFeatureStore
from penstock.streams.kafka import client_options
from penstock.streams.key_files import letter_key
from penstock.streams.readings import Readings, now_ms, worker_name
from penstock.streams.registry import registry_of
from penstock.streams.scoring.answering import Answering
from penstock.streams.scoring.automation import Automation
from penstock.streams.scoring.inference import Inference
from penstock.streams.scoring.outputs import Made, OutputEncoder
from penstock.streams.scoring.scoring import Run, Scoring, Window
from penstock.streams.scoring.serving import LoadedModel, Models
from penstock.streams.scoring.window import WindowLimits, Windows
from penstock.streams.settings import Settings
from penstock.streams.transactions import ExactlyOnce
from penstock.streams.transport import BlockApp, BlockSchema, new_producer

log = logging.getLogger("penstock.score")


class Arrival(NamedTuple):
    """A block with the Faust event that acknowledges it."""

    event: Any
    block: Block

    @property
    def rows(self) -> int:
        return self.block.rows

    @property
    def size(self) -> int:
        return self.block.size

    @property
    def followed(self) -> bool:
        return self.block.followed


class Stretch(NamedTuple):
    """A window's blocks of one partition, in order, and their place in the window's records."""

    run: Run
    generation: int
    arrivals: list[Arrival]


def install(app: BlockApp, settings: Settings) -> None:
    """Add the score role to an app."""
    role = ScoreRole(app, settings)
    app.start_first(role)
    app.before_assigned, app.after_revoked = role.on_assigned, role.on_revoked
    app.agent(app.topic(settings.topics.events.name, schema=BlockSchema()), name="score")(role.take)


class ScoreRole(Service):
    """Holds the models that serve and the stages between the agent and Kafka."""

    def __init__(self, app: BlockApp, settings: Settings) -> None:
        super().__init__()
        self._app, self._settings = app, settings
        self._kafka = client_options(settings.kafka)
        self.metrics = ScoreMetrics(settings.pipeline.name, worker=worker_name())
        self._readings = Readings(settings, self._reading)
        self._admin = AdminServer.of(settings.admin, "score", self.metrics, self._not_ready)
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
        self._delivery = self._exactly_once or AtLeastOnce(lambda: app.producer._producer, log=self._encoder.log)
        self._windows: Windows[Arrival] = Windows(
            WindowLimits(settings.window.max_rows, settings.window.max_bytes, settings.window.max_wait_ms / 1000)
        )
        self._prepared: asyncio.Queue[tuple[list[Stretch], Window]] = asyncio.Queue(1)
        self._scored: asyncio.Queue[tuple[list[Stretch], Window]] = asyncio.Queue(1)
        self._inference = Inference()
        self._models = Models(self._load, retire=self._inference.retire, metrics=self.metrics)
        self._answering = Answering(
            self._inference,
            self.metrics,
            queue_ms=settings.fallback.queue_ms,
            leave_ms=settings.fallback.leave_ms,
            hold_s=settings.fallback.hold_s,
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
        self._inference.shutdown()

    def _not_ready(self) -> str | None:
        if self._models.current is None:
            return "no model serves yet: penstock models use NAME@VERSION"
        if not self._partitions:
            return "no partition of the events topic is assigned to this worker"
        return None

    # What it says of itself.

    def _reading(self) -> OperationalReading | None:
        now, topic = now_ms(), self._settings.topics.events.name
        waited = [
            now - timestamp
            for partition, timestamp in self._done.items()
            if partition in self._partitions and self._app.waits(TP(topic, partition))
        ]
        return self.metrics.tally.reading(now=now, partitions=self._partitions, behind_ms=max(waited, default=0))

    # The models, as the control record says.

    async def _follow_control(self) -> None:
        async for control in self._follower:
            self._models.follow(control)

    def _load(self, model: ModelRef) -> LoadedModel:
        return load_runtime(
            registry_of(self._settings).path(model),
            self._settings.catalogue,
            device=self._settings.models.device,
            max_rows=self._settings.window.max_rows,
            trusted=self._settings.trusted_keys,
        )

    # Partitions come and go.

    async def on_assigned(self, assigned: set[TP]) -> None:
        if self._exactly_once is not None:
            await self._exactly_once.open(assigned, self._app.consumer_generation_id)
        self._partitions = sorted(tp.partition for tp in assigned)
        self.metrics.partitions.set(len(assigned))
        log.info("Scoring partitions %s", ", ".join(map(str, self._partitions)))

    async def on_revoked(self, revoked: set[TP]) -> None:
        self._partitions = []
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
            stretches = list(_stretches(await self._windows.next()))
            records = [record for stretch in stretches for a in stretch.arrivals for record in a.block.records]
            window = await self._scoring.prepare([stretch.run for stretch in stretches], records)
            await self._prepared.put((stretches, window))

    @Service.task
    async def _score_windows(self) -> None:
        while not self.should_stop:
            stretches, window = await self._prepared.get()
            serving = self._models.current
            if serving is None:
                raise RuntimeError("a block arrived before a model was loaded")
            await self._scored.put((stretches, await self._answering.answer(window, serving)))

    @Service.task
    async def _deliver_windows(self) -> None:
        while not self.should_stop:
            stretches, window = await self._scored.get()
            for stretch, made in zip(stretches, self._encoder.encode(window), strict=True):
                await self._delivery.deliver(_outputs(stretch, made))
            oldest = min(window.records[run.start].timestamp for run in window.runs)
            self.metrics.observe_latency(time.time() - oldest / 1000, rows=len(window.records))
            for stretch in stretches:
                last = stretch.arrivals[-1].block
                self._done[last.partition] = last.records[-1].timestamp


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


def _stretches(arrivals: Sequence[Arrival]) -> Iterator[Stretch]:
    """Blocks of one partition and generation together, in order, so that each partition's outputs go out as one."""
    together: dict[tuple[str, int, int], list[Arrival]] = {}
    for arrival in arrivals:
        key = (arrival.block.topic, arrival.block.partition, arrival.event.message.generation_id)
        together.setdefault(key, []).append(arrival)
    start = 0
    for (topic, partition, generation), members in together.items():
        stop = start + sum(arrival.rows for arrival in members)
        yield Stretch(Run(topic, partition, start, stop), generation, members)
        start = stop


def _outputs(stretch: Stretch, made: Made) -> Outputs:
    def acknowledge() -> None:
        for arrival in stretch.arrivals:
            arrival.event.ack()

    return Outputs(
        tp=TP(stretch.run.topic, stretch.run.partition),
        records=made.records,
        next_offset=stretch.arrivals[-1].block.next_offset,
        generation=stretch.generation,
        acknowledge=acknowledge,
        scored=made.scored,
    )
