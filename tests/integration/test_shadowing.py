"""Every scored row of a sampled key is in the shadow scores once, whatever happens to the shadow worker."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from aiokafka import ConsumerRecord
from msgspec.structs import replace
from pipelines import FEATURES, Kafka, MakeProject, Project, Witness, until
from traffic import decoded, flowing, score

from penstock.schemas.control import Control, Shadow
from penstock.schemas.keys import routing_keys, within
from penstock.schemas.paired import PairedBlock
from penstock.schemas.paired_wire import decode
from penstock.schemas.records import ModelRef
from penstock.schemas.scored import decode as decode_scored
from penstock.streams.control import change_control

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 2
MORE = """
    [watch]
    checkpoint_s = 0.2
    [features.secret]
    type = "float"
    path = "features.secret"
    default = 0.0
    sensitive = true
"""
Row = tuple[int, int]
"""Partition and offset of an event."""


async def try_in_shadow(project: Project, *shadows: Shadow) -> None:
    def change(control: Control | None) -> Control:
        assert control is not None
        return replace(control, shadows=shadows)

    await change_control(project.settings, change, command="shadow", author="test", reason="to compare them")


def blocks(records: Sequence[ConsumerRecord]) -> list[PairedBlock]:
    return [decode(record.value, record.headers) for record in records]


def rows(records: Sequence[ConsumerRecord]) -> int:
    return sum(block.rows for block in blocks(records))


def sampled(ids: Sequence[str], share: float) -> set[str]:
    """Of events whose keys are their ids."""
    mask = within(routing_keys([name.encode() for name in ids], ids, len(ids)), "shadow", share)
    return {name for name, drawn in zip(ids, mask.tolist(), strict=True) if drawn}


def check_scores(found: Sequence[PairedBlock], ids: dict[Row, str], factors: dict[str, float]) -> None:
    """Everybody's score is what the version gives by hand, for the rows of its sample."""
    for block in found:
        assert {candidate.model for candidate in block.candidates} == factors.keys()
        for place, offset in enumerate(block.offsets.tolist()):
            number = int(ids[block.partition, offset][1:])
            assert math.isclose(block.score[place], score(number), rel_tol=1e-5)
            for candidate in block.candidates:
                if candidate.sampled[place]:
                    assert math.isclose(candidate.score[place], score(number, factors[candidate.model]), rel_tol=1e-5)
                else:
                    assert np.isnan(candidate.score[place])


async def test_sampled_rows_are_scored_once_through_kill_minus_nine(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    project = await project_named("shadowing", mode="exactly_once", partitions=PARTITIONS, more=MORE)
    topics = project.settings.topics
    double, triple = (project.package(seed=seed, inputs=FEATURES, factor=seed) for seed in (2, 3))
    reads_secrets = project.package(seed=4)
    nobody = ModelRef("sum", 99)
    await try_in_shadow(project, Shadow(double, 0.5), Shadow(nobody), Shadow(reads_secrets), Shadow(triple, 0.2))
    first, scoring = project.start_worker("shadow"), project.start_worker()
    first.wait_until_it_says("Shadowing partitions")
    scoring.wait_until_it_scores()

    async with flowing(kafka.servers, topics.events.name, partitions=PARTITIONS) as traffic:
        await witness.read(topics.shadow_scores.name, lambda seen: rows(seen) > 100, timeout_s=60)
        first.kill()
        before = len(traffic.sent)
        await until(lambda: len(traffic.sent) > before + 500, "events go on without a shadow worker")
    second = project.start_worker("shadow")
    expected = sampled(sorted(traffic.ids), 0.5)
    records = await witness.read(topics.shadow_scores.name, lambda seen: rows(seen) >= len(expected), timeout_s=60)

    predictions = decoded(await witness.read(topics.predictions.name, lambda seen: True, timeout_s=30))
    ids = {(p["source"]["partition"], p["source"]["offset"]): p["id"] for p in predictions}
    found = blocks(records)
    written = [ids[block.partition, offset] for block in found for offset in block.offsets.tolist()]
    assert sorted(written) == sorted(expected)
    of_triple = [
        ids[block.partition, offset]
        for block in found
        for offset in block.offsets[block.candidates[1].sampled].tolist()
    ]
    assert set(of_triple) == sampled(sorted(traffic.ids), 0.2)
    check_scores(found, ids, {str(double): 2.0, str(triple): 3.0})

    # One record per record of the log with sampled rows, in its partition and order, of what stands there.
    log = {
        (record.partition, record.offset): decode_scored(record.value, record.headers)
        for record in await witness.read(topics.scored.name, lambda seen: True, timeout_s=30)
    }
    for number in range(PARTITIONS):
        places = [block.record for block in found if block.partition == number]
        assert places == sorted(set(places))
    for block in found:
        assert set(block.offsets.tolist()) <= set(log[block.partition, block.record].offsets.tolist())

    # Who is refused is reported, and in nobody's way; so is who is not in the registry yet.
    assert f"The candidate {nobody} is not asked yet; it is tried again. The registry has no {nobody}" in second.said
    assert second.metric("penstock_models_unread") == 1
    assert (
        f"The candidate {reads_secrets} is not asked. Model {reads_secrets} is refused: it reads secret" in second.said
    )
    assert second.metric("penstock_models_refused_total") == 1
    assert second.metric("penstock_shadow_sample") == pytest.approx(0.7)

    # What is left of the log now is the markers of transactions: nothing waits.
    await until(lambda: "penstock_shadow_behind_seconds{" in second.get("/metrics")[1], "its lag is measured")
    await until(lambda: second.metric("penstock_shadow_behind_events") == 0, "nothing waits")
    assert second.metric("penstock_shadow_behind_seconds") == 0

    # Without candidates the log passes by unread, and who comes later begins at the present.
    await try_in_shadow(project)
    assert second.stop() == 0, second.said
