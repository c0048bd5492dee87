"""A Redis that stops, dies, forgets, refuses or answers too late: windows go on, and no value is ever another key's."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import redis as redis_client

from penstock.models.features import Catalogue, Feature
from penstock.models.key_templates import KeyTemplate
from penstock.schemas.columns import Columns, FeatureType
from penstock.schemas.events import DecodedEvents
from penstock.streams.embedded import EmbeddedRedis
from penstock.streams.features.store import LookedUp, RedisFeatureStore

pytestmark = pytest.mark.redis

CATALOGUE = Catalogue(
    features=(Feature("seats", FeatureType("float"), entity="plane", missing="nan"),),
    entity_keys={"plane": ("plane", KeyTemplate.parse("{tail}"))},
)
PLANES = 4000
DEADLINE_MS = 20_000.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Server(EmbeddedRedis):
    """A Redis of this file's own, to do bad things to."""

    def signal(self, number: int) -> None:
        assert self.pid is not None
        os.kill(self.pid, number)

    def client(self) -> redis_client.Redis:
        return redis_client.Redis.from_url(self.url)

    def fill(self, planes: int = PLANES) -> None:
        """Plane `N<i>` has i seats."""
        with self.client() as client:
            pipeline = client.pipeline(transaction=False)
            for i in range(planes):
                pipeline.hset(f"plane:N{i}", mapping={"seats": i, "_ts": 5000})
            pipeline.execute()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "redis")
    with server:
        server.fill()
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


MakeStore = Callable[..., RedisFeatureStore]


@pytest_asyncio.fixture
async def make_store(server: Server, clock: Clock) -> AsyncIterator[MakeStore]:
    stores: list[RedisFeatureStore] = []

    def make(**options: object) -> RedisFeatureStore:
        given: dict[str, object] = {
            "url": server.url,
            "deadline_ms": DEADLINE_MS,
            "clock": clock,
            "jitter": lambda: 0.5,
        }
        stores.append(RedisFeatureStore(CATALOGUE, **(given | options)))  # type: ignore[arg-type]
        return stores[-1]

    yield make
    for store in stores:
        await store.close()


async def seats(store: RedisFeatureStore, planes: list[int]) -> tuple[list[float], LookedUp]:
    events = DecodedEvents(
        accepted=np.arange(len(planes)),
        ids=[str(plane) for plane in planes],
        times=np.zeros(len(planes), np.int64),
        keys=[None] * len(planes),
        columns=Columns.missing(CATALOGUE.layout, len(planes)),
        key_parts={"tail": [f"N{plane}" for plane in planes]},
        rejected=[],
    )
    found = await store.look_up(events)
    return events.columns.floats[:, 0].tolist(), found


async def answered(store: RedisFeatureStore, clock: Clock, planes: list[int]) -> list[float]:
    """The values once Redis answers again, pauses being over."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        clock.now += 10
        values, found = await seats(store, planes)
        if found.outage is None:
            return values
    raise AssertionError(f"no answer within 30 s: {found.outage}")


async def test_a_stopped_redis_costs_one_deadline_and_then_nothing(
    server: Server, make_store: MakeStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store = make_store(deadline_ms=300)
    assert await answered(store, clock, [1, 2]) == [1, 2]
    caplog.clear()
    server.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        values, found = await seats(store, [2, 3])
        waited_s = time.monotonic() - began
        began = time.monotonic()
        again = [await seats(store, [1, 4]) for _ in range(50)]
        paused_s = time.monotonic() - began
    finally:
        server.signal(signal.SIGCONT)

    assert values[0] == 2
    assert np.isnan(values[1])
    assert found.written.tolist() == [[5000], [0]]
    assert found.outage == f"Redis at 127.0.0.1:{server.port}: no answer within 300 ms"
    assert 0.3 <= waited_s < 3
    assert paused_s < 50 * 0.3 / 2
    assert all(found.outage is not None for _, found in again)
    assert await answered(store, clock, [3, 4, 2]) == [3, 4, 2]
    assert store.counts.outages >= 51
    lost, back = (record.getMessage() for record in caplog.records)
    assert lost.startswith(f"Redis at 127.0.0.1:{server.port}: no answer within 300 ms;")
    assert re.search(r"answers again after [0-9.]+ s; meanwhile 51 events went without .* and 0 had some from", back)
    assert found.unanswered is not None
    assert found.unanswered.tolist() == [[False], [True]]


async def test_what_the_cache_holds_needs_no_redis(server: Server, make_store: MakeStore) -> None:
    store = make_store()
    await seats(store, [1, 2])
    server.kill()

    values, found = await seats(store, [2, 1])

    assert values == [2, 1]
    assert found.outage is None


async def test_rows_past_their_time_stand_in_during_an_outage_and_the_window_says_so(
    server: Server, make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(cache_ttl_s=60.0, stale_s=100.0)
    await seats(store, [1])
    server.kill()

    clock.now = 61.0
    values, found = await seats(store, [1])
    clock.now = 161.0
    later, _ = await seats(store, [1])

    assert (values, found.written.tolist()) == ([1], [[5000]])
    assert found.outage is not None
    assert store.counts.expired_served == 1
    assert np.isnan(later[0])
    assert found.unanswered is not None
    assert not found.unanswered.any(), "an old value is an answer"


async def test_rows_that_come_back_after_an_empty_restart_are_seen_within_a_second(
    server: Server, make_store: MakeStore, clock: Clock, tmp_path: Path
) -> None:
    """The cache keeps that there is nothing for a second, not for `cache_ttl_s`."""
    store = make_store()
    server.kill()
    empty = Server(tmp_path / "empty", port=server.port)
    with empty:
        nothing = await answered(store, clock, [7])
        empty.fill()
        clock.now += 1.0
        again, found = await seats(store, [7])

    assert np.isnan(nothing).all()
    assert (again, found.outage, found.unanswered) == ([7], None, None)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("maxmemory", "1mb"), ("min-replicas-to-write", "1"), ("replicaof", "127.0.0.1 1")],
    ids=["out of memory", "no replicas", "read only"],
)
async def test_a_redis_that_refuses_writes_is_read_all_the_same(
    setting: str, value: str, server: Server, make_store: MakeStore
) -> None:
    with server.client() as client:
        client.execute_command(
            *("REPLICAOF 127.0.0.1 1" if setting == "replicaof" else f"CONFIG SET {setting} {value}").split()
        )
        with pytest.raises(redis_client.ResponseError):
            client.hset("plane:N1", "seats", 5)

    values, found = await seats(make_store(), [1, 2])

    assert (values, found.outage) == ([1, 2], None)


async def test_a_redis_that_refuses_to_be_read_is_an_outage_that_says_why(
    server: Server, make_store: MakeStore, clock: Clock
) -> None:
    """A replica that may not serve what may be old, and has lost its master."""
    store = make_store(cache_rows=0)
    with server.client() as client:
        client.config_set("replica-serve-stale-data", "no")
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        _, found = await seats(store, [1])
        client.execute_command("REPLICAOF", "NO", "ONE")

    assert found.outage is not None
    assert "a look-up is refused: MASTERDOWN" in found.outage
    assert await answered(store, clock, [1]) == [1]


async def test_a_redis_too_slow_for_every_second_window_has_one_outage_and_is_asked_again_soon(
    server: Server, make_store: MakeStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store = make_store(deadline_ms=50, cache_rows=0)
    await answered(store, clock, [1])
    for _ in range(5):
        server.signal(signal.SIGSTOP)
        assert (await seats(store, [1]))[1].outage is not None
        server.signal(signal.SIGCONT)
        clock.now += 0.1  # the first pause is over: it is not doubled
        while store._link._attempt is not None or not store._connection.connected:
            await seats(store, [1])
        assert (await seats(store, [1]))[1].outage is None

    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["Redis at 127.0.0.1"]
    clock.now += 1.0
    await seats(store, [1])
    assert len(caplog.records) == 2, "now it is back"


async def test_a_redis_that_comes_back_empty_answers_with_nothing(
    server: Server, make_store: MakeStore, clock: Clock, tmp_path: Path
) -> None:
    store = make_store(cache_rows=0)
    assert (await seats(store, [7]))[0] == [7]
    server.kill()
    _, found = await seats(store, [7])
    assert found.outage is not None

    empty = Server(tmp_path / "empty", port=server.port)
    with empty:
        assert np.isnan(await answered(store, clock, [7])).all()
        empty.fill()
        assert await answered(store, clock, [7]) == [7]


async def test_a_connection_that_redis_closed_is_replaced_within_the_window(
    server: Server, make_store: MakeStore
) -> None:
    store = make_store(cache_rows=0)
    await seats(store, [1])
    with server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)

    values, found = await seats(store, [5, 6])

    assert (values, found.outage) == ([5, 6], None)


async def test_no_attempt_is_made_during_a_pause_and_pauses_grow(
    server: Server, make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(cache_rows=0)
    server.kill()
    pauses = []
    for _ in range(8):
        _, found = await seats(store, [1])
        assert found.outage is not None
        trips, began = store.counts.round_trips, clock.now
        server.start()
        # Redis is there again, but nobody looks before the pause is over.
        assert (await seats(store, [1]))[1].outage is not None
        server.kill()
        assert store.counts.round_trips == trips
        while store._link._retry_at > clock.now:
            clock.now += 0.005
        pauses.append(clock.now - began)

    # 100 ms, doubled up to 5 s, times 0.75 by the injected jitter.
    assert pauses == pytest.approx([0.075, 0.15, 0.3, 0.6, 1.2, 2.4, 3.75, 3.75], abs=0.02)


async def test_a_cancelled_window_leaves_no_answer_behind_for_the_next(
    server: Server, make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(cache_rows=0)
    for turn in range(10):
        server.signal(signal.SIGSTOP)
        try:
            window = asyncio.create_task(seats(store, list(range(2000))))
            for _ in range(turn + 1):
                await asyncio.sleep(0)
            window.cancel()
            with pytest.raises(asyncio.CancelledError):
                await window
        finally:
            server.signal(signal.SIGCONT)

        planes = [(17 * i + turn) % PLANES for i in range(500)]
        assert await answered(store, clock, planes) == planes


async def test_windows_that_overlap_get_their_own_values(make_store: MakeStore) -> None:
    store = make_store(cache_rows=100)
    windows = [[(start + 7 * i) % PLANES for i in range(1500)] for start in range(8)]

    results = await asyncio.gather(*(seats(store, window) for window in windows))

    assert [values for values, _ in results] == windows
    assert all(found.outage is None for _, found in results)


async def test_the_batches_that_came_in_time_are_kept(server: Server, make_store: MakeStore) -> None:
    """The server stops for good after some replies: the connection breaks in the middle of the window."""
    store = make_store(cache_rows=PLANES)
    await seats(store, [0])
    window = asyncio.create_task(seats(store, list(range(PLANES))))
    while store.counts.keys_fetched < 1025:  # noqa: ASYNC110 - a counter has no event
        await asyncio.sleep(0)
    server.kill()
    values, found = await window

    there = np.isfinite(values)
    assert there[:1024].all()
    assert np.array_equal(np.array(values)[there], np.flatnonzero(there))
    assert there.all() or found.outage is not None


async def test_a_key_that_is_no_hash_is_malformed(server: Server, make_store: MakeStore) -> None:
    store = make_store()
    with server.client() as client:
        client.delete("plane:N3")
        client.rpush("plane:N3", "x")

    values, found = await seats(store, [2, 3, 4])

    assert (values[0], values[2]) == (2, 4)
    assert found.malformed.tolist() == [[False], [True], [False]]
    assert found.outage is None


async def test_refused_credentials_are_an_outage_with_a_clear_sentence(
    server: Server, make_store: MakeStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with server.client() as client:
        client.config_set("requirepass", "a secret")
    wrong = make_store(password="another secret")

    found = [(await seats(wrong, [1]))[1] for clock.now in (0.0, 10.0, 20.0)]

    assert all(f.outage is not None and "the credentials are refused" in f.outage for f in found)
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
    right = make_store(password="a secret")
    assert (await seats(right, [1]))[0] == [1]


async def test_values_change_when_the_cache_lets_go_of_them(
    server: Server, make_store: MakeStore, clock: Clock
) -> None:
    store = make_store(cache_ttl_s=60.0, missing_ttl_s=1.0)
    await seats(store, [1, 9999])
    with server.client() as client:
        client.hset("plane:N1", "seats", 100)
        client.hset("plane:N9999", "seats", 200)

    seen = []
    for clock.now in (0.9, 1.0, 59.9, 60.0):
        seen.append((await seats(store, [1, 9999]))[0])

    assert np.isnan(seen[0][1])
    assert [seen[0][0], *seen[1:]] == [1, [1, 200], [1, 200], [100, 200]]


async def test_a_cache_changes_no_value(make_store: MakeStore) -> None:
    rng = np.random.default_rng(3)
    cached, bounded, uncached = (
        make_store(),
        make_store(cache_rows=64),
        make_store(cache_rows=0),
    )
    for _ in range(40):
        window = (rng.zipf(1.3, rng.integers(1, 400)) % (PLANES + 500)).tolist()

        results = [await seats(store, window) for store in (cached, bounded, uncached)]

        expected = [plane if plane < PLANES else float("nan") for plane in window]
        for values, found in results:
            np.testing.assert_array_equal(values, expected)
            assert found.written[:, 0].tolist() == [5000 if plane < PLANES else 0 for plane in window]
    assert cached.counts.keys_fetched < bounded.counts.keys_fetched < uncached.counts.keys_fetched


class Gate:
    """A way to the server that holds its answers back while it is closed."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._open = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0

    async def __aenter__(self) -> Gate:
        self._listener = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def open(self) -> None:
        self._open.set()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        answers, questions = await asyncio.open_connection("127.0.0.1", self._server.port)
        for source, target, held in ((reader, questions, False), (answers, writer, True)):
            self._tasks.add(asyncio.create_task(self._pass_on(source, target, held=held)))

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, held: bool) -> None:
        try:
            while data := await source.read(65_536):
                if held:
                    await self._open.wait()
                target.write(data)
        finally:
            target.close()


async def test_an_attempt_to_connect_outlasts_the_windows_that_could_not_wait(
    server: Server, make_store: MakeStore
) -> None:
    async with Gate(server) as gate:
        store = make_store(url=gate.url, deadline_ms=1000)
        outages = [(await seats(store, [1]))[1].outage for _ in range(5)]
        gate.open()
        deadline = time.monotonic() + 30
        # The injected clock stands still: were there a pause, it would never end.
        while (await seats(store, [1]))[1].outage is not None:
            assert time.monotonic() < deadline

        assert outages[0] is not None
        assert all(outage is not None and "no answer yet" in outage for outage in outages[1:])
        assert gate.connections == 1
        await store.close()


async def test_a_user_who_may_only_read_hashes_is_enough(server: Server, make_store: MakeStore) -> None:
    with server.client() as client:
        client.acl_setuser("reader", enabled=True, passwords=["+s"], keys=["plane:*"], commands=["+hmget"])
    store = make_store(username="reader", password="s")

    values, found = await seats(store, [1, 2])

    assert (values, found.outage) == ([1, 2], None)
