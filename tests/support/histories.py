"""Histories of summaries for the tests of reports: a profile of training data, and days that drift away from it."""

from __future__ import annotations

import numpy as np

from penstock.models.profiling import build_profile
from penstock.monitoring.counting.binning import Binning
from penstock.monitoring.counting.count import count
from penstock.monitoring.report.findings import Reference
from penstock.schemas.columns import Category, Columns, Layout
from penstock.schemas.profile import ReferenceProfile
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.summaries import NO_WATERMARK, Summary

LAYOUT = Layout(("distance", "wind", "income"), ("seats",), ("origin", "sex"), ())
SENSITIVE = frozenset({"income", "sex"})
ORIGINS = ("EWR", "JFK", "LGA")
MODEL = "delay@3"
MONDAY = 1_370_217_600_000
"""2013-06-03 00:00 UTC."""
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
SEGMENT_ROWS = 256
INCOME = 31_337.25
"""What no report may show."""


def columns(rng: np.random.Generator, rows: int, *, shift: float = 0.0, origins: tuple[str, ...] = ORIGINS) -> Columns:
    """`shift` moves the distance by so many standard deviations."""
    floats = np.column_stack([
        rng.normal(1000 + 200 * shift, 200, rows), rng.gamma(2, 5, rows), rng.normal(INCOME, 1, rows),
    ]).astype(np.float32)  # fmt: skip
    return Columns(
        LAYOUT,
        floats,
        rng.integers(50, 300, (rows, 1)),
        (
            Category(rng.integers(0, len(origins), rows).astype(np.int32), origins),
            Category(rng.integers(0, 2, rows).astype(np.int32), ("F-withheld", "M-withheld")),
        ),
        (),
    )


def scores_of(columns: Columns) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return (1 / (1 + np.exp(-(columns.floats[:, 1] - 10) / 5))).astype(np.float32)


def profile(rng: np.random.Generator, rows: int = 8192) -> ReferenceProfile:
    training = columns(rng, rows)
    scores = scores_of(training)
    return build_profile(
        training,
        scores=scores,
        labels=(rng.random(rows) < scores).astype(np.float64),
        times=MONDAY - 30 * DAY_MS + np.arange(rows) * 300_000,
        sensitive=SENSITIVE,
        segment_rows=SEGMENT_ROWS,
    )


def reference(profile: ReferenceProfile, name: str = MODEL) -> Reference:
    return Reference.of(name, profile, {"seats": (60.0, 300.0)})


def block(
    columns: Columns, segment: int, start_ms: int, *, model: str = MODEL, variant: str = "champion", partition: int = 0
) -> ScoredBlock:
    """A segment's events within an hour of `start_ms`."""
    rows = columns.rows
    times = start_ms + np.arange(rows) * (HOUR_MS // rows)
    return ScoredBlock(
        ids=[f"id-{segment}-{row}" for row in range(rows)],
        keys=[None] * rows,
        offsets=segment * SEGMENT_ROWS + np.arange(rows),
        event_times=times,
        timestamps=times + 20,
        columns=columns,
        aged=(),
        ages=np.empty((rows, 0), np.float32),
        defaulted=np.zeros((rows, len(LAYOUT.names)), np.bool_),
        score=scores_of(columns),
        scores=None,
        variants=Category(np.zeros(rows, np.int32), (variant,)),
        models=Category(np.zeros(rows, np.int32), (model,)),
        routing_revisions=np.full(rows, 7),
        partition=partition,
        scored_at=0,
        runtime="test",
    )


def summary(
    block: ScoredBlock, profile: ReferenceProfile, *, reference: str = MODEL, part: int = 0, complete: bool = True
) -> Summary:
    binning = Binning.of(LAYOUT, (), profile, reference=reference, sensitive=SENSITIVE, ranges={"seats": (60.0, 300.0)})
    return count(
        block, binning, segment=int(block.offsets[0]) // SEGMENT_ROWS, part=part, complete=complete,
        watermark_before=NO_WATERMARK, max_future_ms=HOUR_MS, max_out_of_order_ms=60_000, segment_rows=SEGMENT_ROWS,
    )  # fmt: skip
