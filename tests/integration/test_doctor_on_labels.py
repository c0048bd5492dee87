"""Doctor sees when labels do not lie where their events do, and what mends it."""

from __future__ import annotations

import pytest
from pipelines import Kafka, MakeProject
from traffic import event, producing

from penstock.streams import doctor
from penstock.streams.partitioners import Partitioner, partition_of

pytestmark = [pytest.mark.kafka]

PARTITIONS, KEYS = 2, 30


async def test_labels_by_another_partitioner_than_the_events_are_found(
    kafka: Kafka, project_named: MakeProject
) -> None:
    project = await project_named("doctor-labels", mode="at_least_once", partitions=PARTITIONS, serves=False)
    settings = project.settings
    async with producing(kafka.servers) as producer:

        async def write(topic: str, partitioner: Partitioner) -> None:
            for number in range(KEYS):
                key = b"k%d" % number
                await producer.send(topic, event(number), key, partition=partition_of(key, PARTITIONS, partitioner))
            await producer.flush()

        await write(settings.topics.events.name, "murmur2")
        [nothing] = await doctor.labels(settings, 10)
        assert (nothing.state, nothing.detail) == ("passed", "no contradiction to the events")
        await write(settings.topics.labels.name, "crc32")
    [found] = await doctor.labels(settings, 10)
    assert found.state == "failed"
    assert "keyed by crc32, but the events by murmur2" in found.detail
    assert 'labels.partitioner = "murmur2"' in found.fix
    declared = settings.model_copy(update={"labels": settings.labels.model_copy(update={"partitioner": "murmur2"})})
    [mended] = await doctor.labels(declared, 10)
    assert mended.state == "passed"
