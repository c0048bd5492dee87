"""Counting: from a segment's scored rows to its summary, in one pass over each column."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import TypeVar

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from penstock.monitoring.counting.binning import PHASE_MS, PHASES, Binning, NumberTable
from penstock.schemas.columns import MISSING_INTEGER, Category
from penstock.schemas.evidence import EVIDENCE_ROWS, Evidence
from penstock.schemas.profile import INVALID, MISSING, SLOTS
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.summaries import SignalCounts, Summary

T = TypeVar("T", bound=np.generic)

_LONGEST_TEXT = 200
"""Characters of a category that evidence repeats."""


@cache
def _kernels() -> ModuleType:
    """Loaded at first use: numba takes a second to import, and the first time ever some more to compile."""
    from penstock.monitoring.counting import kernels as counting_kernels

    return counting_kernels


def warm_up() -> None:
    """Compile now rather than at the first segment."""
    _kernels()


def count(
    block: ScoredBlock,
    binning: Binning,
    *,
    segment: int,
    part: int,
    complete: bool,
    watermark_before: int,
    max_future_ms: int,
    max_out_of_order_ms: int,
    segment_rows: int | None = None,
) -> Summary:
    """The summary of a block whose rows are all of one segment.

    A row by itself decides what it adds, so a block cut anywhere and counted in order, each part with the watermark
    that the one before came to, merges to the summary of the whole.

    watermark_before     of the partition, Unix ms; `NO_WATERMARK` at its beginning
    max_future_ms        how far after its broker timestamp an event may be dated
    max_out_of_order_ms  how far the watermark stays behind the newest event
    segment_rows         where given, the offsets are checked to be of `segment`

    Raises ValueError when rows are of another segment, or the block's features are not those of the binning.
    """
    rows = block.rows
    if block.columns.layout != binning.layout or block.aged != binning.aged:
        raise ValueError("the block's features are not those that the binning was made for")
    if not rows:
        return Summary(
            block.partition, segment, part, complete, 0, -1, 0,
            binning.reference, {}, (0, 0), (0, 0), watermark_before, 0, 0, {},
        )  # fmt: skip
    first, last = int(block.offsets[0]), int(block.offsets[-1])
    if segment_rows is not None and not first // segment_rows == last // segment_rows == segment:
        raise ValueError(f"offsets {first} to {last} are not of segment {segment}, of {segment_rows} rows")
    times = block.event_times.astype(np.int64)
    timestamps = block.timestamps.astype(np.int64)
    lag = np.where(timestamps >= 0, timestamps - times.astype(np.float64), np.nan)
    seen = np.array([watermark_before, 0, 0, 0, 0], np.int64)
    _kernels().observe_times(times, timestamps, np.array([max_future_ms, max_out_of_order_ms], np.int64), seen)
    watermark, late, bad, earliest, latest = seen.tolist()
    phases = times // PHASE_MS % PHASES
    values = _numbers(block, binning, lag, phases)
    signals = _counted(binning.numbers, values, binning.number_table, phases)
    if block.sizes is None:
        del signals["size"]
    signals.update(_categories(block, binning))
    _complete(signals, block, binning)
    signals.update(_outputs(block, binning, phases))
    return Summary(
        partition=block.partition,
        segment=segment,
        part=part,
        complete=complete,
        first_offset=first,
        last_offset=last,
        rows=rows,
        reference=binning.reference,
        signals=signals,
        event_times=(earliest, latest),
        timestamps=(int(timestamps.min()), int(timestamps.max())),
        watermark=watermark,
        late_rows=late,
        bad_time=bad,
        served=_served(block),
        evidence=_evidence(block, binning),
    )


def _numbers(
    block: ScoredBlock, binning: Binning, lag: NDArray[np.float64], phases: NDArray[np.int64]
) -> NDArray[np.float64]:
    """[signals, rows], in the order of `Binning.numbers`; a row without a value is NaN."""
    columns, layout = block.columns, binning.layout
    values = np.empty((len(binning.numbers), block.rows))
    floats, integers = len(layout.floats), len(layout.integers)
    every = floats + integers + len(layout.vectors)
    features = values[:every] if len(binning.number_features) == every else np.empty((every, block.rows))
    features[:floats] = columns.floats.T
    if integers:
        wide = columns.integers.T
        features[floats : floats + integers] = wide
        features[floats : floats + integers][wide == MISSING_INTEGER] = np.nan
    for row, vector in zip(features[floats + integers :], columns.vectors, strict=True):
        _kernels().norms(np.require(vector, np.float32, ["C", "A"]), row)
    place = len(binning.number_features)
    if place < every:
        values[:place] = features[binning.number_features]
    values[place : place + len(binning.aged)] = block.ages.T
    place += len(binning.aged)
    for name, category in zip(layout.categories, columns.categories, strict=True):
        if name in binning.category_slots:
            values[place] = _by_value(category, len, np.nan, np.float64)
            place += 1
    values[place] = np.nan if block.sizes is None else block.sizes
    values[place + 1] = lag
    if binning.joint is not None:
        joint, table = binning.joint, binning.number_table
        usual = values[joint.features]
        for row, season in enumerate(table.season[joint.features].tolist()):
            if season >= 0:
                usual[row] = (usual[row] - table.shifts[season, phases, 0]) / table.shifts[season, phases, 1]
        _kernels().distances(usual, joint.mean, joint.whitening, values[place + 2])
    return values


def _counted(
    names: tuple[str, ...], values: NDArray[np.float64], table: NumberTable, phases: NDArray[np.int64]
) -> dict[str, SignalCounts]:
    signals, rows = values.shape
    slots = np.empty((signals, SLOTS), np.int64)
    sums, extremes = np.empty((signals, 3), np.int64), np.empty((signals, 2))
    _kernels().count_numbers(values, *table, phases, slots, sums, extremes)
    finite = rows - slots[:, MISSING] - slots[:, INVALID]
    return {
        name: SignalCounts(counted, present, total, squares, lowest, highest, outside)
        for name, counted, present, (total, squares, outside), (lowest, highest) in zip(
            names, slots, finite.tolist(), sums.tolist(), extremes.tolist(), strict=True
        )
    }


def _categories(block: ScoredBlock, binning: Binning) -> Iterator[tuple[str, SignalCounts]]:
    for name, category in zip(binning.layout.categories, block.columns.categories, strict=True):
        slots = binning.category_slots.get(name)
        if slots is not None:
            missing = len(slots) + 1
            places = _by_value(category, slots.__getitem__, missing, np.int64)
            yield f"feature:{name}", SignalCounts(np.bincount(places, minlength=missing + 1))


def _by_value(category: Category, of: Callable[[str], float], missing: float, dtype: type[T]) -> NDArray[T]:
    """`of` each row's value, [rows]; taken of values that occur, as a block of many more rows may bring others."""
    codes, values = category.codes, category.values
    if len(values) <= len(codes):
        return np.array([*map(of, values), missing], dtype).take(codes)  # missing: -1, the last
    used, places = np.unique(codes, return_inverse=True)
    return np.array([missing if code < 0 else of(values[code]) for code in used.tolist()], dtype).take(places)


def _complete(signals: dict[str, SignalCounts], block: ScoredBlock, binning: Binning) -> None:
    """Add what slots do not tell: rows with a default, vectors with a component out of range. And drop the extremes of
    sensitive features, each of which is some row's own value.
    """
    if block.defaulted.any():
        for name, defaulted in zip(binning.layout.names, block.defaulted.sum(0).tolist(), strict=True):
            if defaulted and (counts := signals.get(f"feature:{name}")) is not None:
                signals[f"feature:{name}"] = replace(counts, defaulted=defaulted)
    for (name, _), vector in zip(binning.layout.vectors, block.columns.vectors, strict=True):
        signal = binning.signals.get(f"feature:{name}")
        if signal is not None and signal.range is not None:
            low, high = signal.range
            outside = (np.isfinite(vector) & ((vector < low) | (vector > high))).any(axis=1).sum()
            signals[signal.name] = replace(signals[signal.name], out_of_range=int(outside))
    for name in binning.sensitive_numbers:
        signals[name] = replace(signals[name], lowest=math.inf, highest=-math.inf)


def _outputs(block: ScoredBlock, binning: Binning, phases: NDArray[np.int64]) -> Iterator[tuple[str, SignalCounts]]:
    """The scores of each variant and, where the model has several outputs, which was the largest."""
    for code, variant in _present(block.variants):
        served = slice(None) if code is None else block.variants.codes == code
        score = block.score[served].astype(np.float64)[None, :]
        yield from _counted((f"score:{variant}",), score, binning.score_table, phases[served]).items()
        if binning.outputs and block.scores is not None:
            scores = block.scores[served]
            best = np.where(np.isfinite(scores).all(axis=1), scores.argmax(axis=1), binning.outputs + 1)
            best[(best >= binning.outputs) & (best != binning.outputs + 1)] = binning.outputs
            yield f"class:{variant}", SignalCounts(np.bincount(best, minlength=binning.outputs + 2))


def _present(category: Category) -> list[tuple[int | None, str]]:
    """The values that rows have, with their codes; no code where all rows have the same."""
    codes = category.codes
    if (codes == codes[0]).all():
        return [(None, category.values[codes[0]])]
    return [(code, category.values[code]) for code in np.unique(codes).tolist()]


def _served(block: ScoredBlock) -> dict[tuple[str, str, int], int]:
    columns = (block.variants.codes, block.models.codes, block.routing_revisions)
    if all((column == column[0]).all() for column in columns):
        found = {tuple(int(column[0]) for column in columns): block.rows}
    else:
        found = Counter(zip(*(column.tolist() for column in columns), strict=True))
    served: Counter[tuple[str, str, int]] = Counter()
    for (variant, model, revision), rows in found.items():
        served[block.variants.values[variant], block.models.values[model], revision] += rows
    return dict(served)


def _evidence(block: ScoredBlock, binning: Binning) -> Evidence:
    few = np.empty(min(EVIDENCE_ROWS, block.rows), np.int64)
    _kernels().first_drawn(block.offsets.astype(np.int64), few)
    columns, layout = block.columns, binning.layout
    shown: dict[str, list[float | str | None]] = dict(zip(layout.floats, _listed(columns.floats[few]), strict=True))
    shown.update(zip(layout.integers, _listed(columns.integers[few]), strict=True))
    for name, category in zip(layout.categories, columns.categories, strict=True):
        codes = category.codes[few].tolist()
        shown[name] = [None if code < 0 else category.values[code][:_LONGEST_TEXT] for code in codes]
    return Evidence(
        offsets=block.offsets[few].tolist(),
        ids=[block.ids[row] for row in few.tolist()],
        values={name: values for name, values in shown.items() if name in binning.shown},
        scores=block.score[few].tolist(),
    )


def _listed(matrix: NDArray[np.float32] | NDArray[np.int64]) -> list[list[float | str | None]]:
    """The values of each column, None where missing."""
    missing = np.isnan(matrix) if matrix.dtype.kind == "f" else matrix == MISSING_INTEGER
    columns: list[list[float | str | None]] = matrix.T.tolist()
    for row, column in zip(*(places.tolist() for places in missing.nonzero()), strict=True):
        columns[column][row] = None
    return columns
