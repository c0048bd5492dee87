"""Every scored row is summarised once and joined with its label once, whatever happens to the watch worker.

So is every row that a candidate was asked about: it is compared once, and once more with its label.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from pipelines import Kafka, MakeProject, Witness
from traffic import event, producing, score

from penstock.schemas.columns import Columns, Layout
from penstock.schemas.comparison import ComparisonSummary, merge_comparison
from penstock.schemas.comparison_wire import COMPARISON_SCHEMA, decode_comparison
from penstock.schemas.dead_letters import DeadLetter
from penstock.schemas.keys import hash_keys, routing_keys
from penstock.schemas.paired import CandidateScores, PairedBlock
from penstock.schemas.paired_wire import encode
from penstock.schemas.quality import QUALITY_SCHEMA, QualitySummary, decode_quality
from penstock.schemas.records import SCHEMA_HEADER
from penstock.schemas.scored import decode
from penstock.schemas.summaries import FIXED_POINT, SUMMARY_SCHEMA, Summary, decode_summary

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


def comparisons(records: Sequence[ConsumerRecord], *, mature: bool) -> list[ComparisonSummary]:
    found = [r for r in records if dict(r.headers)[SCHEMA_HEADER] == COMPARISON_SCHEMA[1]]
    return [one for one in (decode_comparison(r.value, r.headers) for r in found) if one.mature == mature]


def check_in_order(parts: Sequence[Summary | QualitySummary | ComparisonSummary]) -> None:
    """The parts of each partition follow each other without overlap."""
    by_partition: dict[int, list[Summary | QualitySummary | ComparisonSummary]] = defaultdict(list)
    for part in parts:
        by_partition[part.partition].append(part)
    for mine in by_partition.values():
        for before, after in pairwise(mine):
            assert after.first_offset > before.last_offset
            assert (after.segment, after.part) > (before.segment, before.part)


def check_each_row_once(parts: Sequence[Summary | QualitySummary]) -> None:
    check_in_order(parts)
    assert sum(part.rows for part in parts) == EVENTS


# A candidate that is asked about two of three events, and says the opposite of the champion about every eleventh.


def asked(number: int) -> bool:
    return number % 3 != 1


def candidate_score(number: int) -> float:
    return 1 - score(number) if number % 11 == 0 else score(number)


def scored_rows(records: Sequence[ConsumerRecord]) -> int:
    return sum(decode(record.value, record.headers).rows for record in records)


def shadow_scores(record: ConsumerRecord) -> list[tuple[bytes, list[tuple[str, bytes]]]]:
    """What the candidate says about the rows of a record of the scored log."""
    scored = decode(record.value, record.headers)
    numbers = [int(name[1:]) for name in scored.ids]
    rows = scored.take(np.array([row for row, number in enumerate(numbers) if asked(number)], np.intp))
    said = np.array([candidate_score(int(name[1:])) for name in rows.ids], np.float32)
    return encode(
        PairedBlock(
            rows.partition, record.offset, rows.offsets, hash_keys(map(str.encode, rows.ids), rows.rows),
            routing_keys(rows.keys, rows.ids, rows.rows), rows.event_times, rows.timestamps,
            Columns.missing(Layout(), rows.rows), rows.variants, rows.models, rows.score, None, 100, "cpu",
            (CandidateScores("sum@2", np.ones(rows.rows, bool), said, None, 100, "cpu"),),
        )
    )  # fmt: skip


async def write_shadow_scores(producer: AIOKafkaProducer, topic: str, scored: Sequence[ConsumerRecord]) -> None:
    for record in scored:
        for value, headers in shadow_scores(record):
            await producer.send(topic, value, partition=record.partition, headers=headers)
    await producer.flush()


def rows_at_maturity(records: Sequence[ConsumerRecord]) -> int:
    mature = comparisons(records, mature=True)
    return sum(both.served.rows for comparison in mature for both in comparison.labelled.values())


def check_comparisons(records: Sequence[ConsumerRecord], truth: Mapping[int, int]) -> None:
    """Merged, they are what one counts by hand."""
    once, mature = comparisons(records, mature=False), comparisons(records, mature=True)
    check_in_order(once)
    check_in_order(mature)
    paired = [number for number in range(EVENTS) if asked(number)]
    found = list(reduce(merge_comparison, once).pairs.values())
    assert sum(sums.rows for sums in found) == len(paired)
    assert sum(sums.agreed for sums in found) == sum((candidate_score(n) >= 0.5) == (score(n) >= 0.5) for n in paired)
    known = [number for number in paired if number in truth]
    labelled = reduce(merge_comparison, mature).labelled
    assert {(candidate, served) for _, candidate, served, _ in labelled} == {("sum@2", "sum@1")}
    for said, sums in (
        (candidate_score, [both.candidate for both in labelled.values()]),
        (score, [both.served for both in labelled.values()]),
    ):
        assert sum(one.rows for one in sums) == len(known)
        assert sum(one.correct for one in sums) == sum((said(n) >= 0.5) == truth[n] for n in known)
        squares = sum((said(number) - truth[number]) ** 2 for number in known)
        assert sum(one.squared_error for one in sums) / FIXED_POINT == pytest.approx(squares, rel=1e-5)
    cells = reduce(merge_comparison, mature).cells
    assert sum(int(cell.rows.sum()) for cell in cells.values()) == len(known)


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
        scored = await witness.read(topics.scored.name, lambda seen: scored_rows(seen) >= EVENTS, timeout_s=60)
        half = next(n for n in range(len(scored)) if scored_rows(scored[:n]) >= EVENTS // 3)
        await write_shadow_scores(producer, topics.shadow_scores.name, scored[:half])
        await witness.read(topics.summaries.name, lambda seen: len(comparisons(seen, mature=False)) > 3, timeout_s=60)
        first.kill()
        again = scored[max(half - 2, 0) :]  # some of it twice, as after a crash of whoever wrote it
        await write_shadow_scores(producer, topics.shadow_scores.name, again)
        second = project.start_worker("watch")
        second.wait_until_it_says("Watching partitions")
        for partition in range(PARTITIONS):  # all labels have been sent
            mark = json.dumps({"watermark": int(time.time() * 1000) + 60_000}).encode()
            await producer.send_and_wait(topics.labels.name, mark, partition=partition)

    records = await witness.read(
        topics.summaries.name,
        lambda seen: (
            sum(q.rows for q in qualities(seen)) >= EVENTS
            and rows_at_maturity(seen) >= sum(asked(number) for number in truth)
        ),
        timeout_s=90,
    )
    check_each_row_once(summaries(records))
    check_each_row_once(qualities(records))
    assert sum(quality.labelled for quality in qualities(records)) == len(truth)
    everything = [sums for q in qualities(records) for (_, _, part), sums in q.groups.items() if part == ""]
    assert sum(sums.rows for sums in everything) == len(truth)
    assert sum(sums.positives for sums in everything) == sum(truth.values())
    check_comparisons(records, truth)
    [letter] = [
        DeadLetter.from_record(record.key, record.value, record.headers)
        for record in await witness.read(topics.dead_letters.name, lambda seen: len(seen) > 0, timeout_s=30)
    ]
    assert (letter.topic, letter.value, letter.error) == (topics.labels.name, b"no label", "not_json")
    assert second.stop() == 0, second.said
