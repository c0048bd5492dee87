"""Builds the reference profile of a model from its training columns and scores."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.schemas import seasons
from penstock.schemas.columns import MISSING_INTEGER, Category, Columns
from penstock.schemas.profile import (
    BINS,
    SCHEMA_VERSION,
    SLOTS,
    CategoryProfile,
    Moments,
    NumericProfile,
    ReferenceProfile,
    Sample,
    slots_of,
)

SEGMENT_ROWS = 512
SEASON_ROWS = 64
MAX_SEGMENTS = 1_000
MAX_SAMPLE_ROWS = 2_000
MAX_SAMPLE_WIDTH = 64
MAX_CATEGORIES = 64


def build_profile(
    columns: Columns,
    *,
    scores: NDArray[np.floating[Any]] | None = None,
    labels: NDArray[np.floating[Any]] | None = None,
    times: NDArray[np.int64] | None = None,
    sensitive: AbstractSet[str] = frozenset(),
    segment_rows: int = SEGMENT_ROWS,
) -> ReferenceProfile:
    """Profile training data.

    Args:
        columns: in the order in which the events came; sorted by `times` where given.
        scores: [rows] of the model on these rows.
        labels: [rows] true outcomes; NaN where there is none yet.
        times: [rows] event times, Unix ms.
        sensitive: features whose values stay out of the sample.
        segment_rows: as the pipeline's segments; at most 65,535.

    Of more than `MAX_SEGMENTS` segments the latest are kept: that bounds the file to a few megabytes.
    """
    order = np.arange(columns.rows) if times is None else np.argsort(times, kind="stable")
    order = order[-MAX_SEGMENTS * segment_rows :]
    if times is not None or len(order) < columns.rows:
        columns = columns.take(order)
    rows = len(order)
    ordered_times = np.empty(0, np.int64) if times is None else times[order]
    ordered_scores = np.empty(0, np.float32) if scores is None else scores[order].astype(np.float32)
    ordered_labels = np.empty(0, np.float64) if labels is None else labels[order].astype(np.float64)
    features: dict[str, NumericProfile | CategoryProfile] = {
        name: profile_numbers(values, segment_rows, ordered_times) for name, values in _numeric(columns).items()
    }
    for name, column in zip(columns.layout.categories, columns.categories, strict=True):
        features[name] = _profile_category(column, segment_rows)
    chosen = np.unique(np.linspace(0, rows - 1, min(rows, MAX_SAMPLE_ROWS)).astype(np.int64))
    starts = np.arange(0, rows, segment_rows)
    ends = np.minimum(starts + segment_rows, rows) - 1
    return ReferenceProfile(
        schema_version=SCHEMA_VERSION,
        rows=rows,
        segment_rows=segment_rows,
        segment_times=np.empty((0, 2), np.int64)
        if times is None
        else np.stack([ordered_times[starts], ordered_times[ends]], axis=1),
        features=features,
        scores=None if scores is None else profile_numbers(ordered_scores, segment_rows, ordered_times),
        labels=None if labels is None else profile_numbers(ordered_labels, segment_rows),
        sample=Sample(
            rows=chosen,
            numbers=_sampled_numbers(columns.take(chosen), sensitive),
            categories={
                name: _recoded(column, profile.values)[chosen]
                for name, column in zip(columns.layout.categories, columns.categories, strict=True)
                if name not in sensitive and isinstance(profile := features[name], CategoryProfile)
            },
            scores=ordered_scores[chosen] if scores is not None else ordered_scores,
            labels=ordered_labels[chosen] if labels is not None else ordered_labels,
            times=ordered_times[chosen] if times is not None else ordered_times,
        ),
    )


def profile_numbers(
    values: NDArray[np.floating[Any]],
    segment_rows: int = SEGMENT_ROWS,
    times: NDArray[np.int64] | None = None,
) -> NumericProfile:
    """Edges, counts per segment and moments of [rows] numbers; NaN is missing, an infinity invalid.

    With the rows' times, Unix ms ascending, a season is looked for.

    >>> profile = profile_numbers(np.array([3.0, 3.0, np.nan, 4.0]), segment_rows=2)
    >>> profile.edges.tolist(), profile.counts[:, [0, 1, 34]].tolist()
    ([3.0, 4.0], [[2, 0, 0], [0, 1, 1]])
    """
    numbers = values.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    edges = _edges(finite)
    season = None if times is None or not len(times) or len(edges) < BINS else _season(numbers, finite, times)
    usual = numbers if season is None or times is None else seasons.at_the_average_hour(season, numbers, times)
    if season is not None:
        edges = _edges(usual[np.isfinite(usual)])
    segments = _segments(len(numbers), segment_rows)
    count = -(-len(numbers) // segment_rows)
    counts = np.bincount(segments * SLOTS + slots_of(usual, edges), minlength=count * SLOTS).reshape(count, SLOTS)
    means, deviations = _spread(numbers, finite, segments, count)
    return NumericProfile(edges, counts.astype(np.uint16), means, deviations, _moments(finite), season)


def _edges(finite: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.unique(np.quantile(finite, np.linspace(0, 1, BINS), method="nearest")) if len(finite) else finite


def _season(
    numbers: NDArray[np.float64], finite: NDArray[np.float64], times: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Fitted on pieces that are shorter than segments, as a segment of quiet traffic may last hours.

    Only numbers whose quantiles all differ have one: values that repeat would be torn apart by a shift that moves.
    """
    pieces = _segments(len(numbers), SEASON_ROWS)
    count = int(pieces[-1]) + 1
    sizes = np.bincount(pieces, minlength=count)
    middles = times[0] + (np.bincount(pieces, times - times[0], count) / sizes).astype(np.int64)
    return seasons.fit(middles, *_spread(numbers, finite, pieces, count))


def _spread(
    numbers: NDArray[np.float64], finite: NDArray[np.float64], segments: NDArray[np.intp], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and standard deviations per segment, of clipped values; in two passes, which keeps large offsets exact."""
    if not len(finite):
        return np.full(count, np.nan), np.full(count, np.nan)
    here = segments[np.isfinite(numbers)]
    low, high = np.quantile(finite, [0.001, 0.999])
    clipped = np.clip(finite, low, high)
    sizes = np.bincount(here, minlength=count).astype(np.float64)
    sizes[sizes == 0] = np.nan
    means = np.bincount(here, clipped, count) / sizes
    squares = np.bincount(here, (clipped - means[here]) ** 2, count)
    return means, np.sqrt(squares / sizes)


def _moments(finite: NDArray[np.float64]) -> Moments:
    count = len(finite)
    if count == 0:
        return Moments(0, np.nan, np.nan, np.nan, np.nan)
    mean = float(finite.mean())
    centred = finite - mean
    deviation = float(np.sqrt(np.mean(centred**2)))
    if deviation <= 1e-12 * max(abs(mean), 1e-300):
        return Moments(count, mean, deviation, np.nan, np.nan)
    standard = centred / deviation
    square = standard * standard  # far quicker than a power
    return Moments(count, mean, deviation, float(np.mean(square * standard)), float(np.mean(square * square)))


def _profile_category(column: Category, segment_rows: int) -> CategoryProfile:
    present = column.codes[column.codes >= 0]
    frequencies = np.bincount(present, minlength=len(column.values))
    most = sorted(range(len(column.values)), key=lambda code: (-frequencies[code], column.values[code]))
    values = tuple(column.values[code] for code in most[:MAX_CATEGORIES] if frequencies[code])
    codes = _recoded(column, values).astype(np.intp)
    codes[codes < 0] = len(values) + 1
    width, count = len(values) + 2, -(-len(codes) // segment_rows)
    counts = np.bincount(_segments(len(codes), segment_rows) * width + codes, minlength=count * width)
    return CategoryProfile(values, counts.reshape(count, width).astype(np.uint16))


def _recoded(column: Category, values: tuple[str, ...]) -> NDArray[np.int32]:
    """Codes into `values`; len(values) for any other, -1 for missing."""
    places = {value: place for place, value in enumerate(values)}
    table = np.array([*(places.get(value, len(values)) for value in column.values), -1], np.int32)
    return table[column.codes]


def _segments(rows: int, segment_rows: int) -> NDArray[np.intp]:
    return np.arange(rows, dtype=np.intp) // segment_rows


def _numeric(columns: Columns) -> dict[str, NDArray[np.floating[Any]]]:
    numbers: dict[str, NDArray[np.floating[Any]]] = {
        name: columns.floats[:, i] for i, name in enumerate(columns.layout.floats)
    }
    for i, name in enumerate(columns.layout.integers):
        numbers[name] = _as_floats(columns.integers[:, i])
    for (name, _), vector in zip(columns.layout.vectors, columns.vectors, strict=True):
        numbers[name] = np.sqrt(np.einsum("ij,ij->i", vector, vector, dtype=np.float64))
    return numbers


def _as_floats(integers: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(integers == MISSING_INTEGER, np.nan, integers.astype(np.float64))


def _sampled_numbers(columns: Columns, sensitive: AbstractSet[str]) -> dict[str, NDArray[np.float32]]:
    sampled = {name: columns.floats[:, i] for i, name in enumerate(columns.layout.floats)}
    for i, name in enumerate(columns.layout.integers):
        sampled[name] = _as_floats(columns.integers[:, i]).astype(np.float32)
    for (name, width), vector in zip(columns.layout.vectors, columns.vectors, strict=True):
        if width <= MAX_SAMPLE_WIDTH:
            sampled[name] = vector
    return {name: values for name, values in sampled.items() if name not in sensitive}
