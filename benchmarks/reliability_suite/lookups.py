"""The scenario in which Redis goes away, hangs and comes back empty, under a pipeline that looks a feature up in it."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import redis as redis_client
from reliability_suite import figures
from reliability_suite.results import Figure, Result, result, seconds
from reliability_suite.scenarios import Ground, Scenario
from reliability_suite.stage import Options, Stage

from penstock.streams.embedded import EmbeddedRedis

AWAY_S = 10.0
"""So long predictions lack what Redis has."""
NOTICED_S = 60.0
HOURS = 24
"""Of events that find their feature."""

SETTINGS = """
[features.boost]
type = "float"
entity = "hour"
default = 0.0
[entities.hour]
key = "{{time:hour}}"
[redis]
url = "{url}"
deadline_ms = 250  # however busy the machine is, a Redis that answers is in time
cache_rows = 0
"""


def redis_outages(ground: Ground, mode: str, options: Options) -> Result:
    """Killed, hanging, and back without what it had; each time the workers go on, say so, and find it again."""
    back: list[float] = []

    def act(stage: Stage) -> None:
        def outage(what: str, begin: Callable[[], None], end: Callable[[], None]) -> None:
            stage.blow(what, [])
            begin()
            lacks(stage, what)
            end()
            back.append(whole_again_s(stage, what))

        for _ in range(options.rounds or 1):
            outage("kill -9 of Redis", redis.kill, redis.start)
            outage("SIGSTOP of Redis", lambda: send(redis, signal.SIGSTOP), lambda: send(redis, signal.SIGCONT))
            outage("Redis restarted empty", lambda: restart_empty(redis), lambda: fill(redis))

    with EmbeddedRedis(ground.scratch / f"redis-{mode}") as redis:
        fill(redis)
        outcome = ground.outcome("redis", mode, options, act, SETTINGS.format(url=redis.url))
    more = [
        Figure("predictions that say what they lacked", "–", f"{outcome.counted.flagged:,}"),
        seconds("predictions lack nothing again", None, max(back)),
    ]
    return result("redis", outcome, more=more)


def lacks(stage: Stage, what: str) -> None:
    """Each prediction says that it lacks the feature, from a moment on."""
    begun = time.time() * 1000
    stage.wait_until(lambda: stage.serves(max(begun, *stage.counter.told.whole) + figures.AT_ONCE_MS), NOTICED_S)
    before = stage.counter.told
    stage.wait(AWAY_S)
    after = stage.counter.told
    predictions, flagged = after.predictions - before.predictions, after.flagged - before.flagged
    if not predictions:
        stage.problems.append(f"{what}: no predictions meanwhile")
    if flagged != predictions:
        stage.problems.append(
            f"{what}: {predictions - flagged:,} of {predictions:,} predictions do not say what they lack"
        )


def whole_again_s(stage: Stage, what: str) -> float:
    """Until every partition's predictions lack nothing, without a worker's restart."""
    begun = time.time() * 1000
    if not stage.wait_until(lambda: min(stage.counter.told.whole) > begun, NOTICED_S):
        stage.problems.append(f"{what}: predictions lack the feature for {NOTICED_S:g} s after its return")
    return time.time() - begun / 1000


def fill(redis: EmbeddedRedis) -> None:
    """The feature of this hour, and of those to come."""
    now = datetime.now(UTC)
    with redis_client.Redis.from_url(redis.url) as client:
        for hour in range(HOURS):
            client.hset(f"hour:{now + timedelta(hours=hour):%Y-%m-%dT%H}", mapping={"boost": 0.5})


def restart_empty(redis: EmbeddedRedis) -> None:
    redis.kill()
    for kept in redis.directory.glob("appendonly*"):
        if kept.is_dir():  # since Redis 7
            shutil.rmtree(kept)
        else:
            kept.unlink()
    redis.start()


def send(redis: EmbeddedRedis, number: signal.Signals) -> None:
    assert redis.pid is not None
    os.kill(redis.pid, number)


LOOKUPS = {"redis": Scenario(redis_outages)}
