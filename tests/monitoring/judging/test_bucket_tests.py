"""One test per bucket: slices that do worse, gaps that widen."""

from __future__ import annotations

import msgspec
import numpy as np
from judged import DAY, quality

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.judging.bucket_tests import BucketTests
from penstock.schemas.quality import QualitySummary
from penstock.schemas.quality_sums import QualitySums

CONFIG = LabelsConfig(slices=("airport",), groups=("airport",), bucket_s=DAY / 1000)


def run(days: list[QualitySummary], tests: BucketTests | None = None) -> list[tuple[int, Alarm]]:
    tests = tests or BucketTests(CONFIG)
    return [(day.segment, alarm) for day in days for alarm in tests.judge(day, lambda _: 1e-3)]


def days(jfk: float, others: float, number: int, *, start: int = 0, seed: int = 0) -> list[QualitySummary]:
    random = np.random.default_rng((seed, start))
    return [
        quality(
            day,
            rows=1_000,
            wrong=(a := int(random.binomial(400, jfk))) + (b := int(random.binomial(600, others))),
            slices={"airport=JFK": (400, a), "airport=EWR": (600, b)},
        )
        for day in range(start, start + number)
    ]


def test_a_slice_that_was_always_worse_is_no_news() -> None:
    assert run(days(0.3, 0.1, 40)) == []


def test_what_all_slices_share_is_no_news() -> None:
    assert run([*days(0.1, 0.1, 20), *days(0.3, 0.3, 20, start=20)]) == []


def test_a_slice_that_does_worse_than_before_and_than_the_rest_is_told_with_both() -> None:
    [(day, alarm), *_] = run([*days(0.1, 0.1, 20), *days(0.3, 0.1, 5, start=20)])

    assert day == 20
    assert alarm.slice == "airport=JFK"
    assert alarm.before["errors"] < 0.15
    assert alarm.after["errors"] > 0.2 > alarm.after["rest"]


def test_a_slice_that_gets_better_is_no_alarm() -> None:
    told = run([*days(0.3, 0.3, 20), *days(0.1, 0.3, 5, start=20)])

    assert "airport=JFK" not in {alarm.slice for _, alarm in told}


def test_a_gap_that_widens_is_told() -> None:
    def fair(day: int, jfk: int) -> QualitySummary:
        summary = quality(day, rows=1_000, wrong=100, slices={"airport=JFK": (500, 50), "airport=EWR": (500, 50)})
        groups = dict(summary.groups)
        for name, decided in (("airport=JFK", jfk), ("airport=EWR", 250 + day % 3)):
            groups[day * DAY, "champion", name] = QualitySums(rows=500, correct=450, positives=250, decided=decided)
        return msgspec.structs.replace(summary, groups=groups)

    told = run([*(fair(day, 250 - day % 5) for day in range(20)), *(fair(day, 120) for day in range(20, 24))])

    assert ("fairness", "selection_rate:champion") in {(alarm.family, alarm.signal) for _, alarm in told}
    assert all(day >= 20 for day, _ in told)


def test_a_bucket_is_tested_when_every_partition_that_speaks_has_passed_it() -> None:
    tests = BucketTests(CONFIG)
    calm, worse = days(0.1, 0.1, 20), days(0.4, 0.1, 1, start=20)[0]
    run(calm, tests)

    behind = msgspec.structs.replace(calm[19], partition=1, segment=0, groups={}, watermark=20 * DAY)
    assert run([behind, worse], tests) == []
    told = run([msgspec.structs.replace(behind, watermark=21 * DAY)], tests)
    assert "airport=JFK" in {alarm.slice for _, alarm in told}


def test_buckets_that_nobody_completes_are_bounded() -> None:
    tests = BucketTests(CONFIG)

    for day in days(0.1, 0.1, 500):
        run([msgspec.structs.replace(day, watermark=0)], tests)

    assert len({bucket for bucket, _, _ in tests._groups}) == 400


def test_state_is_restored_exactly() -> None:
    stream = [*days(0.1, 0.1, 20), *days(0.3, 0.1, 5, start=20)]
    before, after = BucketTests(CONFIG), BucketTests(CONFIG)
    run(stream[:15], before)

    after.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(before.state()), type=type(before.state())))

    assert run(stream[15:], after) == run(stream[15:], before)
