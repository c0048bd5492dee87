"""What became of rows: their outcomes at maturity, and what models had said of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.config import LabelsConfig
from penstock.schemas.columns import Floats


def well_dated(event_times: NDArray[np.int64], timestamps: NDArray[np.int64], max_future_ms: int) -> NDArray[np.int64]:
    """[rows] event times; one that is further after its broker timestamp stands at that timestamp instead."""
    times: NDArray[np.int64] = np.where(event_times <= timestamps + max_future_ms, event_times, timestamps)
    return times


class Matured(NamedTuple):
    """What is known of rows when labels count no longer; all [rows].

    value    float64: the label that came in time, or what silence means; NaN: nothing
    known    a label came, in time or not
    in_time  it came within the maturity
    delay    int64 ms from event to label, of meaning where one is known
    """

    value: NDArray[np.float64]
    known: NDArray[np.bool_]
    in_time: NDArray[np.bool_]
    delay: NDArray[np.int64]


def matured(
    labels: NDArray[np.float64], label_times: NDArray[np.int64], times: NDArray[np.int64], config: LabelsConfig
) -> Matured:
    """The outcomes of rows of these event times, from their labels (NaN where none is known)."""
    known = ~np.isnan(labels)
    delay: NDArray[np.int64] = np.where(known, label_times - times, 0)
    in_time = known & (delay <= config.maturity_s * 1000)
    value = np.where(in_time, labels, np.nan if config.silence is None else config.silence)
    return Matured(value, known, in_time, delay)


def said(score: Floats, scores: Floats | None, config: LabelsConfig) -> NDArray[np.bool_]:
    """[rows] whether a model's outputs are something that the task knows: finite, and of every class."""
    finite: NDArray[np.bool_] = np.isfinite(score)
    if config.task == "multiclass":
        return finite & np.isfinite(scores).all(1) if scores is not None else np.zeros(len(score), np.bool_)
    return finite


def fits(value: NDArray[np.float64], score: Floats, scores: Floats | None, config: LabelsConfig) -> NDArray[np.bool_]:
    """[rows] whether both the outcome and a model's outputs are something that the task knows."""
    fit = said(score, scores, config)
    if config.task == "binary":
        fit &= (value == 0) | (value == 1)
    elif config.task == "multiclass" and scores is not None:
        fit &= (value >= 0) & (value < scores.shape[1]) & (value % 1 == 0)
    else:
        fit &= ~np.isnan(value)
    return fit


class Outcomes(NamedTuple):
    """Rows whose outcome is known, and what one model said of them: both fit the task. All [rows].

    label   float64
    score   float64
    scores  [rows, classes] float32, where the task has classes
    """

    label: NDArray[np.float64]
    score: NDArray[np.float64]
    scores: Floats | None

    @classmethod
    def of(
        cls,
        value: NDArray[np.float64],
        score: Floats,
        scores: Floats | None,
        rows: NDArray[np.intp],
        config: LabelsConfig,
    ) -> Outcomes:
        """Those of some rows."""
        classes = scores[rows] if scores is not None and config.task == "multiclass" else None
        return cls(value[rows], score[rows].astype(np.float64), classes)
