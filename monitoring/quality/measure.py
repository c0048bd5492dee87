"""From scored rows and their labels to quality summaries, columnar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.quality.slices import Sliced, Slices
from penstock.schemas.profile import SLOTS, slots_of
from penstock.schemas.quality import QualitySummary
from penstock.schemas.quality_sums import BIN_EDGES, LARGEST, SCORE_BINS, Group, QualitySums
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.summaries import FIXED_POINT, LOG_EDGES

_Type = TypeVar("_Type", np.float64, np.intp)

_CLIP = 0.001
"""Probabilities are clipped to [_CLIP, 1 - _CLIP] before their logarithm is taken: no loss exceeds 6.9 nats."""


class _Outcomes(NamedTuple):
    """Rows whose outcome is known; all [rows].

    rows    of the block
    times   int64 Unix ms
    label   float64
    score   float64
    """

    rows: NDArray[np.intp]
    times: NDArray[np.int64]
    label: NDArray[np.float64]
    score: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Grouped:
    """Each row once for every group that it is in.

    codes   [entries] into groups
    copies  how often the rows stand there, one after the other
    """

    codes: NDArray[np.intp]
    groups: list[Group]
    copies: int

    def count(self, kinds: NDArray[np.intp], of: int) -> NDArray[np.int64]:
        """Rows per group and kind, [groups, of]; `kinds` [rows] < of."""
        return np.bincount(self._cells(kinds, of), minlength=len(self.groups) * of).reshape(-1, of)

    def sum(self, values: NDArray[np.float64], kinds: NDArray[np.intp] | None = None, of: int = 1) -> NDArray[np.int64]:
        """Fixed-point sums per group and kind, [groups, of]. Exact: |values| ≤ 8, rows ≤ 65,535: below 2^53."""
        cells = self.codes if kinds is None else self._cells(kinds, of)
        weights = self._each(np.rint(values * FIXED_POINT))
        sums = np.bincount(cells, weights, len(self.groups) * of)
        return sums.astype(np.int64).reshape(-1, of)

    def sum_large(self, values: NDArray[np.float64]) -> list[int]:
        """The same for |values| ≤ 2^36, which outgrow 64 bits: wholes and fractions apart."""
        whole = np.floor(values)
        wholes = np.bincount(self.codes, self._each(whole), len(self.groups)).tolist()
        fractions = self.sum(values - whole)[:, 0].tolist()
        return [int(high) * FIXED_POINT + low for high, low in zip(wholes, fractions, strict=True)]

    def _cells(self, kinds: NDArray[np.intp], of: int) -> NDArray[np.intp]:
        return self.codes * of + self._each(kinds)

    def _each(self, values: NDArray[_Type]) -> NDArray[_Type]:
        return values if self.copies == 1 else np.concatenate([values] * self.copies)


def measure(
    block: ScoredBlock,
    labels: NDArray[np.float64],
    label_times: NDArray[np.int64],
    config: LabelsConfig,
    *,
    segment: int,
    part: int,
    complete: bool,
    watermark: int,
    max_future_ms: int = 3_600_000,
    slices: Slices | None = None,
) -> QualitySummary:
    """The quality of one segment's rows, or of a part's: what its labels say that came within the maturity.

    Args:
        block: rows of one segment, at least one, at most 65,535.
        labels: [rows] NaN where none is known.
        label_times: [rows] Unix ms; of no meaning where none is known.
        config: the task, its threshold, the maturity, what silence means.
        segment: number of the segment.
        part: number of the part.
        complete: no further part of this segment will come.
        watermark: no row that is still to be read again is older, Unix ms.
        max_future_ms: a row that is dated further after its broker timestamp stands at that timestamp instead.
        slices: which slices are told apart; None: those of `config.slices`, by the values in these rows.
    """
    times = np.where(block.event_times <= block.timestamps + max_future_ms, block.event_times, block.timestamps)
    known = ~np.isnan(labels)
    delays_ms = np.where(known, label_times - times, 0)
    in_time = known & (delays_ms <= config.maturity_s * 1000)
    value = np.where(in_time, labels, np.nan if config.silence is None else config.silence)
    has_value = ~np.isnan(value)
    fits = has_value & _fits(value, block, config)
    [rows] = np.nonzero(fits)
    outcomes = _Outcomes(rows, times[rows], value[rows], block.score[rows].astype(np.float64))
    labelled = int(np.count_nonzero(fits & in_time))
    slices = slices or Slices(dict.fromkeys(config.slices, ()))
    groups = _groups(block, outcomes, config, slices)
    return QualitySummary(
        partition=block.partition,
        segment=segment,
        part=part,
        complete=complete,
        first_offset=int(block.offsets[0]),
        last_offset=int(block.offsets[-1]),
        rows=block.rows,
        labelled=labelled,
        silent=len(rows) - labelled,
        missing=block.rows - int(np.count_nonzero(has_value)),
        invalid=int(np.count_nonzero(has_value)) - len(rows),
        late=int(np.count_nonzero(known & ~in_time)),
        event_times=(int(times.min()), int(times.max())),
        watermark=watermark,
        served=_served(block),
        errors=_errors(groups, config),
        delays=np.bincount(slots_of(delays_ms[known] / 1000, LOG_EDGES), minlength=SLOTS),
        groups=groups,
    )


def _fits(value: NDArray[np.float64], block: ScoredBlock, config: LabelsConfig) -> NDArray[np.bool_]:
    """Label and score are something that the task knows."""
    fits: NDArray[np.bool_] = np.isfinite(block.score)
    if config.task == "binary":
        fits &= (value == 0) | (value == 1)
    elif config.task == "multiclass" and block.scores is not None:
        fits &= np.isfinite(block.scores).all(1) & (value >= 0) & (value < block.scores.shape[1]) & (value % 1 == 0)
    elif config.task == "multiclass":
        fits[:] = False
    return fits


def _served(block: ScoredBlock) -> dict[tuple[str, str, int], int]:
    revisions, revision = _distinct(block.routing_revisions)
    models, variants = block.models.values, block.variants.values
    cells = (revision * len(models) + block.models.codes) * len(variants) + block.variants.codes
    counts = np.bincount(cells)
    served = {}
    for cell in np.nonzero(counts)[0].tolist():
        rest, variant = divmod(cell, len(variants))
        at, model = divmod(rest, len(models))
        served[variants[variant], models[model], int(revisions[at])] = int(counts[cell])
    return served


def _distinct(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The values that there are, and which of them stands in each row; nearly always there is one."""
    if (values == values[0]).all():
        return values[:1], np.zeros(len(values), np.intp)
    return np.unique(values, return_inverse=True)


def _errors(groups: dict[Group, QualitySums], config: LabelsConfig) -> dict[str, tuple[int, int]]:
    errors: dict[str, tuple[int, int]] = {}
    for (_, variant, name), sums in groups.items():
        if not name and config.task != "regression":
            rows, wrong = errors.get(variant, (0, 0))
            errors[variant] = (rows + sums.rows, wrong + sums.rows - sums.correct)
    return errors


def _grouped(block: ScoredBlock, outcomes: _Outcomes, bucket_ms: int, slices: Sequence[Sliced]) -> _Grouped:
    """The groups that hold rows, in the order of bucket, variant and slice."""
    rows = outcomes.rows
    buckets, bucket = _distinct(outcomes.times // bucket_ms)
    variants = block.variants.values
    names = ["", *(name for sliced in slices for name in sliced.names)]
    base = (bucket * len(variants) + block.variants.codes[rows]) * len(names)
    families, offset = [base], 1
    for sliced in slices:
        families.append(base + (sliced.codes[rows] + offset))
        offset += len(sliced.names)
    cells = np.concatenate(families)
    used = np.bincount(cells, minlength=len(buckets) * len(variants) * len(names)) > 0
    groups: list[Group] = []
    for cell in np.nonzero(used)[0].tolist():
        rest, name = divmod(cell, len(names))
        at, variant = divmod(rest, len(variants))
        groups.append((int(buckets[at]) * bucket_ms, variants[variant], names[name]))
    return _Grouped((np.cumsum(used) - 1)[cells], groups, len(families))


def _groups(block: ScoredBlock, outcomes: _Outcomes, config: LabelsConfig, slices: Slices) -> dict[Group, QualitySums]:
    if not len(outcomes.rows):
        return {}
    grouped = _grouped(block, outcomes, round(config.bucket_s * 1000), slices.of(block.columns))
    if config.task == "regression":
        sums = _regression(outcomes, grouped, config.error_limit)
    elif config.task == "binary":
        sums = _binary(outcomes, grouped, config.threshold)
    else:
        sums = _multiclass(block, outcomes, grouped)
    return dict(zip(grouped.groups, sums, strict=True))


def _binary(outcomes: _Outcomes, grouped: _Grouped, threshold: float) -> list[QualitySums]:
    label, score = outcomes.label, np.clip(outcomes.score, 0.0, 1.0)
    yes = label.astype(np.intp)
    confusion = grouped.count(2 * yes + (outcomes.score >= threshold), 4)
    kinds = SCORE_BINS * yes + np.searchsorted(BIN_EDGES, score, side="right")
    bins = grouped.count(kinds, 2 * SCORE_BINS).reshape(-1, 2, SCORE_BINS)
    bin_scores = grouped.sum(score, kinds, 2 * SCORE_BINS).reshape(-1, 2, SCORE_BINS)
    loss = -np.log(np.clip(np.where(yes, score, 1 - score), _CLIP, 1 - _CLIP))
    tn, fp, fn, tp = confusion.T
    of_no, of_yes = bin_scores.sum(2).T
    labels = (fn + tp) * FIXED_POINT
    columns = (
        tn + fp + fn + tp, tn + tp, fn + tp, fp + tp,
        grouped.sum(loss)[:, 0], grouped.sum((score - label) ** 2)[:, 0], labels - of_yes + of_no, of_no + of_yes,
        labels,
    )  # fmt: skip
    return list(map(QualitySums, *(column.tolist() for column in columns), bins, bin_scores))


def _multiclass(block: ScoredBlock, outcomes: _Outcomes, grouped: _Grouped) -> list[QualitySums]:
    assert block.scores is not None  # noqa: S101  otherwise no row fits
    scores, label = block.scores[outcomes.rows], outcomes.label.astype(np.intp)
    probability = scores[np.arange(len(label)), label].astype(np.float64)
    losses = grouped.sum(-np.log(np.clip(probability, _CLIP, 1 - _CLIP)))[:, 0].tolist()
    counts = grouped.count((np.argmax(scores, 1) == label).astype(np.intp), 2).tolist()
    return [
        QualitySums(rows=wrong + right, correct=right, log_loss=losses[at]) for at, (wrong, right) in enumerate(counts)
    ]


def _regression(outcomes: _Outcomes, grouped: _Grouped, error_limit: float) -> list[QualitySums]:
    label, score = (np.clip(values, -LARGEST, LARGEST) for values in (outcomes.label, outcomes.score))
    error = np.clip(score - label, -LARGEST, LARGEST)
    rows = np.bincount(grouped.codes, minlength=len(grouped.groups)).tolist()
    columns = (np.clip(error, -error_limit, error_limit) ** 2, np.abs(error), score, label)
    sums = zip(rows, *map(grouped.sum_large, columns), strict=True)
    return [
        QualitySums(rows=count, squared_error=squares, absolute_error=absolute, score=scores, label=labels)
        for count, squares, absolute, scores, labels in sums
    ]
