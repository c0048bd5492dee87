"""Look-ups for a whole window: keys from the events, values from a local cache or from Redis, into the columns.

    HSET <prefix>:<key> <field> <value> … _ts <Unix ms>

Every distinct key is asked for once, all that the cache does not hold in one round trip per entity (1,024 keys to a
batch). When Redis is slow or down, a window waits no longer than `deadline_ms`; what did not come in time is missing,
the catalogue's policy applies, and `LookedUp.outage` says why.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from penstock.models.features import Catalogue
from penstock.schemas.events import DecodedEvents
from penstock.streams.features.outages import OutageLog
from penstock.streams.features.redis_hashes import RedisConnection, RedisLink, RedisOutage
from penstock.streams.features.search import Search, encode_categories, entity_look_ups
from penstock.streams.features.wire import Batch, Replies

SLICE_ROWS = 4096
"""Larger windows are looked up slice by slice, so that the event loop is never held for more than a few ms."""


@dataclass(slots=True)
class LookedUp:
    """What the look-ups found beside the values, with R = len(catalogue.looked_up_features) in that order.

    written     [rows, R] Unix ms when each value was written; 0: no value, or nobody knows
    malformed   [rows, R] True where Redis held something that is not of the feature's type
    asked       whether Redis was: the cache may hold all
    outage      why some of the window's keys were not answered; None when all were
    unanswered  [rows, R] True where Redis gave no answer and the cache had none; None without an outage
    """

    written: NDArray[np.int64]
    malformed: NDArray[np.bool_]
    asked: bool = False
    outage: str | None = None
    unanswered: NDArray[np.bool_] | None = None


@dataclass(slots=True)
class LookUpCounts:
    """Totals since the start. A row is one event's look-up in one entity; rows without a key count nowhere else."""

    rows: int = 0
    rows_without_key: int = 0
    cache_hits: int = 0
    keys_fetched: int = 0
    """Distinct keys that Redis answered."""
    round_trips: int = 0
    outages: int = 0
    """Windows of which some keys were not answered."""
    expired_served: int = 0
    """Events served a hash after its time limit, because Redis was down."""


class FeatureStore(Protocol):
    """Where looked-up features come from."""

    @property
    def counts(self) -> LookUpCounts: ...

    async def look_up(self, events: DecodedEvents) -> LookedUp:
        """Fills the looked-up features of `events.columns`, in place. Never raises for what a server does or holds."""
        ...

    async def close(self) -> None: ...


class NoFeatures:
    """The store of a catalogue that looks nothing up."""

    def __init__(self) -> None:
        self.counts = LookUpCounts()

    async def look_up(self, events: DecodedEvents) -> LookedUp:
        return LookedUp(np.zeros((events.rows, 0), np.int64), np.zeros((events.rows, 0), np.bool_))

    async def close(self) -> None: ...


class RedisFeatureStore:
    """Hashes in Redis behind a bounded local cache. One event loop; windows may overlap, their round trips queue.

    Args:
        catalogue: The features and the entities they are looked up in.
        url: redis://HOST:PORT/DATABASE, rediss:// with TLS, unix://PATH; redis-py's query options work.
        username: Replaces the one in `url`.
        password: Replaces the one in `url`.
        deadline_ms: A window's look-ups take no longer.
        cache_rows: Hashes kept per entity; 0: none.
        cache_ttl_s: How long a hash is served from the cache.
        missing_ttl_s: The same for a key under which there was nothing, or nothing that could be read.
        stale_s: For how much longer a hash may stand in while Redis does not answer: its age is known, so `max_age_s`
            still holds, and a late value is mostly better than a default. The window is flagged as an outage.
        clock: Seconds, monotonic, for the cache and for the pauses between attempts to connect.
        jitter: Numbers in [0, 1), for the same pauses.

    Raises:
        ConfigurationError: `url` is no Redis URL.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        url: str,
        username: str | None = None,
        password: str | None = None,
        deadline_ms: float = 50.0,
        cache_rows: int = 100_000,
        cache_ttl_s: float = 60.0,
        missing_ttl_s: float = 1.0,
        stale_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.counts = LookUpCounts()
        self._deadline_ms = deadline_ms
        self._entities = entity_look_ups(
            catalogue,
            cache_rows=cache_rows,
            cache_ttl_s=cache_ttl_s,
            missing_ttl_s=missing_ttl_s,
            stale_s=stale_s,
            clock=clock,
        )
        self._features = len(catalogue.looked_up_features)
        self._connection = RedisConnection(url, username=username, password=password)
        self._link = RedisLink(self._connection, patience_s=deadline_ms / 1000, clock=clock, jitter=jitter)
        self._log = OutageLog(self._connection.address, clock)

    async def look_up(self, events: DecodedEvents) -> LookedUp:
        deadline = asyncio.get_running_loop().time() + self._deadline_ms / 1000
        looked_up = LookedUp(
            np.zeros((events.rows, self._features), np.int64), np.zeros((events.rows, self._features), np.bool_)
        )
        unanswered = np.zeros_like(looked_up.malformed)
        late = np.zeros(events.rows, np.bool_)
        categories: dict[str, list[NDArray[np.object_]]] = {}
        failure: RedisOutage | None = None
        for start in range(0, events.rows, SLICE_ROWS):
            if start:
                await asyncio.sleep(0)
            rows = slice(start, min(start + SLICE_ROWS, events.rows))
            searches = [
                Search(entity, entity.template.render(events, rows.start, rows.stop)) for entity in self._entities
            ]
            if asked := [search for search in searches if len(search.asked)]:
                looked_up.asked = True
                failure = await self._fetch(asked, deadline) or failure
            for search in searches:
                self._count(search)
                search.fill(events.columns, looked_up.written, looked_up.malformed, rows, categories)
                if failure is not None:
                    search.mark(unanswered, late, rows)
        encode_categories(events.columns, categories)
        if failure is not None:
            self._note(failure, looked_up, unanswered, late)
        elif looked_up.asked:
            self._log.answered()
        return looked_up

    def _note(
        self, failure: RedisOutage, looked_up: LookedUp, unanswered: NDArray[np.bool_], late: NDArray[np.bool_]
    ) -> None:
        looked_up.outage = f"Redis at {self._connection.address}: {failure.reason}"
        looked_up.unanswered = unanswered
        self.counts.outages += 1
        self.counts.expired_served += int(np.count_nonzero(late))
        without = int(np.count_nonzero(unanswered.any(axis=1)))
        late_events = int(np.count_nonzero(late & ~unanswered.any(axis=1)))
        self._log.failed(failure.reason, credentials=failure.credentials, without=without, late=late_events)

    async def _fetch(self, searches: list[Search], deadline: float) -> RedisOutage | None:
        """Asks Redis for what the cache does not hold; why, where that failed."""
        expected = [(search, keys) for search in searches for keys in search.batches()]

        def batches() -> Iterator[Batch]:
            self.counts.round_trips += len(searches)
            for search, keys in expected:
                yield search.pack(keys)

        answered = iter(expected)

        def receive(replies: Replies) -> None:
            search, keys = next(answered)
            search.receive(keys, replies)
            self.counts.keys_fetched += len(keys)

        try:
            async with asyncio.timeout_at(deadline):
                await self._link.exchange(batches, receive)
        except RedisOutage as outage:
            return outage
        except TimeoutError:
            reason = f"no answer within {self._deadline_ms:g} ms"
            self._link.failed(reason)
            return RedisOutage(reason)
        return None

    def _count(self, search: Search) -> None:
        self.counts.rows += len(search.keys)
        self.counts.rows_without_key += search.without_key
        self.counts.cache_hits += int(np.count_nonzero(search.found.current))

    async def close(self) -> None:
        await self._link.close()
