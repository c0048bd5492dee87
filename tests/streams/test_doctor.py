from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from penstock.schemas.errors import ConfigurationError
from penstock.streams.doctor import examine, in_thread
from penstock.streams.settings import Settings


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def pipeline(server: str) -> Settings:
    return Settings.of({
        "pipeline": {"name": "flights"},
        "kafka": {"servers": [server]},
        "redis": {"url": f"redis://:hunter2@{server}/0"},
        "events": {"topic": "departures"},
        "entities": {"plane": {"key": "{tail}"}},
        "features": {"seats": {"type": "float", "entity": "plane", "missing": "nan"}},
        "models": {"registry": "memory://user:hunter2@nowhere", "device": "quantum"},
    })  # fmt: skip


async def test_each_check_ends_within_its_deadline_and_says_so(silent: str) -> None:
    settings = pipeline(silent)

    found = {finding.check: finding for finding in await examine(lambda: settings, server_deadline_s=0.5)}

    assert "no answer within 0.45 s" in found["brokers"].detail
    assert found["redis"].detail == "no result within 0.5 s"
    assert found["champion"].state == "skipped"


async def test_a_device_that_is_not_there_and_an_empty_registry_are_told_without_secrets(silent: str) -> None:
    settings = pipeline(silent)

    found = {finding.check: finding for finding in await examine(lambda: settings, server_deadline_s=0.2)}

    assert "models.device is 'quantum'" in found["device"].detail
    assert found["models"].state == "failed"
    assert "***@nowhere" in found["models"].detail
    assert "hunter2" not in str(found)


async def test_a_redis_that_is_not_there_is_told_in_words_and_each_kind_of_key_has_a_name(silent: str) -> None:
    settings = pipeline(silent)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        port = taken.getsockname()[1]
        away = settings.model_copy(
            update={"redis": settings.redis.model_copy(update={"url": f"redis://localhost:{port}"})}
        )
        found = {finding.check: finding for finding in await examine(lambda: away, server_deadline_s=0.5)}

    assert found["redis"].detail == f"redis://localhost:{port} cannot be reached: connection refused"
    assert [check for check in found if check.startswith("keys")] == ["keys models", "keys control", "keys letters"]


async def test_without_a_configuration_the_rest_is_skipped() -> None:
    def load() -> Settings:
        raise ConfigurationError("penstock.toml", "windw", found="unknown", expected="window")

    found = {finding.check: finding.state for finding in await examine(load)}

    assert found["configuration"] == "failed"
    assert {found[check] for check in ("brokers", "topics", "redis", "models", "champion", "device")} == {"skipped"}


async def test_a_thread_that_hangs_is_not_waited_for() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await in_thread(lambda: time.sleep(1))


async def test_what_a_thread_raises_reaches_the_check() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)
