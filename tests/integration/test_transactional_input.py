"""An input topic that is written in transactions: what was aborted never happened."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from pipelines import Kafka, MakeProject, Project, Witness, until
from traffic import check_order, check_scores, decoded, event, producing, repeats

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 2
PER_TRANSACTION = 50


async def transaction(producer: AIOKafkaProducer, topic: str, first: int, *, commits: bool) -> set[str]:
    """`PER_TRANSACTION` events from number `first` on, in one transaction; the ids of those that are committed."""
    numbers = range(first, first + PER_TRANSACTION)
    await producer.begin_transaction()
    confirmations = [
        await producer.send(topic, event(n), b"e%d" % n, partition=n % PARTITIONS, headers=[]) for n in numbers
    ]
    for confirmation in confirmations:
        await confirmation
    await (producer.commit_transaction() if commits else producer.abort_transaction())
    return {f"e{n}" for n in numbers} if commits else set()


async def left_to_read(servers: list[str], project: Project) -> list[ConsumerRecord]:
    """What a new member of the worker's group would read: from the committed offsets to the end of the log."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        group_id=f"{project.settings.pipeline.name}.score",
        isolation_level="read_committed",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(project.settings.topics.events.name, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        for partition in partitions:
            assert await consumer.committed(partition) is not None
        ends = await consumer.end_offsets(partitions)
        records = []
        async with asyncio.timeout(30):
            while any([await consumer.position(partition) < end for partition, end in ends.items()]):
                for batch in (await consumer.getmany(timeout_ms=100)).values():
                    records += batch
        return records
    finally:
        await consumer.stop()


async def test_only_committed_events_are_predicted_and_a_restart_predicts_nothing_again(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    modes = ("at_least_once", "exactly_once")
    await asyncio.gather(*(read_and_restart(mode, kafka, project_named, witness) for mode in modes))


async def read_and_restart(mode: str, kafka: Kafka, project_named: MakeProject, witness: Witness) -> None:
    project = await project_named(f"transactional-{mode.replace('_', '-')}", mode=mode, partitions=PARTITIONS)
    events, predictions = project.settings.topics.events.name, project.settings.topics.predictions.name
    expected: set[str] = set()
    async with producing(kafka.servers, transactional_id=f"{events}-source") as source:
        for number in range(20):
            expected |= await transaction(source, events, number * PER_TRANSACTION, commits=number % 3 != 1)
        first = project.start_worker()
        await witness.read(predictions, lambda seen: len(seen) >= len(expected), timeout_s=60)
        # While it waits at the markers, and one partition's log ends with what was aborted:
        for number in range(20, 26):
            expected |= await transaction(source, events, number * PER_TRANSACTION, commits=number % 3 != 1)
        await until(lambda: first.metric("penstock_predictions_total") >= len(expected), "all are predicted")
        assert await first.stopped() == 0, first.said

        second = project.start_worker()
        await until(lambda: second.owns == {0, 1}, "it goes on")
        expected |= await transaction(source, events, 26 * PER_TRANSACTION, commits=True)
    records = await witness.read(predictions, lambda seen: len(seen) >= len(expected), timeout_s=30)
    assert await second.stopped() == 0, second.said

    found = decoded(records)
    assert {prediction["id"] for prediction in found} == expected
    assert repeats(found) == 0
    check_scores(found, {1: 1.0})
    check_order(records)
    assert await left_to_read(kafka.servers, project) == []
