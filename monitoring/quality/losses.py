"""The loss of one row: what sums of quality and the cells of the gates are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.config import LabelsConfig, Loss
from penstock.monitoring.quality.outcomes import Outcomes
from penstock.schemas.quality_sums import LARGEST

_CLIP = 0.001
"""Probabilities are clipped to [_CLIP, 1 - _CLIP] before their logarithm is taken: no loss exceeds 6.9 nats."""


def log_loss(outcomes: Outcomes) -> NDArray[np.float64]:
    """[rows] -ln of the probability that was given to what came true, clipped to [.001, .999]."""
    if outcomes.scores is None:
        probability = np.where(outcomes.label == 1, outcomes.score, 1 - outcomes.score)
    else:
        rows = np.arange(len(outcomes.label))
        probability = outcomes.scores[rows, outcomes.label.astype(np.intp)].astype(np.float64)
    loss: NDArray[np.float64] = -np.log(np.clip(probability, _CLIP, 1 - _CLIP))
    return loss


def brier(outcomes: Outcomes) -> NDArray[np.float64]:
    """[rows] (p - y)², binary."""
    loss: NDArray[np.float64] = (np.clip(outcomes.score, 0.0, 1.0) - outcomes.label) ** 2
    return loss


def right(outcomes: Outcomes, config: LabelsConfig) -> NDArray[np.bool_]:
    """[rows] whether the decision is the outcome: at the threshold, or for the most probable class."""
    if outcomes.scores is not None:
        classes: NDArray[np.bool_] = np.argmax(outcomes.scores, 1) == outcomes.label
        return classes
    decisions: NDArray[np.bool_] = (outcomes.score >= config.threshold) == (outcomes.label == 1)
    return decisions


def errors(outcomes: Outcomes) -> NDArray[np.float64]:
    """[rows] score - label, regression; all three are clipped to ±2^36."""
    label, score = (np.clip(values, -LARGEST, LARGEST) for values in (outcomes.label, outcomes.score))
    return np.clip(score - label, -LARGEST, LARGEST)


def squares(errors: NDArray[np.float64], error_limit: float) -> NDArray[np.float64]:
    """[rows] errors² of errors clipped to ±error_limit, so that one row cannot be the RMSE."""
    squares: NDArray[np.float64] = np.clip(errors, -error_limit, error_limit) ** 2
    return squares


def losses(outcomes: Outcomes, loss: Loss, config: LabelsConfig) -> NDArray[np.float64]:
    """[rows] in [0, 2^36]: what a gate compares. Raises ValueError where the task does not know the loss.

    >>> said = Outcomes(np.array([1.0, 0.0]), np.array([0.9, 0.8]), None)
    >>> losses(said, "error", LabelsConfig()), losses(said, "brier", LabelsConfig()).round(2)
    (array([0., 1.]), array([0.01, 0.64]))
    """
    match config.task, loss:
        case (("binary" | "multiclass"), "log_loss"):
            return log_loss(outcomes)
        case "binary", "brier":
            return brier(outcomes)
        case (("binary" | "multiclass"), "error"):
            return (~right(outcomes, config)).astype(np.float64)
        case "regression", "squared_error":
            return squares(errors(outcomes), config.error_limit)
        case "regression", "absolute_error":
            return np.abs(errors(outcomes))
    raise ValueError(f"{loss} is no loss of {config.task}")
