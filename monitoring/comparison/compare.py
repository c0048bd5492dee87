"""From rows that champion and candidates both scored to comparison summaries, columnar.

Rows that another variant than the champion answered are in no pair: where the candidate itself answers as the canary,
or a fallback does, there is nothing to compare it with. Nor are those whose served score the task does not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.config import LabelsConfig, RolloutConfig, loss_of
from penstock.monitoring.quality.grouping import Factor, Grouped, buckets
from penstock.monitoring.quality.losses import losses
from penstock.monitoring.quality.outcomes import Outcomes, fits, matured, said, well_dated
from penstock.monitoring.quality.slices import Sliced, Slices, of_features
from penstock.monitoring.quality.sums import cell_sums, quality_sums
from penstock.schemas.comparison import (
    DIFFERENCE_EDGES,
    PROBABILITY_EDGES,
    RANKS,
    VALUE_EDGES,
    CellGroup,
    CellSums,
    ComparisonSummary,
    LabelledPair,
    PairGroup,
    PairSums,
)
from penstock.schemas.control import CHAMPION
from penstock.schemas.keys import group_of
from penstock.schemas.paired import CandidateScores, PairedBlock
from penstock.schemas.quality_sums import LARGEST

_NEITHER, _CANDIDATE_ONLY, _SERVED_ONLY, _BOTH, _NOT_FINITE = range(5)
"""Who decides yes."""


def compare(
    block: PairedBlock,
    config: LabelsConfig,
    *,
    segment: int,
    part: int,
    complete: bool,
    watermark: int,
    max_future_ms: int = 3_600_000,
    slices: Slices | None = None,
) -> ComparisonSummary:
    """What candidates say beside the champion, before any outcome is known: `pairs` and `latencies`.

    Args:
        block: rows of one segment, at least one, at most 65,535.
        config: the task, its threshold, the length of a time bucket.
        segment: number of the segment.
        part: number of the part.
        complete: no further part of this segment will come.
        watermark: of the first reading, Unix ms.
        max_future_ms: a row that is dated further after its broker timestamp stands at that timestamp instead.
        slices: which slices are told apart; None: those of `config.slices`, by the values in these rows.
    """
    times = well_dated(block.event_times, block.timestamps, max_future_ms)
    sliced = _sliced(block, config, slices)
    pairs: dict[PairGroup, PairSums] = {}
    for candidate, rows in _pairs(block, said(block.score, block.scores, config)):
        grouped = _grouped(block, candidate, rows, times, sliced, config)
        sums = _pair_sums(block, candidate, rows, grouped, config)
        pairs.update(zip(cast("list[PairGroup]", grouped.keys), sums, strict=True))
    return ComparisonSummary(
        **_about(block, segment, part, complete, watermark, times),
        mature=False,
        pairs=pairs,
        labelled={},
        cells={},
        latencies=_latencies(block),
    )


def compare_labelled(
    block: PairedBlock,
    labels: NDArray[np.float64],
    label_times: NDArray[np.int64],
    config: LabelsConfig,
    rollout: RolloutConfig,
    *,
    segment: int,
    part: int,
    complete: bool,
    watermark: int,
    max_future_ms: int = 3_600_000,
    slices: Slices | None = None,
) -> ComparisonSummary:
    """How right candidates and the champion were about the same rows: `labelled`, and `cells` for the gates.

    A row counts where its outcome, the served and the candidate's outputs are all something that the task knows. What
    an outcome is, late labels and silence: as in `penstock.monitoring.quality.measure.measure`.

    Args:
        block: rows of one segment, at least one, at most 65,535.
        labels: [rows] NaN where none is known.
        label_times: [rows] Unix ms; of no meaning where none is known.
        config: the task, its threshold, the maturity, what silence means.
        rollout: whose loss and slices the cells are made of.
        segment: number of the segment.
        part: number of the part.
        complete: no further part of this segment will come.
        watermark: no row that is still to be read again is older, Unix ms.
        max_future_ms: a row that is dated further after its broker timestamp stands at that timestamp instead.
        slices: which slices are told apart; None: those of `config.slices`, by the values in these rows.
    """
    times = well_dated(block.event_times, block.timestamps, max_future_ms)
    value = matured(labels, label_times, times, config).value
    sliced = _sliced(block, config, slices)
    key_groups = group_of(block.keys)
    labelled: dict[PairGroup, LabelledPair] = {}
    cells: dict[CellGroup, CellSums] = {}
    for candidate, asked in _pairs(block, fits(value, block.score, block.scores, config)):
        rows = asked[fits(value, candidate.score, candidate.scores, config)[asked]]
        served = Outcomes.of(value, block.score, block.scores, rows, config)
        tried = Outcomes.of(value, candidate.score, candidate.scores, rows, config)
        grouped = _grouped(block, candidate, rows, times, sliced, config)
        sums = map(LabelledPair, *(quality_sums(outcomes, grouped, config) for outcomes in (served, tried)))
        labelled.update(zip(cast("list[PairGroup]", grouped.keys), sums, strict=True))
        loss = loss_of(rollout, config.task)
        worse = losses(tried, loss, config) - losses(served, loss, config)
        grouped = _grouped(block, candidate, rows, times, of_features(sliced, rollout.slices), config)
        cells.update(
            zip(cast("list[CellGroup]", grouped.keys), cell_sums(worse, key_groups[rows], grouped), strict=True)
        )
    return ComparisonSummary(
        **_about(block, segment, part, complete, watermark, times),
        mature=True,
        pairs={},
        labelled=labelled,
        cells=cells,
        latencies={},
    )


def _about(
    block: PairedBlock, segment: int, part: int, complete: bool, watermark: int, times: NDArray[np.int64]
) -> dict[str, Any]:
    return {
        "partition": block.partition, "segment": segment, "part": part, "complete": complete,
        "first_offset": int(block.offsets[0]), "last_offset": int(block.offsets[-1]),
        "event_times": (int(times.min()), int(times.max())), "watermark": watermark,
    }  # fmt: skip


def _sliced(block: PairedBlock, config: LabelsConfig, slices: Slices | None) -> list[Sliced]:
    return (slices or Slices(dict.fromkeys(config.slices, ()))).of(block.slices)


def _pairs(block: PairedBlock, usable: NDArray[np.bool_]) -> Iterator[tuple[CandidateScores, NDArray[np.intp]]]:
    """Each candidate with the positions of the usable rows that it and the champion answered, where there are any."""
    if CHAMPION not in block.variants.values:
        return
    answered = usable & (block.variants.codes == block.variants.values.index(CHAMPION))
    for candidate in block.candidates:
        [rows] = np.nonzero(answered & candidate.sampled)
        if len(rows):
            yield candidate, rows


def _grouped(
    block: PairedBlock,
    candidate: CandidateScores,
    rows: NDArray[np.intp],
    times: NDArray[np.int64],
    sliced: list[Sliced],
    config: LabelsConfig,
) -> Grouped:
    bucket = buckets(times[rows], round(config.bucket_s * 1000))
    models = Factor(block.models.codes[rows], block.models.values)
    return Grouped.by([bucket, Factor(0, (candidate.model,)), models], sliced, rows)


def _pair_sums(
    block: PairedBlock, candidate: CandidateScores, rows: NDArray[np.intp], grouped: Grouped, config: LabelsConfig
) -> list[PairSums]:
    finite = said(candidate.score, candidate.scores, config)[rows]
    served = np.clip(block.score[rows].astype(np.float64), -LARGEST, LARGEST)
    tried = np.where(finite, candidate.score[rows], 0.0).astype(np.float64)
    np.clip(tried, -LARGEST, LARGEST, out=tried)
    difference = np.where(finite, tried - served, 0.0)
    edges = VALUE_EDGES if config.task == "regression" else PROBABILITY_EDGES
    ranks = RANKS * np.searchsorted(edges, served, side="right") + np.searchsorted(edges, tried, side="right")
    slots = np.searchsorted(DIFFERENCE_EDGES, difference, side="right")
    kinds = np.where(finite, _decisions(block, candidate, rows, served, tried, config), _NOT_FINITE)
    decided = grouped.count(kinds, _NOT_FINITE + 1).T
    neither, candidate_only, _, both, non_finite = decided
    counts = (decided.sum(0), non_finite, neither + both, both, candidate_only + both)
    return list(
        map(
            PairSums,
            *(count.tolist() for count in counts),
            grouped.sum_large(difference),
            grouped.sum_large(np.abs(difference)),
            _histogram(grouped, slots, finite, len(DIFFERENCE_EDGES) + 1),
            _histogram(grouped, ranks, finite, RANKS * RANKS).reshape(-1, RANKS, RANKS),
        )
    )


def _histogram(grouped: Grouped, slots: NDArray[np.intp], counted: NDArray[np.bool_], of: int) -> NDArray[np.int64]:
    """Rows per group and slot, [groups, of], of those that count."""
    return grouped.count(np.where(counted, slots, of), of + 1)[:, :of]


def _decisions(
    block: PairedBlock,
    candidate: CandidateScores,
    rows: NDArray[np.intp],
    served: NDArray[np.float64],
    tried: NDArray[np.float64],
    config: LabelsConfig,
) -> NDArray[np.intp]:
    """[rows] _NEITHER, _CANDIDATE_ONLY, _SERVED_ONLY or _BOTH decide yes; for the same class is _NEITHER, too."""
    if config.task == "binary":
        return _SERVED_ONLY * (served >= config.threshold) + _CANDIDATE_ONLY * (tried >= config.threshold)
    alike = np.zeros(len(rows), np.bool_)
    if block.scores is not None and candidate.scores is not None and config.task == "multiclass":
        alike = np.argmax(block.scores[rows], 1) == np.argmax(candidate.scores[rows], 1)
    return np.where(alike, _NEITHER, _SERVED_ONLY)


def _latencies(block: PairedBlock) -> dict[str, tuple[int, int]]:
    """Model → rows and microseconds; what the served models took is shared out by their rows."""
    found: dict[str, tuple[int, int]] = {}
    if block.took_us is not None:
        for model, rows in zip(block.models.values, np.bincount(block.models.codes).tolist(), strict=False):
            if rows:
                found[model] = (rows, block.took_us * rows // block.rows)
    for candidate in block.candidates:
        if rows := int(np.count_nonzero(candidate.sampled)):
            before, us = found.get(candidate.model, (0, 0))
            found[candidate.model] = (before + rows, us + candidate.took_us)
    return found
