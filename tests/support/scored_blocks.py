"""Scored blocks of made-up rows."""

from __future__ import annotations

import numpy as np

from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, Layout
from penstock.schemas.scored import ScoredBlock

LAYOUT = Layout(("distance", "wind"), ("seats", "holiday"), ("origin",), (("legs", 2),))
ORIGINS = ("JFK", "LGA", "EWR", "naïve ✈")
NOW = 1_357_034_400_000


def columns(rng: np.random.Generator, rows: int, layout: Layout = LAYOUT, *, missing: float = 0.1) -> Columns:
    def gaps(shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return rng.random(shape) < missing

    return Columns(
        layout,
        np.where(gaps((rows, len(layout.floats))), np.nan, rng.normal(size=(rows, len(layout.floats)))).astype("f4"),
        np.where(gaps((rows, len(layout.integers))), MISSING_INTEGER, rng.integers(0, 9, (rows, len(layout.integers)))),
        tuple(
            Category(np.where(gaps((rows,)), -1, rng.integers(0, len(ORIGINS), rows)).astype(np.int32), ORIGINS)
            for _ in layout.categories
        ),
        tuple(rng.normal(size=(rows, width)).astype(np.float32) for _, width in layout.vectors),
    )


def block(
    rows: int, *, seed: int = 0, layout: Layout = LAYOUT, outputs: int = 0, variants: int = 2, first_offset: int = 0
) -> ScoredBlock:
    """Rows at every other offset, out of order in time, some dated far too late."""
    rng = np.random.default_rng(seed)
    timestamps = NOW + np.arange(rows) * 100
    times = timestamps - rng.exponential(5_000, rows).astype(np.int64)
    times[rng.random(rows) < 0.02] += 10**9
    scores = rng.random((rows, outputs), np.float32) if outputs else None
    return ScoredBlock(
        ids=[f"flight-{first_offset + 2 * row}" for row in range(rows)],
        keys=[None] * rows,
        offsets=first_offset + 2 * np.arange(rows),
        event_times=times,
        timestamps=timestamps,
        columns=columns(rng, rows, layout),
        aged=("wind",),
        ages=np.where(rng.random((rows, 1)) < 0.1, np.nan, rng.exponential(3_600, (rows, 1))).astype(np.float32),
        defaulted=rng.random((rows, len(layout.names))) < 0.1,
        score=rng.random(rows, np.float32) if scores is None else scores.max(axis=1),
        scores=scores,
        variants=Category(rng.integers(0, variants, rows).astype(np.int32), ("champion", "canary")),
        models=Category(rng.integers(0, 2, rows).astype(np.int32), ("delay@3", "delay@4")),
        routing_revisions=rng.integers(0, 3, rows),
        partition=3,
        scored_at=NOW,
        runtime="torch, CPU",
        sizes=rng.integers(80, 400, rows).astype(np.int32),
    )
