"""A replay says what the live shadow said of the same rows, byte for byte but for the time that the models took."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import reduce

import pytest
from aiokafka import ConsumerRecord
from msgspec.structs import replace
from pipelines import FEATURES, Kafka, MakeProject, Project, Witness
from traffic import event, producing, score

from penstock.schemas.comparison import ComparisonSummary, merge_comparison
from penstock.schemas.comparison_wire import COMPARISON_SCHEMA, decode_comparison, encode_comparison
from penstock.schemas.control import Control, Shadow
from penstock.schemas.gates import Look
from penstock.schemas.records import SCHEMA_HEADER, ModelRef
from penstock.streams.control import change_control, read_control
from penstock.streams.registry import load_model
from penstock.streams.replaying.log import NothingLogged, Stretch
from penstock.streams.replaying.replay import Replayed
from penstock.streams.replaying.replay import replay as replay_stretch
from penstock.streams.replaying.staging import stage

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

EVENTS = 4_000
PARTITIONS = 2
QUICK = """
    [features.kind]
    type = "category"
    path = "kind"
    default = "none"
    [watch]
    segment_rows = 64
    segment_max_s = 1
    max_out_of_order_s = 0
    checkpoint_s = 0.3
    [labels]
    maturity_s = 30
    slices = ["kind"]
    [rollout]
    slices = ["kind"]
    min_rows = 100
    max_latency_ratio = 1000.0  # how busy the machine is decides nothing
"""


def quiet(sentence: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


def live(records: Sequence[ConsumerRecord], *, mature: bool) -> list[ComparisonSummary]:
    found = [r for r in records if dict(r.headers)[SCHEMA_HEADER] == COMPARISON_SCHEMA[1]]
    return [one for one in (decode_comparison(r.value, r.headers) for r in found) if one.mature == mature]


def labelled_rows(records: Sequence[ConsumerRecord]) -> int:
    return sum(
        both.served.rows for one in live(records, mature=True) for (*_, name), both in one.labelled.items() if not name
    )


def paired_rows(records: Sequence[ConsumerRecord]) -> int:
    return sum(sums.rows for one in live(records, mature=False) for (*_, name), sums in one.pairs.items() if not name)


def said(parts: Sequence[ComparisonSummary]) -> bytes:
    """All that the parts say together, without where they were cut and how long the models took."""
    one = reduce(merge_comparison, parts)
    one = replace(one, part=0, complete=True, segment=0, watermark=0, latencies={})
    ordered = {name: dict(sorted(getattr(one, name).items())) for name in ("pairs", "labelled", "cells")}
    return encode_comparison(replace(one, **ordered))[0]


async def flow(kafka: Kafka, project: Project) -> None:
    """Events with two kinds, the outcome that the champion says for two of three, and word that no more will come."""
    topics = project.settings.topics
    async with producing(kafka.servers) as producer:
        for n in range(EVENTS):
            await producer.send(topics.events.name, event(n, kind="ab"[n % 2]), b"e%d" % n, partition=n % PARTITIONS)
        await producer.flush()
        now = int(time.time() * 1000)
        for n in range(EVENTS):
            outcome = (score(n) >= 0.5) == (n % 3 > 0)
            label = {"id": f"e{n}", "label": int(outcome), "time": now}
            await producer.send(topics.labels.name, json.dumps(label).encode(), partition=n % PARTITIONS)
        for partition in range(PARTITIONS):
            watermark = json.dumps({"watermark": now + 60_000}).encode()
            await producer.send(topics.labels.name, watermark, partition=partition)
        await producer.flush()


async def again(project: Project, *models: ModelRef, stretch: Stretch = Stretch()) -> Replayed:  # noqa: B008
    candidates = [(load_model(project.settings, model), 1.0) for model in models]
    return await replay_stretch(project.settings, candidates, stretch, progress=quiet)


async def test_a_replay_says_what_the_live_shadow_said(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    project = await project_named("replaying", mode="at_least_once", partitions=PARTITIONS, more=QUICK)
    candidate = project.package(seed=2, inputs=FEATURES, factor=-1.0)

    def try_it(control: Control | None) -> Control:
        assert control is not None
        return replace(control, shadows=(Shadow(candidate),))

    await change_control(project.settings, try_it, command="shadow", author="test", reason="to compare them")
    workers = [project.start_worker(role) for role in ("shadow", "score", "watch")]
    workers[0].wait_until_it_says("is asked about 100 % of the keys")
    workers[1].wait_until_it_scores()
    workers[2].wait_until_it_says("Watching partitions")
    await flow(kafka, project)
    records = await witness.read(
        project.settings.topics.summaries.name,
        lambda seen: labelled_rows(seen) == paired_rows(seen) == EVENTS,
        timeout_s=90,
    )

    found = await again(project, candidate)
    assert (found.rows, found.paired, found.immature) == (EVENTS, EVENTS, 0)
    assert found.pairs is not None
    assert said([found.pairs]) == said(live(records, mature=False))
    assert said(found.labelled) == said(live(records, mature=True))

    # A stretch of it: nothing lies before the first event.
    with pytest.raises(NothingLogged, match="Choose another"):
        await again(project, candidate, stretch=Stretch(None, found.stretch[0]))

    # The opposite of a champion that is right two times of three does not pass the stage; the champion's twin does.
    control = await read_control(project.settings)
    assert control is not None
    staged = await stage(project.settings, control, candidate, last_ms=3_600_000, progress=quiet)
    assert not staged.staging.passed
    look = staged.staging.look
    assert isinstance(look, Look)
    assert look.verdict == "rollback"
    assert all(held for _, held in staged.staging.checks)
    twin = project.package(seed=3, inputs=FEATURES)
    staged = await stage(project.settings, control, twin, last_ms=3_600_000, progress=quiet)
    assert staged.staging.passed, staged.staging

    # A model that asks for what the catalogue lacks is refused with the reason.
    unknown = project.package(seed=4, inputs=FEATURES, beside=["wind"])
    staged = await stage(project.settings, control, unknown, last_ms=3_600_000, progress=quiet)
    assert not staged.staging.passed
    assert "wind" in staged.staging.checks[0][0]
