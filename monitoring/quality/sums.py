"""The sums of quality of some rows, by group: of what was served, and of candidates alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.quality.grouping import Grouped
from penstock.monitoring.quality.losses import brier, errors, log_loss, right, squares
from penstock.monitoring.quality.outcomes import Outcomes
from penstock.schemas.comparison import CellSums, carried
from penstock.schemas.gates import KEY_GROUPS
from penstock.schemas.quality_sums import BIN_EDGES, LARGEST, SCORE_BINS, QualitySums
from penstock.schemas.summaries import FIXED_POINT


def quality_sums(outcomes: Outcomes, grouped: Grouped, config: LabelsConfig) -> list[QualitySums]:
    """One per group of `grouped`, which groups the rows of `outcomes`."""
    match config.task:
        case "binary":
            return _binary(outcomes, grouped, config)
        case "multiclass":
            return _multiclass(outcomes, grouped, config)
        case "regression":
            return _regression(outcomes, grouped, config.error_limit)


def cell_sums(losses: NDArray[np.float64], key_groups: NDArray[np.intp], grouped: Grouped) -> list[CellSums]:
    """Rows and losses of each group of `grouped` by group of keys.

    Args:
        losses: [rows] |loss| ≤ 2^37, or a difference of two.
        key_groups: [rows] of `penstock.schemas.keys.group_of`.
        grouped: of the same rows.
    """
    rows = grouped.count(key_groups, KEY_GROUPS)
    return list(map(CellSums, rows, carried(grouped.halves(losses, key_groups, KEY_GROUPS))))


def _binary(outcomes: Outcomes, grouped: Grouped, config: LabelsConfig) -> list[QualitySums]:
    label, score = outcomes.label, np.clip(outcomes.score, 0.0, 1.0)
    yes = label.astype(np.intp)
    confusion = grouped.count(2 * yes + (outcomes.score >= config.threshold), 4)
    kinds = SCORE_BINS * yes + np.searchsorted(BIN_EDGES, score, side="right")
    bins = grouped.count(kinds, 2 * SCORE_BINS).reshape(-1, 2, SCORE_BINS)
    bin_scores = grouped.sum(score, kinds, 2 * SCORE_BINS).reshape(-1, 2, SCORE_BINS)
    tn, fp, fn, tp = confusion.T
    of_no, of_yes = bin_scores.sum(2).T
    labels = (fn + tp) * FIXED_POINT
    columns = (
        tn + fp + fn + tp, tn + tp, fn + tp, fp + tp,
        grouped.sum(log_loss(outcomes))[:, 0], grouped.sum(brier(outcomes))[:, 0],
        labels - of_yes + of_no, of_no + of_yes, labels,
    )  # fmt: skip
    return list(map(QualitySums, *(column.tolist() for column in columns), bins, bin_scores))


def _multiclass(outcomes: Outcomes, grouped: Grouped, config: LabelsConfig) -> list[QualitySums]:
    loss = grouped.sum(log_loss(outcomes))[:, 0].tolist()
    counts = grouped.count(right(outcomes, config).astype(np.intp), 2).tolist()
    return [QualitySums(rows=no + yes, correct=yes, log_loss=loss[at]) for at, (no, yes) in enumerate(counts)]


def _regression(outcomes: Outcomes, grouped: Grouped, error_limit: float) -> list[QualitySums]:
    label, score = (np.clip(values, -LARGEST, LARGEST) for values in (outcomes.label, outcomes.score))
    error = errors(outcomes)
    columns = (squares(error, error_limit), np.abs(error), score, label)
    sums = zip(grouped.rows().tolist(), *map(grouped.sum_large, columns), strict=True)
    return [
        QualitySums(rows=count, squared_error=squared, absolute_error=absolute, score=scores, label=labels)
        for count, squared, absolute, scores, labels in sums
    ]
