"""Real servers for the tests: in containers where a Docker engine answers, as child processes elsewhere."""

from __future__ import annotations

import os
import re
import signal
import socket
import uuid
from collections.abc import Iterator
from functools import cache
from urllib.parse import urlsplit

import pytest
import redis as redis_client
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from hypothesis import HealthCheck, settings
from testcontainers.community.kafka import KafkaContainer
from testcontainers.community.redis import RedisContainer

from penstock.streams.embedded import EmbeddedKafka, EmbeddedRedis
from penstock.streams.embedded.kafka import QUICK_JAVA
from penstock.streams.embedded.kafka_properties import cluster_properties
from penstock.streams.embedded.testing import Kafka, MakeTopics

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # how busy the machine is decides nothing

EmbeddedKafka.java_options = QUICK_JAVA

# Under nohup, or in a script's background, these are ignored; the processes that tests start would ignore them, too.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

KAFKA_IMAGE = "confluentinc/cp-kafka:8.1.0"  # Apache Kafka 4.1
REDIS_IMAGE = "redis:8.2"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores, as tests with real workers mostly wait. Each process has servers of its own.

    A part of the tests starts sooner in this process.
    """
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return min(4, len(os.sched_getaffinity(0)) + 1) if everything else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Among several processes, the files that take long come first, so that none of them is left alone at the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        long = {mark: {item.path for item in items if item.get_closest_marker(mark)} for mark in ("slow", "kafka")}
        items.sort(key=lambda item: (item.path not in long["slow"], item.path not in long["kafka"]))


class KafkaInContainer:
    def __init__(self, servers: list[str]) -> None:
        self.servers = servers


@cache
def docker_answers() -> bool:
    """Asks by hand: docker's own client leaves its socket open when nobody answers."""
    host = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    family = socket.AF_UNIX if host.scheme == "unix" else socket.AF_INET
    address = host.path if host.scheme == "unix" else (host.hostname, host.port or 2375)
    with socket.socket(family) as connection:
        connection.settimeout(3.0)
        try:
            connection.connect(address)
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(64)
        except OSError:
            return False


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """One broker for all tests; topics are kept apart by their names."""
    if docker_answers():
        container = KafkaContainer(KAFKA_IMAGE).with_kraft()
        for name, value in cluster_properties(1).items():
            container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
        with container:
            yield KafkaInContainer([container.get_bootstrap_server()])
    else:
        with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as embedded:
            yield embedded


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Redis for all tests: its URL. Tests ask for `redis_url`, which is empty each time."""
    if docker_answers():
        with RedisContainer(REDIS_IMAGE) as container:
            yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
    else:
        with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as embedded:
            yield embedded.url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of a Redis whose database is empty."""
    with redis_client.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture
def redis(redis_url: str) -> Iterator[redis_client.Redis]:
    """A client of a Redis whose database is empty."""
    with redis_client.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def make_topics(kafka: Kafka, request: pytest.FixtureRequest) -> MakeTopics:
    """`events, predictions = await make_topics("events", "predictions", partitions=4)`."""
    test = re.sub(r"[^a-zA-Z0-9._-]", "-", request.node.name)[:80]

    async def make(*labels: str, partitions: int = 1, settings: dict[str, str] | None = None) -> list[str]:
        names = [f"{test}.{uuid.uuid4().hex[:8]}.{label}" for label in labels]
        topics = [NewTopic(name, partitions, 1, topic_configs=settings or {}) for name in names]
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.servers)
        await admin.start()
        try:
            answer = await admin.create_topics(topics)
        finally:
            await admin.close()
        refused = [error for error in answer.topic_errors if error[1] != 0]
        assert not refused, refused
        return names

    return make
