"""Redis goes away or hangs, and comes back, while events flow: predictions go on, and name what they lacked."""

from __future__ import annotations

import os
import re
import signal
from itertools import pairwise
from pathlib import Path

import pytest
import redis as redis_client
from pipelines import Kafka, MakeProject, Witness, until
from traffic import decoded, flowing, repeats, score

from penstock.streams.embedded import EmbeddedRedis

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow]

BOOST = 0.5


async def test_predictions_go_on_without_redis_and_name_what_they_lack(
    kafka: Kafka, project_named: MakeProject, witness: Witness, tmp_path: Path
) -> None:
    redis = EmbeddedRedis(tmp_path / "redis")
    redis.start()
    with redis_client.Redis.from_url(redis.url) as client:
        client.hset("place:harbour", mapping={"boost": BOOST})
    redis.stop()  # its port and data stay
    project = await project_named("redis-outages", mode="at_least_once", more=look_up(redis.url))
    topics = project.settings.topics
    worker = project.start_worker()

    async def more(outages: bool) -> None:
        """Until 200 more predictions were made, with outages or without."""
        events, before = worker.metric("penstock_predictions_total"), worker.metric("penstock_feature_outages_total")
        await until(lambda: worker.metric("penstock_predictions_total") >= events + 200, "predictions go on")
        if outages:
            await until(lambda: worker.metric("penstock_feature_outages_total") > before, "the outage is counted")
        await until(lambda: worker.metric("penstock_redis_up") == (not outages), "the gauge follows")
        assert worker.get("/readyz")[0] == 200, "without Redis it serves all the same"

    async with flowing(kafka.servers, topics.events.name, partitions=2, place="harbour") as traffic:
        await until(lambda: worker.owns == {0, 1}, "it starts without Redis")
        await more(outages=True)
        redis.start()
        await until(lambda: "answers again" in worker.said, "it finds Redis")
        await more(outages=False)
        redis.kill()
        await more(outages=True)
        redis.start()
        await until(lambda: worker.said.count("answers again") == 2, "it finds Redis again")
        await more(outages=False)
        assert redis.pid is not None
        os.kill(redis.pid, signal.SIGSTOP)
        await more(outages=True)
        os.kill(redis.pid, signal.SIGCONT)
        await until(lambda: worker.said.count("answers again") == 3, "it finds Redis once more")
        await more(outages=False)
    records = await witness.read(
        topics.predictions.name, lambda seen: len({r.key for r in seen}) >= len(traffic.sent), timeout_s=30
    )
    exposed = worker.get("/metrics")[1]
    assert worker.stop() == 0, worker.said
    redis.stop()
    said = [line for line in worker.said.splitlines() if "Redis at" in line]
    assert [bool(re.search("answers again after .* events went without", line)) for line in said] == [False, True] * 3
    gaps = re.findall(r'penstock_feature_gaps_total\{feature="boost",kind="(\w+)"', exposed)
    assert gaps == ["unanswered"], "Redis has the value: nothing is missing there"

    predictions = sorted(decoded(records), key=lambda prediction: int(prediction["id"][1:]))
    assert {prediction["id"] for prediction in predictions} == traffic.ids
    assert repeats(predictions) == 0
    for prediction in predictions:
        had_redis = prediction["defaulted"] == []
        assert had_redis or prediction["defaulted"] == ["boost"]
        expected = score(int(prediction["id"][1:]), more=BOOST if had_redis else 0.0)
        assert prediction["score"] == pytest.approx(expected, rel=1e-5)
    had = [prediction["defaulted"] == [] for prediction in predictions if prediction["source"]["partition"] == 0]
    assert (had[0], had[-1]) == (False, True)
    turns = sum(before != after for before, after in pairwise(had))
    assert turns >= 5, "without, with, without, with, without and with again"


def look_up(url: str) -> str:
    return f"""
        [features.boost]
        type = "float"
        entity = "place"
        default = 0.0
        [entities.place]
        key = "{{place}}"
        [redis]
        url = "{url}"
        deadline_ms = 1000  # however busy the machine is, a Redis that answers is in time
        cache_rows = 0
        """
