"""Shadow scores of made-up rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scored_blocks

from penstock.schemas.columns import Layout
from penstock.schemas.keys import hash_keys, routing_keys
from penstock.schemas.paired import CandidateScores, PairedBlock

SLICES = Layout(("wind",), ("seats",), ("origin",), (("legs", 2),))


def block(
    rows: int = 5,
    *,
    seed: int = 0,
    slices: Layout = SLICES,
    outputs: int = 0,
    candidates: Mapping[str, float] = {"delay@5": 1.0, "delay@6": 0.3},
    first_offset: int = 0,
    record: int = 7,
    took_us: int | None = 900,
) -> PairedBlock:
    """What candidates (model → share of the rows) say about scored rows; now and then they give no number."""
    rng = np.random.default_rng(seed)
    scored = scored_blocks.block(rows, seed=seed, layout=slices, outputs=outputs, first_offset=first_offset)

    def scores(model: str, sample: float) -> CandidateScores:
        score = rng.random(rows, np.float32)
        score[rng.random(rows) < 0.05] = np.nan
        several = rng.random((rows, outputs), np.float32) if outputs else None
        sampled = rng.random(rows) < sample
        took_us = int(rng.integers(1, 10**6)) if sampled.any() else 0
        return CandidateScores(model, sampled, score, several, took_us, "torch")

    return PairedBlock(
        partition=scored.partition,
        record=record,
        offsets=scored.offsets,
        ids=hash_keys(map(str.encode, scored.ids), rows),
        keys=routing_keys(scored.keys, scored.ids, rows),
        event_times=scored.event_times,
        timestamps=scored.timestamps,
        slices=scored.columns,
        variants=scored.variants,
        models=scored.models,
        score=scored.score,
        scores=scored.scores,
        took_us=took_us,
        runtime=scored.runtime,
        candidates=tuple(scores(model, sample) for model, sample in candidates.items()),
    )


def assert_same(found: Any, expected: Any) -> None:
    """Same rows, whatever dictionary a category uses."""
    assert type(found) is type(expected)
    if isinstance(found, np.ndarray):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    elif hasattr(found, "decoded"):
        assert found.decoded() == expected.decoded()
    elif isinstance(found, tuple) and not hasattr(found, "_fields"):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif hasattr(found, "__slots__"):
        for name in found.__slots__:
            assert_same(getattr(found, name), getattr(expected, name))
    else:
        assert found == expected
