"""The admin door: open to probes, and to nobody else without the token."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession
from pydantic import SecretStr

from penstock.schemas.errors import ConfigurationError
from penstock.streams.admin import AdminServer
from penstock.streams.settings import AdminSettings, Settings

TOKEN = "b1f0e5b0c3f94e6f"
REASON = "Kafka at broker-7:9092 is lost: no broker answers"


class Figures:
    def exposition(self) -> bytes:
        return b"penstock_events_total 7\n"


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def answers(session: ClientSession, settings: AdminSettings, path: str, *headers: tuple[str, str]) -> int:
    server = AdminServer.of(settings, "score", Figures(), lambda: None)
    await server.on_start()
    try:
        async with session.get(server.address + path, headers=dict(headers)) as answer:
            text = await answer.text()
    finally:
        await server.on_stop()
    assert ("penstock_events_total" in text) == (answer.status == 200 and path == "/metrics")
    assert TOKEN not in text
    return answer.status


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_without_a_token_this_machine_sees_everything(session: ClientSession, path: str) -> None:
    assert await answers(session, AdminSettings(port=0), path) == 200


@pytest.mark.parametrize(
    ("path", "shown", "status"),
    [
        ("/healthz", None, 200),
        ("/readyz", None, 200),
        ("/metrics", None, 401),
        ("/metrics", "Bearer wrong", 401),
        ("/metrics", f"Bearer {TOKEN}x", 401),
        ("/metrics", f"Basic {TOKEN}", 401),
        ("/metrics", "Bearer ünïcode", 401),
        ("/metrics", f"Bearer {TOKEN}", 200),
        ("/nothing", None, 401),
        ("/nothing", f"Bearer {TOKEN}", 404),
        ("//metrics", None, 401),
        ("/metrics/", None, 401),
    ],
)
async def test_with_a_token_only_probes_go_without(
    session: ClientSession, path: str, shown: str | None, status: int
) -> None:
    headers = [] if shown is None else [("Authorization", shown)]

    assert await answers(session, AdminSettings(port=0, token=SecretStr(TOKEN)), path, *headers) == status


@pytest.mark.parametrize(
    ("host", "shown", "told"),
    [
        ("127.0.0.1", None, REASON),
        ("0.0.0.0", None, "not ready"),  # noqa: S104
        ("0.0.0.0", f"Bearer {TOKEN}x", "not ready"),  # noqa: S104
        ("0.0.0.0", f"Bearer {TOKEN}", REASON),  # noqa: S104
    ],
)
async def test_strangers_do_not_read_where_the_brokers_are(
    session: ClientSession, host: str, shown: str | None, told: str
) -> None:
    settings = AdminSettings(host=host, port=0, token=SecretStr(TOKEN))
    server = AdminServer.of(settings, "score", Figures(), lambda: REASON)
    await server.on_start()
    try:
        address = server.address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        headers = {} if shown is None else {"Authorization": shown}
        async with session.get(f"{address}/readyz", headers=headers) as answer:
            assert (answer.status, await answer.text()) == (503, f"{told}\n")
    finally:
        await server.on_stop()


TREE = {"pipeline": {"name": "p"}, "events": {"topic": "e"}, "features": {"x": {"type": "float"}}}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_needs_no_token(host: str) -> None:
    assert Settings.of({**TREE, "admin": {"host": host}}).admin.token is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.4", "worker-7.example.org"])  # noqa: S104
def test_any_other_address_does(host: str) -> None:
    tree = {**TREE, "admin": {"host": host}}

    with pytest.raises(ConfigurationError, match=r"admin\.token is missing; expected a token, as admin\.host .* is"):
        Settings.of(tree)
    assert Settings.of(tree, environ={"PENSTOCK_ADMIN__TOKEN": TOKEN}).admin.token is not None


@pytest.mark.parametrize("token", ["hunter2", "with spaces in it", "not plain äöü ßßßßßß", "line\nbreak-1234567890"])
def test_a_token_that_could_be_guessed_or_not_be_sent_is_refused_unseen(token: str) -> None:
    with pytest.raises(ConfigurationError, match=r"admin\.token is too short or not plain") as caught:
        Settings.of(TREE, environ={"PENSTOCK_ADMIN__TOKEN": token})

    assert token not in str(caught.value)
