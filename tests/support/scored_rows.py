"""Scored blocks from a few columns, for tests of what reads the scored log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, Layout
from penstock.schemas.scored import ScoredBlock


def category(values: Sequence[str | None]) -> Category:
    names = tuple(dict.fromkeys(value for value in values if value is not None))
    return Category(np.array([-1 if value is None else names.index(value) for value in values], np.int32), names)


def scored_rows(
    score: Sequence[float],
    *,
    scores: NDArray[np.float32] | None = None,
    event_times: Sequence[int] | None = None,
    variants: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    first_offset: int = 0,
    categories: Mapping[str, Sequence[str | None]] = {},
    integers: Mapping[str, Sequence[int | None]] = {},
) -> ScoredBlock:
    rows = len(score)
    columns = Columns(
        Layout(integers=tuple(integers), categories=tuple(categories)),
        np.empty((rows, 0), np.float32),
        np.array(
            [[MISSING_INTEGER if value is None else value for value in column] for column in integers.values()],
            np.int64,
        )
        .reshape(len(integers), rows)
        .T,
        tuple(map(category, categories.values())),
        (),
    )
    times = np.array(range(rows) if event_times is None else event_times, np.int64)
    return ScoredBlock(
        ids=[f"event-{first_offset + row}" for row in range(rows)],
        keys=[None] * rows,
        offsets=np.arange(first_offset, first_offset + rows),
        event_times=times,
        timestamps=times,
        columns=columns,
        aged=(),
        ages=np.empty((rows, 0), np.float32),
        defaulted=np.zeros((rows, len(columns.layout.names)), bool),
        score=np.array(score, np.float32),
        scores=scores,
        variants=category(variants or ["champion"] * rows),
        models=category(models or ["delay@3"] * rows),
        routing_revisions=np.full(rows, 7),
        partition=2,
        scored_at=0,
        runtime="cpu",
    )


LAYOUT = Layout(floats=("x",), categories=("origin",))


def block_of(offsets: Sequence[int], layout: Layout = LAYOUT, runtime: str = "cpu") -> ScoredBlock:
    """Rows at these offsets, where nothing else matters; the value of the first float feature is the offset."""
    columns = Columns.missing(layout, len(offsets))
    columns.floats[:, 0] = offsets
    rows = scored_rows([0.0] * len(offsets), event_times=[1000 * offset for offset in offsets])
    return replace(
        rows,
        ids=[str(offset) for offset in offsets],
        offsets=np.array(offsets, np.int64),
        columns=columns,
        defaulted=np.zeros((len(offsets), len(layout.names)), bool),
        runtime=runtime,
    )
