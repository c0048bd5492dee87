"""Streams of summaries for the judge: rows of a made-up service, segment by segment, with faults at known segments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from penstock.models.profiling import build_profile
from penstock.monitoring.config import AlertsConfig, DriftConfig, LabelsConfig
from penstock.monitoring.counting.binning import Binning
from penstock.monitoring.counting.count import count
from penstock.monitoring.judging.judge import Judge
from penstock.schemas.columns import Category, Columns, Layout
from penstock.schemas.profile import SLOTS, ReferenceProfile
from penstock.schemas.quality import QualitySummary
from penstock.schemas.quality_sums import QualitySums
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.summaries import FIXED_POINT, NO_WATERMARK, Summary

ROWS = 100
SECOND = 1_000
LAYOUT = Layout(floats=("price", "distance"), integers=("stops",), categories=("airport",))
DAY = 24 * 3600 * SECOND


def columns(random: np.random.Generator, rows: int) -> Columns:
    floats = np.stack([random.normal(40, 5, rows), random.gamma(2, 300, rows)], axis=1).astype(np.float32)
    airport = Category(random.integers(0, 3, rows).astype(np.int32), ("JFK", "LGA", "EWR"))
    return Columns(LAYOUT, floats, random.poisson(1, (rows, 1)), (airport,), ())


def profile(seed: int = 1, segments: int = 200) -> ReferenceProfile:
    """Of `segments` segments, one event a second."""
    random = np.random.default_rng(seed)
    rows = segments * ROWS
    return build_profile(
        columns(random, rows),
        scores=random.random(rows).astype(np.float32),
        times=np.arange(rows, dtype=np.int64) * SECOND,
        segment_rows=ROWS,
    )


PROFILE = profile()
"""Made once: it takes a while."""


def block(
    segment: int,
    *,
    partition: int = 0,
    seed: int = 0,
    model: str = "delay@1",
    revision: int = 1,
    variant: str = "champion",
    change: Callable[[Columns], None] = lambda _: None,
    ms_per_row: int = SECOND,
) -> ScoredBlock:
    """The rows of one segment; they depend on its number, its partition and the seed alone."""
    random = np.random.default_rng((seed, partition, segment))
    rows = columns(random, ROWS)
    change(rows)
    offsets = np.arange(segment * ROWS, (segment + 1) * ROWS, dtype=np.int64)
    times = offsets * ms_per_row + 1_357_034_400_000
    one = np.zeros(ROWS, np.int32)
    return ScoredBlock(
        ids=[f"{partition}-{offset}" for offset in offsets.tolist()],
        keys=[None] * ROWS,
        offsets=offsets,
        event_times=times,
        timestamps=times + random.integers(5, 50, ROWS),
        columns=rows,
        aged=(),
        ages=np.empty((ROWS, 0), np.float32),
        defaulted=np.zeros((ROWS, len(LAYOUT.names)), np.bool_),
        score=random.random(ROWS).astype(np.float32),
        scores=None,
        variants=Category(one, (variant,)),
        models=Category(one, (model,)),
        routing_revisions=np.full(ROWS, revision, np.int64),
        partition=partition,
        scored_at=0,
        runtime="cpu",
    )


def summary(rows: ScoredBlock, *, reference: str = "delay@1", known: ReferenceProfile | None = PROFILE) -> Summary:
    """Of a block that is a whole segment."""
    binning = Binning.of(LAYOUT, (), known, reference=reference, ranges={"price": (0.0, 1_000.0)})
    return count(
        rows,
        binning,
        segment=int(rows.offsets[0]) // ROWS,
        part=0,
        complete=True,
        watermark_before=NO_WATERMARK,
        max_future_ms=3600 * SECOND,
        max_out_of_order_ms=0,
        segment_rows=ROWS,
    )


def judge(
    drift: DriftConfig | None = None,
    labels: LabelsConfig | None = None,
    *,
    known: Callable[[str], ReferenceProfile | None] = lambda _: PROFILE,
    sensitive: tuple[str, ...] = (),
) -> Judge:
    return Judge(
        replace(drift or DriftConfig(), segment_rows=ROWS),
        labels or LabelsConfig(),
        AlertsConfig(clear_after=10),
        pipeline="flights",
        profile=known,
        sensitive=sensitive,
    )


def quality(
    segment: int,
    *,
    partition: int = 0,
    rows: int = 200,
    wrong: int = 20,
    missing: int = 4,
    slices: dict[str, tuple[int, int]] | None = None,
    bucket_ms: int = DAY,
) -> QualitySummary:
    """What came true of a segment, one a bucket; `slices` are rows and wrong decisions by slice."""
    bucket = segment * bucket_ms
    first = segment * rows
    groups = {(bucket, "champion", ""): _sums(rows, wrong)}
    groups |= {(bucket, "champion", name): _sums(*each) for name, each in (slices or {}).items()}
    return QualitySummary(
        partition=partition,
        segment=segment,
        part=0,
        complete=True,
        first_offset=first,
        last_offset=first + rows - 1,
        rows=rows + missing,
        labelled=rows,
        silent=0,
        missing=missing,
        invalid=0,
        late=0,
        event_times=(bucket, bucket + bucket_ms - 1),
        watermark=bucket + bucket_ms,
        served={("champion", "delay@1", 1): rows},
        errors={"champion": (rows, wrong)},
        delays=_delays(rows),
        groups=groups,
    )


def _sums(rows: int, wrong: int) -> QualitySums:
    return QualitySums(
        rows=rows, correct=rows - wrong, positives=rows // 2, decided=rows // 2, log_loss=rows * FIXED_POINT // 2
    )


def _delays(rows: int) -> NDArray[np.int64]:
    delays = np.zeros(SLOTS, np.int64)
    delays[20] = rows
    return delays
