"""Workers join, stop and die while events flow."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import ConsumerRecord
from pipelines import Kafka, MakeProject, Witness, Worker, until
from traffic import Traffic, check_scores, decoded, flowing, longest_pause_s, repeats

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ALL = {0, 1, 2, 3}


async def shared_by(*workers: Worker) -> None:
    """Until these workers own all partitions, each at least one."""
    for worker in workers:
        assert worker.process.poll() is None, worker.said
    await until(
        lambda: all(worker.owns for worker in workers) and set.union(*(worker.owns for worker in workers)) == ALL,
        "all partitions are shared by those who live",
    )


async def predicted(worker: Worker, more: int = 200) -> None:
    """Until `worker` has scored some more."""
    before = worker.metric("penstock_predictions_total")
    await until(lambda: worker.metric("penstock_predictions_total") >= before + more, "it scores on")


async def test_workers_that_join_stop_and_die_lose_nothing(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    """Both modes side by side: most of the time goes into waiting for workers to start and for sessions to end."""
    modes = ("at_least_once", "exactly_once")
    await asyncio.gather(*(workers_that_come_and_go(mode, kafka, project_named, witness) for mode in modes))


async def workers_that_come_and_go(mode: str, kafka: Kafka, project_named: MakeProject, witness: Witness) -> None:
    project = await project_named(f"scaling-{mode.replace('_', '-')}", mode=mode, partitions=4)
    topics = project.settings.topics
    steady = project.start_worker()
    async with flowing(kafka.servers, topics.events.name, partitions=4, per_second=400) as traffic:
        await shared_by(steady)
        await predicted(steady)
        stopping = project.start_worker()
        await shared_by(steady, stopping)
        await predicted(stopping)
        dying = project.start_worker()
        await until(lambda: "serves from now on" in dying.said, "one more is about to join")
        assert await stopping.stopped() == 0, stopping.said
        await shared_by(steady, dying)
        await predicted(dying)

    orderly = await predictions_of(traffic, topics.predictions.name, witness)
    assert repeats(decoded(orderly)) == 0, "joining and stopping, at the same moment too, double nothing"

    numbered = traffic.sent[-1] + 1
    async with flowing(kafka.servers, topics.events.name, partitions=4, per_second=400, first=numbered) as later:
        await predicted(dying)
        dying.kill()
        await until(lambda: steady.owns == ALL, "the partitions of the dead worker are taken over")
        await predicted(steady)
    traffic.sent += later.sent
    records = await predictions_of(traffic, topics.predictions.name, witness)

    found = decoded(records)
    assert {prediction["id"] for prediction in found} == traffic.ids
    check_scores(found, {1: 1.0})
    with_one_dead = [record for record in records if int(record.key[1:]) >= numbered]
    if mode == "exactly_once":
        assert repeats(found) == 0
    print(
        f"{mode}: {len(traffic.sent)} events, lost 0, doubled {repeats(found)}; longest pause of a partition "
        f"{longest_pause_s(orderly):.2f} s in joins and stops, {longest_pause_s(with_one_dead):.2f} s at a death"
    )
    assert await steady.stopped() == 0, steady.said


async def test_a_static_worker_that_is_restarted_moves_no_partition(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    project = await project_named("static", mode="exactly_once", partitions=4)
    topics = project.settings.topics
    staying, restarted = (project.start_worker(PENSTOCK_KAFKA__INSTANCE_ID=name) for name in ("a", "b"))
    await until(
        lambda: staying.owns and restarted.owns and staying.owns ^ restarted.owns == ALL, "each of them owns its own"
    )
    before, theirs = staying.said.count("Scoring partitions"), restarted.owns
    async with flowing(kafka.servers, topics.events.name, partitions=4, per_second=200) as traffic:
        await predicted(restarted)
        assert await restarted.stopped() == 0, restarted.said
        restarted = project.start_worker(PENSTOCK_KAFKA__INSTANCE_ID="b")
        await until(lambda: restarted.owns, "it is there again")
        await predicted(restarted)
    assert restarted.owns == theirs
    assert staying.said.count("Scoring partitions") == before, "the other one notices nothing"

    records = await predictions_of(traffic, topics.predictions.name, witness)
    found = decoded(records)
    assert ({prediction["id"] for prediction in found}, repeats(found)) == (traffic.ids, 0)
    pauses = [longest_pause_s([r for r in records if r.partition in owned]) for owned in (theirs, ALL - theirs)]
    print(f"static: longest pause of a partition {pauses[0]:.2f} s at the restart, {pauses[1]:.2f} s elsewhere")
    assert pauses[1] < pauses[0] < 30, "served again by the restart, not when its session had ended"
    assert await staying.stopped() == 0, staying.said


async def predictions_of(traffic: Traffic, topic: str, witness: Witness) -> list[ConsumerRecord]:
    return await witness.read(topic, lambda seen: len({r.key for r in seen}) >= len(traffic.sent), timeout_s=40)
