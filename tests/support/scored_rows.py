"""Scored rows for tests that do not care what is in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.schemas.columns import Category, Columns, Layout
from penstock.schemas.scored import ScoredBlock

LAYOUT = Layout(floats=("x",), categories=("origin",))


def block_of(offsets: Sequence[int], layout: Layout = LAYOUT, runtime: str = "test") -> ScoredBlock:
    """Rows at these offsets; the value of the first float feature is the offset."""
    rows = len(offsets)
    where = np.array(offsets, np.int64)
    columns = Columns.missing(layout, rows)
    columns.floats[:, 0] = where
    return ScoredBlock(
        ids=[str(offset) for offset in offsets],
        keys=[None] * rows,
        offsets=where,
        event_times=where * 1000,
        timestamps=where * 1000,
        columns=columns,
        aged=(),
        ages=np.empty((rows, 0), np.float32),
        defaulted=np.zeros((rows, len(layout.names)), np.bool_),
        score=np.zeros(rows, np.float32),
        scores=None,
        variants=Category(np.zeros(rows, np.int32), ("champion",)),
        models=Category(np.zeros(rows, np.int32), ("delay@1",)),
        routing_revisions=np.ones(rows, np.int64),
        partition=3,
        scored_at=0,
        runtime=runtime,
    )
