"""Readers of Arrow: the scored log and the shadow scores. A block that is accepted has parts that fit each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from fuzz_suite.inputs import Message, Records, Wrong
from fuzz_suite.mutators import in_arrow

from penstock.schemas import paired_wire, scored
from penstock.schemas.columns import MISSING_INTEGER, Category, Columns, Layout
from penstock.schemas.paired import CandidateScores, PairedBlock
from penstock.schemas.scored import ScoredBlock

_LAYOUT = Layout(("distance", "wind"), ("seats", "holiday"), ("origin",), (("legs", 2),))
_BARE = Layout(("distance",))


def targets() -> list[Records]:
    """Blocks of few rows and of many, with and without several outputs."""
    blocks = [_scored(5), _scored(1, outputs=3), _scored(60, outputs=2), _scored(9, layout=_BARE)]
    pairs = [_paired(5), _paired(1, outputs=3), _paired(60, outputs=2), _paired(9, layout=_BARE)]
    return [
        Records(
            "scored log", 0.12, [Message(r.value, list(r.headers)) for b in blocks for r in scored.encode(b)],
            in_arrow, _read_scored, scored.CorruptBlock,
        ),
        Records(
            "shadow scores", 0.08, [Message(v, list(h)) for p in pairs for v, h in paired_wire.encode(p)],
            in_arrow, _read_paired, paired_wire.CorruptPaired,
        ),
    ]  # fmt: skip


def _read_scored(message: Message) -> None:
    block = scored.decode(message.value, message.headers)  # type: ignore[arg-type]
    rows = block.rows
    _whole_numbers(rows, block.offsets, block.event_times, block.timestamps, block.routing_revisions)
    _columns(rows, block.columns)
    _expect(all(type(each) is str for each in block.ids), "ids")
    _expect(len(block.keys) == rows and all(key is None or type(key) is bytes for key in block.keys), "keys")
    _matrix(block.ages, (rows, len(block.aged)), np.float32)
    _matrix(block.defaulted, (rows, len(block.columns.layout.names)), np.bool_)
    _scores(rows, block.score, block.scores)
    _categories(rows, False, block.variants, block.models)
    if block.sizes is not None:
        _matrix(block.sizes, (rows,), np.int32)
    for _ in scored.encode(block.take(slice(0, rows, 2))):
        pass


def _read_paired(message: Message) -> None:
    block = paired_wire.decode(message.value, message.headers)  # type: ignore[arg-type]
    rows = block.rows
    _whole_numbers(rows, block.offsets, block.event_times, block.timestamps)
    _columns(rows, block.slices)
    _matrix(block.ids, (rows,), np.uint64)
    _matrix(block.keys, (rows,), np.uint64)
    _scores(rows, block.score, block.scores)
    _categories(rows, False, block.variants, block.models)
    for candidate in block.candidates:
        _matrix(candidate.sampled, (rows,), np.bool_)
        _scores(rows, candidate.score, candidate.scores)
    half = paired_wire.take(block, slice(0, rows, 2))
    paired_wire.encode(paired_wire.join([half, half]))


def _expect(true: bool, what: str) -> None:
    if not true:
        raise Wrong(f"{what} are not what the block promises")


def _matrix(array: Any, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    _expect(array.shape == shape and array.dtype == dtype, f"{array.dtype} {array.shape} for {dtype.__name__} {shape}")


def _whole_numbers(rows: int, *arrays: Any) -> None:
    for array in arrays:
        _matrix(array, (rows,), np.int64)


def _scores(rows: int, score: Any, scores: Any) -> None:
    _matrix(score, (rows,), np.float32)
    if scores is not None:
        _matrix(scores, (rows, scores.shape[1]), np.float32)


def _categories(rows: int, missing: bool, *categories: Category) -> None:
    for codes, values in categories:
        _matrix(codes, (rows,), np.int32)
        _expect(all(type(value) is str for value in values), "values of a category")
        lowest, highest = int(codes.min(initial=0)), int(codes.max(initial=-1))
        _expect((lowest >= 0 or (missing and lowest == -1)) and highest < len(values), "codes")


def _columns(rows: int, columns: Columns) -> None:
    layout = columns.layout
    _matrix(columns.floats, (rows, len(layout.floats)), np.float32)
    _matrix(columns.integers, (rows, len(layout.integers)), np.int64)
    _categories(rows, True, *columns.categories)
    for (_, width), vector in zip(layout.vectors, columns.vectors, strict=True):
        _matrix(vector, (rows, width), np.float32)
    _expect(len(set(layout.names)) == len(layout.names), "names of features")


def _made_up(rng: np.random.Generator, rows: int, layout: Layout) -> Columns:
    integers = rng.integers(0, 9, (rows, len(layout.integers)))
    return Columns(
        layout,
        rng.normal(size=(rows, len(layout.floats))).astype(np.float32),
        np.where(integers == 0, MISSING_INTEGER, integers),
        tuple(
            Category(rng.integers(-1, 3, rows).astype(np.int32), ("JFK", "LGA", "naïve ✈")) for _ in layout.categories
        ),
        tuple(rng.normal(size=(rows, width)).astype(np.float32) for _, width in layout.vectors),
    )


def _scored(rows: int, *, layout: Layout = _LAYOUT, outputs: int = 0) -> ScoredBlock:
    rng = np.random.default_rng(rows)
    scores = rng.random((rows, outputs), np.float32) if outputs else None
    return ScoredBlock(
        ids=[f"flight-{row}" for row in range(rows)],
        keys=[None if row % 3 else b"\x00key\xff" for row in range(rows)],
        offsets=2 * np.arange(rows),
        event_times=1_357_034_400_000 + np.arange(rows),
        timestamps=1_357_034_400_000 + 2 * np.arange(rows),
        columns=_made_up(rng, rows, layout),
        aged=("wind",) if layout is _LAYOUT else (),
        ages=rng.random((rows, int(layout is _LAYOUT)), np.float32),
        defaulted=rng.random((rows, len(layout.names))) < 0.1,
        score=rng.random(rows, np.float32),
        scores=scores,
        variants=Category(rng.integers(0, 2, rows).astype(np.int32), ("champion", "canary")),
        models=Category(rng.integers(0, 2, rows).astype(np.int32), ("delay@3", "delay@4")),
        routing_revisions=rng.integers(0, 3, rows),
        partition=3,
        scored_at=1_357_034_400_000,
        runtime="torch, CPU",
        sizes=rng.integers(80, 400, rows).astype(np.int32),
        took_us=900,
    )


def _paired(rows: int, *, layout: Layout = _LAYOUT, outputs: int = 0) -> PairedBlock:
    rng, served = np.random.default_rng(rows), _scored(rows, layout=layout, outputs=outputs)
    return PairedBlock(
        partition=3,
        record=7,
        offsets=served.offsets,
        ids=rng.integers(0, 2**64, rows, np.uint64),
        keys=rng.integers(0, 2**64, rows, np.uint64),
        event_times=served.event_times,
        timestamps=served.timestamps,
        slices=served.columns,
        variants=served.variants,
        models=served.models,
        score=served.score,
        scores=served.scores,
        took_us=served.took_us,
        runtime=served.runtime,
        candidates=tuple(
            CandidateScores(
                model, rng.random(rows) < 0.7, rng.random(rows, np.float32),
                rng.random((rows, outputs), np.float32) if outputs else None, 300, "torch",
            )
            for model in ("delay@5", "delay@6")
        ),
    )  # fmt: skip
