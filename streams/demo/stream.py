"""The demo's stream: sends the traffic, reads what comes out, and waits until every record has come to something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from penstock.schemas.records import Label
from penstock.streams import kafka
from penstock.streams.demo.findings import Findings, find_out
from penstock.streams.demo.ledger import Account, Ledger
from penstock.streams.demo.lookups import Lookups
from penstock.streams.demo.models import Model
from penstock.streams.demo.outcomes import Outcomes
from penstock.streams.demo.replay import PRODUCER_OPTIONS, Replay
from penstock.streams.demo.report import Stretches
from penstock.streams.demo.story import story
from penstock.streams.demo.traffic import Traffic
from penstock.streams.demo.trials import Trials
from penstock.streams.demo.worker import Workers
from penstock.streams.features.writer import FeatureWriter
from penstock.streams.settings import Settings

PACED_EVENTS = 10_000
PACED_EVENTS_PER_S = 5_000
"""Sent as fast as it goes, latency would be that of a backlog. So the last events go at an even pace, and only these
are timed."""

STALL_S = 60.0
"""Records without an outcome are called lost when nothing at all has come out for so long."""


@dataclass(frozen=True)
class Material:
    """All that the stream is made of."""

    traffic: Traffic
    labels: list[Label]
    lookups: Lookups


def stretches(records: int, speed_up: float | None) -> Stretches:
    """How the records are sent."""
    if speed_up is not None:
        return Stretches(0, f"replayed at {speed_up:g}× the speed of time")
    paced = min(PACED_EVENTS, records // 5)
    return Stretches(records - paced, f"last {paced:,} events at {PACED_EVENTS_PER_S:,}/s")


async def stream(
    settings: Settings,
    material: Material,
    workers: Workers,
    candidates: Sequence[Model],
    *,
    speed_up: float | None,
    keep: bool,
    say: Callable[[str], None],
    sent: Callable[[int], None],
) -> tuple[Account, Findings, Stretches]:
    """Send everything, try the candidates on the way, account for it, and see what watch and judge make of it; and say
    how it was sent.

    `say` hears of each phase, `sent` of each stretch of records.

    Unless told to `keep` them, the workers are stopped at the end, so that what they still had in hand counts too.
    Raises WorkerFailed, UnreachableError.
    """
    topics, total = settings.topics, len(material.traffic)
    plan = stretches(total, speed_up)

    def progress(records: int) -> None:
        workers.check()
        sent(records)

    async with (
        kafka.consumer(settings.kafka, max_partition_fetch_bytes=4 << 20) as consumer,
        kafka.consumer(settings.kafka, fetch_max_wait_ms=100) as trail,
        kafka.producer(settings.kafka, **PRODUCER_OPTIONS) as producer,
        _writer(settings) as writer,
    ):
        outcomes = Outcomes(consumer, topics)
        await outcomes.start()
        events = await kafka.partitions(consumer, topics.events.name)
        ends = await kafka.end_offsets(consumer, events)
        ledger = Ledger([ends[tp] for tp in events])
        replay = Replay(
            material.traffic, material.labels, material.lookups,
            topics=topics, partitions=len(events), producer=producer, writer=writer, ledger=ledger,
        )  # fmt: skip
        trials = Trials(settings, workers, candidates, material.traffic, replay, trail, say=say)
        say("Waiting for the score worker to load its model")
        await workers.wait_until_ready()
        async with _reading(outcomes, ledger, workers) as settled:
            say("Replaying March to December")
            if plan.paced_from:
                await trials.run(plan.paced_from, speed_up=None, progress=progress, settled=settled)
                await settled()
                say("Letting watch and judge catch up")
                await workers.wait_until_idle()
                say(f"Measuring latency: the {plan.pace}")
                await replay.run_at_rate(plan.paced_from, total, events_per_s=PACED_EVENTS_PER_S, progress=progress)
            else:
                await trials.run(total, speed_up=speed_up, progress=progress, settled=settled)
            say("Waiting for the last predictions")
            await settled()
            await replay.finish(maturity_ms=int(settings.labels.maturity_s * 1000))
            say("Waiting for what watch and judge find")
            findings = await find_out(settings, ledger.predicted_records, workers.check)
            findings.story += story(findings.decisions, trials.proposed)
        if not keep:
            say("Stopping the workers")
            await asyncio.to_thread(workers.stop)
        await outcomes.read_to_the_end(ledger)
    return ledger.account(), findings, replace(plan, free_from=trials.free_from)


@asynccontextmanager
async def _writer(settings: Settings) -> AsyncIterator[FeatureWriter]:
    writer = FeatureWriter(settings.redis.url)
    try:
        yield writer
    finally:
        await writer.close()


@asynccontextmanager
async def _reading(
    outcomes: Outcomes, ledger: Ledger, workers: Workers
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Reads in the background; gives a function that waits until every record sent has come to something."""

    async def read() -> None:
        while True:
            await outcomes.read(ledger)

    async def until_settled() -> None:
        loop, seen = asyncio.get_running_loop(), ledger.settled
        stalled_at = loop.time() + STALL_S
        while ledger.outstanding and loop.time() < stalled_at:
            await asyncio.wait([reading], timeout=0.02)
            if reading.done():
                reading.result()
            workers.check()
            if ledger.settled > seen:
                seen, stalled_at = ledger.settled, loop.time() + STALL_S

    reading = asyncio.create_task(read())
    try:
        yield until_settled
    finally:
        reading.cancel()
        await asyncio.wait([reading])
