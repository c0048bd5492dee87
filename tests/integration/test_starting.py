"""How a worker starts when something is not there yet, and how it says that something is wrong."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from pipelines import Kafka, MakeProject, Project, Witness, Worker, until
from traffic import event, producing

from penstock.schemas.records import ModelRef
from penstock.streams.control import use_champion

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


async def test_a_worker_without_a_model_waits_for_one_and_then_serves_without_a_restart(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    project = await project_named("waiting", mode="exactly_once", serves=False)
    topics = project.settings.topics
    async with producing(kafka.servers) as producer:
        await producer.send_and_wait(topics.events.name, event(1), b"e1", partition=0)
    stopping, staying = project.start_worker(), project.start_worker()

    await until(
        lambda: all("waiting for one" in worker.said for worker in (stopping, staying)), "both wait for a model"
    )
    for worker in (stopping, staying):
        assert worker.get("/healthz") == (200, "alive\n")
        assert worker.get("/readyz") == (503, "no model serves yet: penstock models use NAME@VERSION\n")
    assert stopping.stop() == 0, stopping.said

    await use_champion(project.settings, ModelRef("sum", 1), author="test", reason="the first")
    records = await witness.read(topics.predictions.name, lambda seen: len(seen) == 1, timeout_s=30)
    assert records[0].key == b"e1"
    assert staying.get("/readyz") == (200, "ready\n")
    assert staying.stop() == 0, staying.said


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port: int = closed.getsockname()[1]
        return port


async def test_what_a_person_can_mend_is_a_sentence_and_an_exit_code(
    kafka: Kafka, project_named: MakeProject, taken_port: int, closed_port: int
) -> None:
    served = await project_named("port-taken", mode="at_least_once")
    without_topics = await project_named("no-topics", mode="at_least_once", with_topics=False)
    grown = await project_named("grown", mode="exactly_once", partitions=1)
    await add_partition(kafka.servers, grown.settings.topics.events.name, total=2)
    unreachable = changed(
        await project_named("unreachable", mode="at_least_once", with_topics=False),
        r"servers = .*", f'servers = ["127.0.0.1:{closed_port}"]',
    )  # fmt: skip
    on_taken_port = changed(served, r"port = 0", f"port = {taken_port}")

    workers = [project.start_worker() for project in (on_taken_port, without_topics, unreachable, grown)]
    await until(lambda: all(worker.process.poll() is not None for worker in workers), "all of them end")
    assert [worker.process.returncode for worker in workers] == [2, 3, 3, 3], [worker.said for worker in workers]
    port, topic, broker, partitions = map(sentence, workers)
    assert port.startswith(f"The admin port 127.0.0.1:{taken_port} cannot be opened: ")
    assert topic == "The topic no-topics.events does not exist. Create it with `penstock topics create`."
    assert broker.startswith(f"Kafka at 127.0.0.1:{closed_port} cannot be reached: connection refused.")
    assert partitions.startswith("The topic grown.predictions has 1 of the 2 partitions of grown.events.")


def changed(project: Project, pattern: str, replacement: str) -> Project:
    """The project, with one line of its configuration changed."""
    file = project.settings.file
    file.write_text(re.sub(pattern, replacement, file.read_text(), count=1))
    return project


async def add_partition(servers: list[str], topic: str, *, total: int) -> None:
    """As somebody does who wants more throughput, and forgets the topics of the predictions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_partitions({topic: NewPartitions(total_count=total)})
    finally:
        await admin.close()


def sentence(worker: Worker) -> str:
    """The one line that it said, beside what is in its log."""
    [line] = [line for line in worker.said.splitlines() if not re.match(r"\d{4}-\d\d-\d\d ", line)]
    return line
