"""Rows of a table as the scored log would hold them, and their summaries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.counting.binning import Binning
from penstock.monitoring.counting.count import count
from penstock.schemas.columns import Category, Columns
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.summaries import NO_WATERMARK, Summary

_ANY_TIME_MS = 2**62


def block_of(
    columns: Columns, times: NDArray[np.int64], scores: NDArray[np.float64] | None, *, variant: str, reference: str
) -> ScoredBlock:
    """Rows whose offsets count from 0; without `scores` all of them are missing."""
    rows = columns.rows
    one = np.zeros(rows, np.int32)
    with np.errstate(over="ignore"):
        score = np.full(rows, np.nan, np.float32) if scores is None else scores.astype(np.float32)
    return ScoredBlock(
        ids=[""] * rows,
        keys=[None] * rows,
        offsets=np.arange(rows, dtype=np.int64),
        event_times=times,
        timestamps=times,
        columns=columns,
        aged=(),
        ages=np.empty((rows, 0), np.float32),
        defaulted=np.zeros((rows, len(columns.layout.names)), np.bool_),
        score=score,
        scores=None,
        variants=Category(one, (variant,)),
        models=Category(one, (reference,)),
        routing_revisions=np.zeros(rows, np.int64),
        partition=0,
        scored_at=0,
        runtime="",
    )


def summaries_of(block: ScoredBlock, binning: Binning, segment_rows: int) -> Iterator[Summary]:
    """One per segment, in order; the last may be shorter."""
    for segment in range(-(-block.rows // segment_rows)):
        rows = slice(segment * segment_rows, min((segment + 1) * segment_rows, block.rows))
        yield count(
            block.take(rows),
            binning,
            segment=segment,
            part=0,
            complete=True,
            watermark_before=NO_WATERMARK,
            max_future_ms=_ANY_TIME_MS,
            max_out_of_order_ms=0,
            segment_rows=segment_rows,
        )
