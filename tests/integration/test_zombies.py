"""Workers that stand still until others have their partitions, and wake up again: nobody hears twice of them."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from pipelines import Kafka, MakeProject, Witness, Worker, until
from traffic import Traffic, check_order, check_scores, decoded, flowing, once, repeats

from penstock.schemas.records import SCHEMA_HEADER
from penstock.schemas.summaries import SUMMARY_SCHEMA, Summary, decode_summary
from penstock.streams.delivery import FAILED

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 4
WATCH_OFTEN = """
    [watch]
    segment_rows = 32
    segment_max_s = 1
    max_out_of_order_s = 0
    checkpoint_s = 0.2
"""


async def stand_still(
    sleeper: Worker, heir: Worker, taken_over: Callable[[], bool], works: Callable[[], float]
) -> None:
    """Until its partitions are its heir's, and for as long as that needs to go on with them; then it wakes up."""
    sleeper.process.send_signal(signal.SIGSTOP)
    await until(taken_over, "the partitions of the sleeper are taken over")
    before = works()
    await until(lambda: works() > before + 100, "the heir goes on with them")
    sleeper.process.send_signal(signal.SIGCONT)
    await until(
        lambda: sleeper.process.poll() is not None or not taken_over(), "the sleeper ends, or joins again", timeout_s=30
    )
    before = works()
    await until(lambda: works() > before + 100, "the heir goes on, whatever the sleeper did")
    assert heir.process.poll() is None, heir.said


@asynccontextmanager
async def committed(kafka: Kafka, group: str) -> AsyncIterator[dict[TopicPartition, list[int]]]:
    """What the group commits while the block runs: each partition's offsets, as often as they are looked at."""
    found: dict[TopicPartition, list[int]] = defaultdict(list)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.servers)
    await admin.start()

    async def look() -> None:
        while True:
            for place, offset in (await admin.list_consumer_group_offsets(group)).items():
                found[place].append(offset.offset)
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    try:
        yield found
    finally:
        looking.cancel()
        await asyncio.wait([looking])
        await admin.close()


async def test_who_wakes_up_after_its_partitions_were_given_away_is_heard_no_more(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    """Both modes side by side: most of the time goes into waiting for workers to start and for sessions to end."""
    modes = ("at_least_once", "exactly_once")
    async with asyncio.TaskGroup() as both:
        for mode in modes:
            both.create_task(workers_that_stand_still(mode, kafka, project_named, witness))


async def workers_that_stand_still(mode: str, kafka: Kafka, project_named: MakeProject, witness: Witness) -> None:
    name = f"zombies-{mode.replace('_', '-')}"
    project = await project_named(name, mode=mode, partitions=PARTITIONS, more=WATCH_OFTEN)
    topics, everything = project.settings.topics, set(range(PARTITIONS))
    sleeper, heir = project.start_worker(), project.start_worker()
    watchers = [project.start_worker("watch"), project.start_worker("watch")] if mode == "exactly_once" else []
    async with (
        flowing(kafka.servers, topics.events.name, partitions=PARTITIONS, per_second=300) as traffic,
        committed(kafka, f"{name}.score") as offsets,
    ):
        await until(
            lambda: sleeper.owns and heir.owns and sleeper.owns | heir.owns == everything,
            "both score",
            timeout_s=120,
        )
        await until(lambda: sleeper.metric("penstock_predictions_total") > 100, "the sleeper scores")
        still = [
            stand_still(
                sleeper, heir, lambda: heir.owns == everything, lambda: heir.metric("penstock_predictions_total")
            )
        ]
        if watchers:
            still.append(watchers_stand_still(*watchers))
        asleep = len(traffic.sent)
        await asyncio.gather(*still)
        awake = len(traffic.sent)
    doubled = await check_predictions(traffic, topics.predictions.name, witness, offsets, mode)
    assert doubled < (awake - asleep) / 4, "who wakes up scores little of what came to its partitions meanwhile"
    if mode == "at_least_once":
        assert sleeper.process.poll() is None, sleeper.said
    else:
        await check_summaries(traffic, topics.summaries.name, witness)
        for zombie in (sleeper, watchers[0]):
            assert zombie.process.poll() in (None, FAILED), zombie.said
            assert zombie.process.poll() is None or "Another worker has its partitions now" in zombie.said
    joined = [worker.process.poll() is None for worker in (sleeper, *watchers[:1])]
    print(f"{mode}: the sleepers {', '.join('joined again' if each else 'ended' for each in joined)}")
    for worker in (*watchers, sleeper, heir):
        if worker.process.poll() is None:
            assert await worker.stopped() == 0, worker.said


async def watchers_stand_still(sleeper: Worker, heir: Worker) -> None:
    def partitions(worker: Worker) -> float:
        return worker.metric("penstock_partitions") if "Admin at" in worker.said else 0

    await until(lambda: partitions(sleeper) == partitions(heir) == PARTITIONS / 2, "both watch", timeout_s=120)
    await until(lambda: sleeper.metric("penstock_watched_rows_total") > 100, "the sleeper watches")
    await stand_still(
        sleeper,
        heir,
        lambda: partitions(heir) == PARTITIONS,
        lambda: heir.metric("penstock_watched_rows_total"),
    )


async def check_predictions(
    traffic: Traffic, topic: str, witness: Witness, offsets: Mapping[TopicPartition, Sequence[int]], mode: str
) -> int:
    """How many of them are repeats."""
    records = await witness.read(topic, lambda seen: len({r.key for r in seen}) >= len(traffic.sent), timeout_s=60)
    found = decoded(records)
    check_scores(found, {1: 1.0})
    assert {prediction["id"] for prediction in found} == traffic.ids
    assert Counter(prediction["id"] for prediction in once(found)) == Counter(traffic.ids)
    for place, seen in offsets.items():
        assert list(seen) == sorted(seen), f"nobody commits {place} over who has it now"
    if mode == "exactly_once":
        check_order(records)
        assert repeats(found) == 0
    print(f"{mode}: {len(traffic.sent)} events, lost 0, doubled {repeats(found)}")
    return repeats(found)


async def check_summaries(traffic: Traffic, topic: str, witness: Witness) -> None:
    """Each row is in one of them."""
    records = await witness.read(topic, lambda seen: rows_of(summaries(seen)) >= len(traffic.sent), timeout_s=60)
    found = summaries(records)
    assert rows_of(found) == len(traffic.sent)
    for partition in range(PARTITIONS):
        parts = [part for part in found if part.partition == partition]
        assert all(after.first_offset > before.last_offset for before, after in pairwise(parts))


def summaries(records: Sequence[ConsumerRecord]) -> list[Summary]:
    return [decode_summary(r.value, r.headers) for r in records if dict(r.headers)[SCHEMA_HEADER] == SUMMARY_SCHEMA[1]]


def rows_of(found: Sequence[Summary]) -> int:
    return sum(summary.rows for summary in found)
