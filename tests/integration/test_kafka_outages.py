"""What a score worker does while brokers, or one of its topics, are gone, and afterwards."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from pipelines import Kafka, MakeProject, Project, Witness, Worker, make_project, until
from traffic import decoded, event, flowing, producing, repeats

from penstock.streams import topics
from penstock.streams.embedded import EmbeddedKafka

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROOM_BYTES = 2 << 20
PADDING = "x" * 20_000
"""Of each event, so that few of them fill a disk."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(tmp_path / "brokers", brokers=3, heap_mb=256) as brokers:
        yield brokers


@pytest.fixture
async def on_cluster(cluster: EmbeddedKafka, tmp_path: Path) -> AsyncIterator[Project]:
    project = await make_project(tmp_path / "outage", cluster.servers, "outage", mode="exactly_once", replicas=3)
    yield project
    project.close()


@asynccontextmanager
async def admin(servers: list[str]) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=servers)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def test_brokers_that_are_lost_are_waited_for_and_nothing_is_lost_or_doubled(
    cluster: EmbeddedKafka, on_cluster: Project
) -> None:
    project, names = on_cluster, on_cluster.settings.topics
    worker = project.start_worker()
    worker.wait_until_it_scores()
    async with admin(cluster.servers) as client:
        coordinator = await client.find_coordinator("outage.score")

    async with flowing(cluster.servers, names.events.name, partitions=2, per_second=200) as traffic:
        await until(lambda: worker.metric("penstock_predictions_total") > 0, "it scores")
        cluster.kill(coordinator)
        scored = worker.metric("penstock_predictions_total")
        await until(lambda: worker.metric("penstock_predictions_total") > scored + 200, "it goes on with two")

        for broker in {0, 1, 2} - {coordinator}:
            cluster.kill(broker)
        await until(lambda: worker.get("/readyz")[0] == 503, "it is not ready without brokers")
        assert "is lost: no broker answers" in worker.get("/readyz")[1]
        assert worker.metric("penstock_kafka_up") == 0
        cluster.restart(0, 1, 2)
        await until(lambda: worker.get("/readyz")[0] == 200, "it is ready again")
    predictions = await Witness(cluster.servers).read(
        names.predictions.name, lambda seen: len(seen) >= len(traffic.sent), timeout_s=60
    )

    said = decoded(predictions)
    assert ({each["id"] for each in said}, repeats(said)) == (traffic.ids, 0)
    assert worker.metric("penstock_kafka_outage_seconds_total") > 0
    assert worker.said.count("is lost: no broker answers") == worker.said.count("is back after") == 1

    for broker in range(3):
        cluster.kill(broker)
    await until(lambda: worker.get("/readyz")[0] == 503, "they are lost again")
    assert await worker.stopped() == 0, "no stop waits for brokers"
    assert "Traceback" not in worker.said


async def test_a_disk_that_is_full_ends_the_broker_and_with_room_again_nothing_is_lost_or_doubled(
    tmp_path: Path,
) -> None:
    """A limit on the size of the broker's files stands for the disk."""
    with EmbeddedKafka(tmp_path / "broker") as broker:
        project = await make_project(tmp_path / "full", broker.servers, "full", mode="exactly_once")
        names, worker = project.settings.topics, project.start_worker()
        try:
            worker.wait_until_it_scores()
            async with flowing(
                broker.servers, names.events.name, partitions=2, per_second=50, padding=PADDING
            ) as traffic:
                await until(lambda: worker.metric("penstock_predictions_total") > 0, "it scores")
                [pid] = broker.pids()
                largest = max(file.stat().st_size for file in broker.directory.rglob("*.log"))
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest + ROOM_BYTES, hard))
                await until(broker.ended, "the broker ends")
                assert "File too large" in broker.ended()[0]
                await until(lambda: worker.get("/readyz")[0] == 503, "it is not ready without the broker")
                broker.restart(0)
                await until(lambda: worker.get("/readyz")[0] == 200, "it is ready again")
            predictions = await Witness(broker.servers).read(
                names.predictions.name, lambda seen: len(seen) >= len(traffic.sent), timeout_s=60
            )
            said = decoded(predictions)
            assert ({each["id"] for each in said}, repeats(said)) == (traffic.ids, 0)
            assert worker.said.count("is lost: no broker answers") == worker.said.count("is back after") == 1
            assert worker.stop() == 0, worker.said
        finally:
            project.close()


async def test_new_partitions_wait_for_those_of_the_outputs_and_a_missing_topic_ends_the_worker_until_it_is_made(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    project = await project_named("reshaped", mode="exactly_once")
    events, predictions = project.settings.topics.events.name, project.settings.topics.predictions.name
    worker = project.start_worker()
    worker.wait_until_it_scores()

    async def predicted(count: int) -> set[str]:
        records = await witness.read(predictions, lambda seen: len(seen) >= count, timeout_s=60)
        return {prediction["id"] for prediction in decoded(records)}

    async with admin(kafka.servers) as client:
        await client.create_partitions({events: NewPartitions(3)})
    await until(lambda: worker.owns == {0, 1, 2}, "it is given the new partition")
    async with producing(kafka.servers) as producer:
        for number in range(3):
            await producer.send_and_wait(events, event(number), b"e%d" % number, partition=number)
    assert await predicted(2) == {"e0", "e1"}
    too_few = f"The topic {predictions} has 2 of the 3 partitions of {events}. Add the others with `penstock topics"
    assert worker.get("/readyz")[1].startswith(too_few)
    assert worker.metric("penstock_held_partitions") == 1
    await topics.create(project.settings)
    assert await predicted(3) == {"e0", "e1", "e2"}

    await ends_without(predictions, worker, kafka)
    await topics.create(project.settings)
    worker = project.start_worker()
    worker.wait_until_it_scores()

    await ends_without(events, worker, kafka)
    async with admin(kafka.servers) as client:
        await client.delete_topics([project.settings.topics.state.name])
    await topics.create(project.settings)
    worker = project.start_worker()
    worker.wait_until_it_scores()
    async with producing(kafka.servers) as producer:  # at the offset of an event that was scored in its former life
        await producer.send_and_wait(events, event(7), b"e7", partition=0)
    assert await predicted(1) == {"e7"}, "what the predictions' topic held went with it"
    assert worker.stop() == 0, worker.said


async def ends_without(topic: str, worker: Worker, kafka: Kafka) -> None:
    """Deletes the topic; the worker names it, and ends."""
    async with admin(kafka.servers) as client:
        await client.delete_topics([topic])
    await until(lambda: worker.process.poll() is not None, "it ends")
    assert worker.process.returncode == 3, worker.said
    assert worker.said.endswith(f"The topic {topic} does not exist. Create it with `penstock topics create`.\n")
