"""Every scored row is summarised once and joined with its label once, whatever happens to the watch worker."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import pytest
from aiokafka import ConsumerRecord
from pipelines import Kafka, MakeProject, Witness
from traffic import event, producing

from penstock.schemas.quality import QUALITY_SCHEMA, QualitySummary, decode_quality
from penstock.schemas.records import SCHEMA_HEADER
from penstock.schemas.summaries import SUMMARY_SCHEMA, Summary, decode_summary

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 2
EVENTS = 6_000
QUICK = """
    [watch]
    segment_rows = 64
    segment_max_s = 2
    max_out_of_order_s = 0
    checkpoint_s = 0.3
    [labels]
    maturity_s = 30
"""


def summaries(records: Sequence[ConsumerRecord]) -> list[Summary]:
    return [decode_summary(r.value, r.headers) for r in records if dict(r.headers)[SCHEMA_HEADER] == SUMMARY_SCHEMA[1]]


def qualities(records: Sequence[ConsumerRecord]) -> list[QualitySummary]:
    return [decode_quality(r.value, r.headers) for r in records if dict(r.headers)[SCHEMA_HEADER] == QUALITY_SCHEMA[1]]


def check_each_row_once(parts: Sequence[Summary | QualitySummary]) -> None:
    """The parts of each partition follow each other without overlap, and have all rows."""
    by_partition: dict[int, list[Summary | QualitySummary]] = defaultdict(list)
    for part in parts:
        by_partition[part.partition].append(part)
    for mine in by_partition.values():
        for before, after in pairwise(mine):
            assert after.first_offset > before.last_offset
            assert (after.segment, after.part) > (before.segment, before.part)
    assert sum(part.rows for part in parts) == EVENTS


async def test_rows_and_labels_count_once_through_kill_minus_nine(
    kafka: Kafka, project_named: MakeProject, witness: Witness
) -> None:
    project = await project_named("watching", mode="at_least_once", partitions=PARTITIONS, more=QUICK)
    topics = project.settings.topics
    project.start_worker().wait_until_it_scores()
    first = project.start_worker("watch")
    first.wait_until_it_says("Watching partitions")

    # Every third event gets no label. Some labels come before their event, some twice, some are corrected.
    truth = {number: number % 2 for number in range(EVENTS) if number % 3}
    async with producing(kafka.servers) as producer:

        async def label(number: int, value: float, after_ms: int = 0) -> None:
            text = {"id": f"e{number}", "label": value, "time": int(time.time() * 1000) + after_ms}
            await producer.send(topics.labels.name, json.dumps(text).encode(), partition=number % PARTITIONS)

        for number in truth:
            if number % 5 == 1:
                await label(number, 1 - truth[number] if number % 10 == 1 else truth[number])
        for number in range(EVENTS):
            await producer.send(topics.events.name, event(number), b"e%d" % number, partition=number % PARTITIONS)
        for number in truth:
            await label(number, truth[number], after_ms=1_000)
        await label(EVENTS + 7, 1.0)
        await producer.send(topics.labels.name, b"no label", partition=0)
        await producer.flush()
        await witness.read(topics.summaries.name, lambda seen: len(seen) > 5, timeout_s=60)
        first.kill()
        second = project.start_worker("watch")
        second.wait_until_it_says("Watching partitions")
        for partition in range(PARTITIONS):  # all labels have been sent
            mark = json.dumps({"watermark": int(time.time() * 1000) + 60_000}).encode()
            await producer.send_and_wait(topics.labels.name, mark, partition=partition)

    records = await witness.read(
        topics.summaries.name, lambda seen: sum(q.rows for q in qualities(seen)) >= EVENTS, timeout_s=90
    )
    check_each_row_once(summaries(records))
    check_each_row_once(qualities(records))
    assert sum(quality.labelled for quality in qualities(records)) == len(truth)
    everything = [sums for q in qualities(records) for (_, _, part), sums in q.groups.items() if part == ""]
    assert sum(sums.rows for sums in everything) == len(truth)
    assert sum(sums.positives for sums in everything) == sum(truth.values())
    assert second.stop() == 0, second.said
