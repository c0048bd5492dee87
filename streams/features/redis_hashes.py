"""A redis-py connection: many commands in one write, their replies as they come, and a way back after an outage.

redis-py connects, authenticates and speaks TLS; its pipeline costs 16 µs of CPU per command, so commands are packed
and replies parsed in `penstock.streams.features.wire` (figures: `benchmarks/lookups.py`).
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import redis.asyncio as redis
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

from penstock.schemas.errors import ConfigurationError
from penstock.streams.features.wire import Batch, ProtocolError, Replies, ReplyReader

_READ_BYTES = 1 << 18
_NUMBER = re.compile(r"(?:Error |\[Errno )(\d+)\b")
"""Of an operating system's error, as redis-py and asyncio write it."""
_PIPELINED = 2
"""Batches on the way at once: the server answers one while the one before is read."""


class RedisOutage(Exception):
    """Redis did not give what was asked. `reason` says why in a few words, for a sentence that names the server.

    `credentials` are refused: no waiting helps, a person must correct them.
    """

    def __init__(self, reason: str, *, credentials: bool = False) -> None:
        self.reason, self.credentials = reason, credentials
        super().__init__(reason)


def reason_of(error: BaseException) -> str:
    """Why Redis could not be reached, in words: redis-py's numbers and addresses tell nobody more.

    >>> reason_of(RedisError("Error 111 connecting to localhost:6379. Connect call failed ('127.0.0.1', 6379)."))
    'connection refused'
    >>> reason_of(RedisError("LOADING Redis is loading the dataset in memory"))
    'LOADING Redis is loading the dataset in memory'
    """
    text = str(error).rstrip(".") or type(error).__name__
    behind = error if isinstance(error, OSError) else error.__cause__ or error.__context__
    if isinstance(behind, ssl.SSLError) or "SSL" in text:
        return text  # its numbers are others
    if isinstance(behind, socket.gaierror):
        return str(behind.strerror).lower()
    number = _NUMBER.search(text)
    return os.strerror(int(number[1])).lower() if number else text


class RedisConnection:
    """One connection. After any exception, cancellation too, it is closed: replies can never be taken for others'."""

    def __init__(self, url: str, *, username: str | None = None, password: str | None = None) -> None:
        given = {name: value for name, value in (("username", username), ("password", password)) if value}
        try:
            pool: Any = redis.ConnectionPool.from_url(url, **given)
        except ValueError as error:
            raise ConfigurationError(
                "penstock.toml",
                "redis.url",
                found="no Redis URL",  # not quoted: it may hold a password
                expected="redis://HOST:PORT/DATABASE, rediss:// with TLS or unix://PATH",
            ) from error
        # RESP2: nothing arrives unasked. No socket time-outs: the deadline is the caller's.
        pool.connection_kwargs |= {"protocol": 2, "socket_timeout": None, "health_check_interval": 0}
        arguments = pool.connection_kwargs
        self.address: str = (
            arguments.get("path") or f"{arguments.get('host', 'localhost')}:{arguments.get('port', 6379)}"
        )
        self._connection = pool.make_connection()

    @property
    def connected(self) -> bool:
        return bool(self._connection.is_connected)

    async def connect(self) -> None:
        """Connects and waits for an answer to PING. Raises RedisOutage."""
        try:
            await self._connection.connect()
            await self._connection.send_command("PING", check_health=False)
            with suppress(NoPermissionError):  # an answer too: this user may read hashes and nothing else
                await self._connection.read_response()
        except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
            await self.disconnect()
            raise RedisOutage(
                f"the credentials are refused ({reason_of(error)}): check redis.username and redis.password",
                credentials=True,
            ) from error
        except (RedisError, OSError) as error:
            await self.disconnect()
            raise RedisOutage(reason_of(error)) from error
        except BaseException:
            await self.disconnect()
            raise

    async def exchange(self, batches: Iterator[Batch], receive: Callable[[Replies], None]) -> None:
        """Sends all batches and hands over each one's replies, in order. Raises RedisOutage.

        Error replies stand among the others as exceptions. Between batches the event loop goes round once.
        """
        reader = ReplyReader()
        awaited: list[Batch] = []
        try:
            while True:
                for batch in islice(batches, _PIPELINED - len(awaited)):
                    await self._connection.send_packed_command([batch.commands], check_health=False)
                    awaited.append(batch)
                if not awaited:
                    return
                receive(await self._replies(reader, awaited.pop(0)))
                await asyncio.sleep(0)
        except (RedisError, OSError, ProtocolError) as error:
            await self.disconnect()
            raise RedisOutage(f"the connection broke: {reason_of(error)}") from error
        except BaseException:
            await self.disconnect()
            raise

    async def _replies(self, reader: ReplyReader, batch: Batch) -> Replies:
        stream = self._connection._reader
        while (replies := reader.take(batch)) is None:
            received = await stream.read(_READ_BYTES)
            if not received:
                raise ConnectionResetError("the server closed it")
            reader.feed(received)
        return replies

    async def disconnect(self) -> None:
        await self._connection.disconnect(nowait=True)


class RedisLink:
    """A connection that comes back by itself.

    It connects in the background, so that a connection that takes longer than one window's deadline is made all the
    same: a window waits for it until the attempt is `patience_s` old, later windows do not wait. After a failure no
    attempt is made for a while that doubles from `first_pause_s` to `longest_pause_s`, times a random factor between
    0.5 and 1: until then `exchange` raises RedisOutage at once. An exchange that succeeds ends the doubling: a
    server that is too slow for some windows only is asked again soon.
    """

    def __init__(
        self,
        connection: RedisConnection,
        *,
        patience_s: float,
        connect_timeout_s: float = 2.0,
        first_pause_s: float = 0.1,
        longest_pause_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._connection = connection
        self._patience_s, self._connect_timeout_s = patience_s, connect_timeout_s
        self._first_pause_s, self._longest_pause_s = first_pause_s, longest_pause_s
        self._clock, self._jitter = clock, jitter
        self._turn = asyncio.Lock()
        self._attempt: asyncio.Task[None] | None = None
        self._attempt_began = 0.0
        self._failures = 0
        self._retry_at = 0.0
        self._reason = ""

    async def exchange(self, batches: Callable[[], Iterator[Batch]], receive: Callable[[Replies], None]) -> None:
        """Sends all batches and hands over each one's replies, in order. Raises RedisOutage.

        A connection that the server had closed since its last use is replaced at once, before anything was received.
        """
        async with self._turn:
            received = 0

            def count(replies: Replies) -> None:
                nonlocal received
                received += 1
                receive(replies)

            reused = self._connection.connected and self._attempt is None
            while True:
                try:
                    await self._ready()
                    await self._connection.exchange(batches(), count)
                    break
                except RedisOutage as outage:
                    if not reused or received:
                        self.failed(outage.reason)
                        raise
                    reused = False
            self._failures = 0

    def failed(self, reason: str) -> None:
        """Begins a pause, unless one is under way, or the connection is whole or about to be."""
        if self._clock() < self._retry_at or self._attempt is not None or self._connection.connected:
            return
        pause_s = min(self._longest_pause_s, self._first_pause_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        self._retry_at = self._clock() + pause_s * (0.5 + self._jitter() / 2)
        self._reason = reason

    async def _ready(self) -> None:
        if self._connection.connected and self._attempt is None:
            return
        loop = asyncio.get_running_loop()
        if self._attempt is None:
            if self._clock() < self._retry_at:
                raise RedisOutage(self._reason)
            self._attempt_began = loop.time()
            self._attempt = asyncio.create_task(self._connect(), name="penstock-redis-connect")
        attempt = self._attempt
        await asyncio.wait({attempt}, timeout=max(0.0, self._attempt_began + self._patience_s - loop.time()))
        if not attempt.done():
            raise RedisOutage("no answer yet to an attempt to connect")
        self._attempt = None
        attempt.result()

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._connection.connect()
        except TimeoutError as error:
            raise RedisOutage(f"no answer within {self._connect_timeout_s:g} s of connecting") from error

    async def close(self) -> None:
        """Ends an attempt under way and the connection."""
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.wait({self._attempt})
            if not self._attempt.cancelled():
                self._attempt.exception()
            self._attempt = None
        await self._connection.disconnect()
