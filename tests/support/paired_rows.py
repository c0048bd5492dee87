"""Paired blocks from a few columns, for tests of what compares candidates with what was served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scored_rows import category

from penstock.schemas.columns import Columns, Layout
from penstock.schemas.paired import CandidateScores, PairedBlock


def candidate(
    score: Sequence[float],
    *,
    model: str = "delay@4",
    sampled: Sequence[bool] | NDArray[np.bool_] | None = None,
    scores: NDArray[np.float32] | None = None,
    took_us: int = 300,
) -> CandidateScores:
    asked = np.ones(len(score), bool) if sampled is None else np.array(sampled, bool)
    return CandidateScores(model, asked, np.array(score, np.float32), scores, took_us, "cpu")


def paired_rows(
    score: Sequence[float],
    *candidates: CandidateScores,
    scores: NDArray[np.float32] | None = None,
    event_times: Sequence[int] | None = None,
    variants: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    keys: Sequence[int] | None = None,
    slices: Mapping[str, Sequence[str | None]] = {},
    first_offset: int = 0,
    took_us: int | None = 200,
) -> PairedBlock:
    rows = len(score)
    times = np.array(range(rows) if event_times is None else event_times, np.int64)
    columns = Columns(
        Layout(categories=tuple(slices)), np.empty((rows, 0), np.float32), np.empty((rows, 0), np.int64),
        tuple(map(category, slices.values())), (),
    )  # fmt: skip
    return PairedBlock(
        partition=2,
        record=7,
        offsets=np.arange(first_offset, first_offset + rows),
        ids=np.arange(rows, dtype=np.uint64),
        keys=np.array(range(rows) if keys is None else keys, np.uint64),
        event_times=times,
        timestamps=times,
        slices=columns,
        variants=category(variants or ["champion"] * rows),
        models=category(models or ["delay@3"] * rows),
        score=np.array(score, np.float32),
        scores=scores,
        took_us=took_us,
        runtime="cpu",
        candidates=candidates,
    )
