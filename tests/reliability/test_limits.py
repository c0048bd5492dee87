"""What a worker holds has limits, and what makes it slow slows its fetching alone: the group keeps it.

One worker has a backlog of events that are large once they are unpacked, and a broker that takes its outputs slowly;
another has a model that computes for longer than the group's session lasts.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from kafka_users import limit_producer
from pipelines import Kafka, MakeProject, Witness, Worker
from traffic import event, producing

from penstock.streams.app import SESSION_TIMEOUT_S
from penstock.streams.transport.options import IN_FLIGHT_WINDOWS

LARGE, WINDOW = 1_000_000, 1 << 20
BACKLOG = 300
SLOWLY = 500_000
"""Bytes per second that the broker takes from the slow worker."""
LONGER_S = SESSION_TIMEOUT_S + 1.5
STUCK = 4.25
"""The feature at which the model computes for so long."""

SLEEPING = f"""
import time

def forward(self, x, at_once=Sum.forward):
    if (x == {STUCK}).any():
        time.sleep({LONGER_S})
    return at_once(self, x)

Sum.forward = forward
"""

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


async def test_neither_a_backlog_of_large_events_nor_a_slow_sink_costs_memory_or_membership(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    project = await project_named(
        "large", mode="exactly_once", max_bytes=LARGE + 100_000, more=f"[window]\nmax_bytes = {WINDOW}\n"
    )
    topics, group = project.settings.topics, "large.score"
    worker = project.start_worker()
    worker.wait_until_it_scores()
    members = await members_of(group, kafka.servers)
    forget_the_peak(worker)
    before = peak(worker)

    limit_producer(kafka.servers[0], group, SLOWLY)
    async with producing(kafka.servers, compression_type="gzip") as producer:
        for number in range(BACKLOG):  # a thousandth of their size as they travel, and each a dead letter
            await producer.send(topics.events.name, b"%d" % number + b"x" * LARGE, partition=number % 2)
    await asyncio.sleep(LONGER_S)
    assert worker.metric("penstock_dead_letters_total") < BACKLOG, "the sink is slower than this"
    assert await members_of(group, kafka.servers) == members, "it was expelled"

    limit_producer(kafka.servers[0], group, None)
    letters = await witness.read(topics.dead_letters.name, lambda seen: len(seen) >= BACKLOG, timeout_s=150)
    assert sorted(int(bytes(letter.value).rstrip(b"x")) for letter in letters) == list(range(BACKLOG))
    held = peak(worker) - before
    assert held < 3 * (1 + IN_FLIGHT_WINDOWS) * (WINDOW + LARGE), f"{held / 1e6:.0f} MB more than without events"
    assert await members_of(group, kafka.servers) == members
    assert await worker.stopped() == 0, worker.said


async def test_a_model_that_is_slower_than_the_session_does_not_get_its_worker_expelled(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    project = await project_named("pondering", mode="at_least_once")
    with (project.settings.directory / "summing.py").open("a") as network:
        network.write(SLEEPING)
    topics, group = project.settings.topics, "pondering.score"
    worker = project.start_worker()
    worker.wait_until_it_scores()
    members = await members_of(group, kafka.servers)
    async with producing(kafka.servers) as producer:
        stuck = {"id": "stuck", "features": {"x0": STUCK, "x1": 0, "x2": 0, "x3": 0}}
        await producer.send_and_wait(topics.events.name, json.dumps(stuck).encode(), partition=0)
        await producer.send_and_wait(topics.events.name, event(1), partition=1)
    predictions = await witness.read(topics.predictions.name, lambda seen: len(seen) >= 2, timeout_s=60)
    assert len(predictions) == 2
    assert await members_of(group, kafka.servers) == members, "it was expelled"
    assert len(re.findall("Scoring partitions", worker.said)) == 1, worker.said
    assert await worker.stopped() == 0, worker.said


async def members_of(group: str, servers: list[str]) -> set[str]:
    """A member that was expelled comes back under another id."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        [answer] = await admin.describe_consumer_groups([group])
    finally:
        await admin.close()
    [(_, _, state, _, _, members, *_)] = answer.groups
    assert state == "Stable", state
    return {str(member[0]) for member in members}


def forget_the_peak(worker: Worker) -> None:
    Path(f"/proc/{worker.process.pid}/clear_refs").write_text("5")


def peak(worker: Worker) -> int:
    """The most bytes that were resident since `forget_the_peak`."""
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker.process.pid}/status").read_text())
    return int(kilobytes) * 1024
