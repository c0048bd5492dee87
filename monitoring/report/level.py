"""The figure that sums up a model's quality, with its standard error: on the training data, and in a stretch."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from penstock.monitoring.config import Task
from penstock.monitoring.quality.performance import metrics
from penstock.schemas.profile import ReferenceProfile
from penstock.schemas.quality_sums import QualitySums

MAIN_FIGURE: dict[Task, str] = {"binary": "auc", "multiclass": "accuracy", "regression": "mae"}

FEWEST_ROWS = 30
"""Fewer outcomes give no figure: chance would draw it."""


class Level(NamedTuple):
    """A figure with its standard error."""

    figure: float
    error: float


def training_level(profile: ReferenceProfile | None, task: Task) -> Level | None:
    """The main figure on the profile's sample of training rows; None where scores and labels do not determine it."""
    if profile is None or task == "multiclass":
        return None
    scores, labels = profile.sample.scores.astype(np.float64), profile.sample.labels
    if len(scores) != len(labels):
        return None
    known = np.isfinite(scores) & np.isfinite(labels)
    scores, labels = scores[known], labels[known]
    if len(scores) < FEWEST_ROWS:
        return None
    if task == "regression":
        errors = np.abs(scores - labels)
        return Level(float(errors.mean()), float(errors.std() / math.sqrt(len(errors))))
    yes = labels == 1
    positives, negatives = int(yes.sum()), int((~yes).sum())
    if not positives or not negatives:
        return None
    ordered = np.sort(scores)
    ranks = (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right") + 1) / 2
    auc = float((ranks[yes].sum() - positives * (positives + 1) / 2) / (positives * negatives))
    return Level(auc, auc_error(auc, positives, negatives))


def auc_error(auc: float, positives: int, negatives: int) -> float:
    """Standard error of an AUC (Hanley and McNeil, Radiology 143, 1982).

    >>> round(auc_error(0.893, 51, 58), 3)
    0.033
    """
    one, two = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (one - auc * auc) + (negatives - 1) * (two - auc * auc)
    return math.sqrt(max(variance, 0.0) / (positives * negatives))


def level_of(sums: QualitySums, task: Task) -> Level | None:
    """The main figure of the stretch."""
    figures = metrics(sums, task) if sums.rows >= FEWEST_ROWS else {}
    figure = figures.get(MAIN_FIGURE[task])
    if figure is None:
        return None
    match task:
        case "binary":
            error = auc_error(figure, sums.positives, sums.rows - sums.positives)
        case "multiclass":
            error = math.sqrt(figure * (1 - figure) / sums.rows)
        case "regression":
            error = math.sqrt(max(figures["rmse"] ** 2 - figure**2, 0.0) / sums.rows)
    return Level(figure, error)
