"""From scored rows and their labels to quality summaries, columnar."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.config import LabelsConfig, RolloutConfig, loss_of
from penstock.monitoring.quality.grouping import Factor, Grouped, buckets, distinct
from penstock.monitoring.quality.losses import losses
from penstock.monitoring.quality.outcomes import Outcomes, fits, matured, well_dated
from penstock.monitoring.quality.slices import Sliced, Slices, of_features
from penstock.monitoring.quality.sums import cell_sums, quality_sums
from penstock.schemas.comparison import CellGroup, CellSums
from penstock.schemas.keys import group_of, routing_keys
from penstock.schemas.profile import SLOTS, slots_of
from penstock.schemas.quality import QualitySummary
from penstock.schemas.quality_sums import Group, QualitySums
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.summaries import LOG_EDGES


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
    rollout: RolloutConfig | None = None,
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
        rollout: whose loss and slices the cells for the gates are made of; None: no cells.
    """
    times = well_dated(block.event_times, block.timestamps, max_future_ms)
    known = matured(labels, label_times, times, config)
    fit = fits(known.value, block.score, block.scores, config)
    [rows] = np.nonzero(fit)
    outcomes = Outcomes.of(known.value, block.score, block.scores, rows, config)
    labelled = int(np.count_nonzero(fit & known.in_time))
    has_value = block.rows - int(np.count_nonzero(np.isnan(known.value)))
    sliced = (slices or Slices(dict.fromkeys(config.slices, ()))).of(block.columns)
    bucket = buckets(times[rows], round(config.bucket_s * 1000))
    groups = _groups(block, rows, outcomes, bucket, sliced, config)
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
        missing=block.rows - has_value,
        invalid=has_value - len(rows),
        late=int(np.count_nonzero(known.known & ~known.in_time)),
        event_times=(int(times.min()), int(times.max())),
        watermark=watermark,
        served=_served(block),
        errors=_errors(groups, config),
        delays=np.bincount(slots_of(known.delay[known.known] / 1000, LOG_EDGES), minlength=SLOTS),
        groups=groups,
        cells={} if rollout is None else _cells(block, rows, outcomes, bucket, sliced, config, rollout),
    )


def _served(block: ScoredBlock) -> dict[tuple[str, str, int], int]:
    revisions, revision = distinct(block.routing_revisions)
    models, variants = block.models.values, block.variants.values
    cells = (revision * len(models) + block.models.codes) * len(variants) + block.variants.codes
    counts = np.bincount(cells)
    served = {}
    for cell in np.nonzero(counts)[0].tolist():
        rest, variant = divmod(cell, len(variants))
        at, model = divmod(rest, len(models))
        served[variants[variant], models[model], int(revisions[at])] = int(counts[cell])
    return served


def _errors(groups: dict[Group, QualitySums], config: LabelsConfig) -> dict[str, tuple[int, int]]:
    errors: dict[str, tuple[int, int]] = {}
    for (_, variant, name), sums in groups.items():
        if not name and config.task != "regression":
            rows, wrong = errors.get(variant, (0, 0))
            errors[variant] = (rows + sums.rows, wrong + sums.rows - sums.correct)
    return errors


def _groups(
    block: ScoredBlock,
    rows: NDArray[np.intp],
    outcomes: Outcomes,
    bucket: Factor,
    sliced: list[Sliced],
    config: LabelsConfig,
) -> dict[Group, QualitySums]:
    if not len(rows):
        return {}
    grouped = Grouped.by([bucket, Factor(block.variants.codes[rows], block.variants.values)], sliced, rows)
    return dict(zip(cast("list[Group]", grouped.keys), quality_sums(outcomes, grouped, config), strict=True))


def _cells(
    block: ScoredBlock,
    rows: NDArray[np.intp],
    outcomes: Outcomes,
    bucket: Factor,
    sliced: list[Sliced],
    config: LabelsConfig,
    rollout: RolloutConfig,
) -> dict[CellGroup, CellSums]:
    if not len(rows):
        return {}
    factors = [bucket, *(Factor(column.codes[rows], column.values) for column in (block.variants, block.models))]
    grouped = Grouped.by(factors, of_features(sliced, rollout.slices), rows)
    loss = losses(outcomes, loss_of(rollout, config.task), config)
    key_groups = group_of(routing_keys(block.keys, block.ids, block.rows))[rows]
    return dict(zip(cast("list[CellGroup]", grouped.keys), cell_sums(loss, key_groups, grouped), strict=True))
