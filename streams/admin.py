"""A worker's small HTTP door for whoever runs it: is it alive, is it ready, what has it counted.

GET /healthz   200 while the event loop turns
GET /readyz    200 when a model is loaded and events are consumed, else 503 with the reason
GET /metrics   Prometheus

With a token, all but the first two need it: `Authorization: Bearer TOKEN`. Without one the door opens on this machine
alone; the settings see to that. The reason why a worker is not ready names brokers and topics: on any other address,
whoever shows no token reads "not ready" and no more.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from aiohttp import web
from mode import Service

from penstock.schemas.errors import PenstockError
from penstock.streams.settings.sections import is_loopback

if TYPE_CHECKING:
    from penstock.streams.settings import AdminSettings
    from penstock.streams.settings.sections import Role

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OPEN_PAGES = frozenset({"/healthz", "/readyz"})
"""Probes carry no secret."""


class PortTaken(PenstockError):
    """The admin port cannot be bound.

    >>> print(PortTaken("127.0.0.1", 6066, "address already in use"))
    The admin port 127.0.0.1:6066 cannot be opened: address already in use. Set admin.port to another, or to 0 for any.
    """

    exit_code = 2

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host, self.port, self.reason = host, port, reason
        super().__init__(
            f"The admin port {host}:{port} cannot be opened: {reason}. Set admin.port to another, or to 0 for any."
        )


class Metrics(Protocol):
    """What a role counts."""

    def exposition(self) -> bytes:
        """All figures in Prometheus' text format."""
        ...


class AdminServer(Service):
    """Serves one worker's state. `not_ready` gives the reason why the worker is not ready, or None when it is.

    Whoever asks for anything but `OPEN_PAGES` shows the `token`, where there is one.
    """

    def __init__(
        self,
        host: str,
        port: int,
        metrics: Metrics,
        not_ready: Callable[[], str | None],
        *,
        token: str | None = None,
    ) -> None:
        super().__init__()
        self._host, self._port, self._metrics, self._not_ready = host, port, metrics, not_ready
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._for_this_machine = is_loopback(host)

    @classmethod
    def of(
        cls, settings: AdminSettings, role: Role, metrics: Metrics, not_ready: Callable[[], str | None]
    ) -> AdminServer:
        token = None if settings.token is None else settings.token.get_secret_value()
        return cls(settings.host, settings.port_of(role), metrics, not_ready, token=token)

    async def on_start(self) -> None:
        application = web.Application(middlewares=[self._admit])
        application.add_routes(
            [web.get("/healthz", self._health), web.get("/readyz", self._ready), web.get("/metrics", self._exposition)]
        )
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            raise PortTaken(self._host, self._port, error.strerror or str(error)) from error
        self._port = self._runner.addresses[0][1]

    @property
    def address(self) -> str:
        """Where it listens, once started."""
        return f"http://{self._host}:{self._port}"

    async def on_stop(self) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN_PAGES and not self._knows(request):
            text = "This page needs the header Authorization: Bearer TOKEN, with the token of admin.token.\n"
            return web.Response(status=401, text=text, headers={"WWW-Authenticate": "Bearer"})
        return await handler(request)

    def _knows(self, request: web.Request) -> bool:
        """Whether the request shows the token, where there is one."""
        if self._expected is None:
            return True
        shown = request.headers.get("Authorization", "").encode(errors="replace")
        return hmac.compare_digest(shown, self._expected)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _ready(self, request: web.Request) -> web.Response:
        reason = self._not_ready()
        if reason is None:
            return web.Response(text="ready\n")
        told = reason if self._for_this_machine or self._knows(request) else "not ready"
        return web.Response(status=503, text=f"{told}\n")

    async def _exposition(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4"})
