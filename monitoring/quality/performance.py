"""Performance: what the sums of quality say to a person, over time, by slice, and between groups of people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from math import sqrt
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.config import Task
from penstock.monitoring.quality.slices import MISSING, OTHER
from penstock.schemas.quality import Group, QualitySummary, QualitySums, merge_sums
from penstock.schemas.quality_sums import BIN_EDGES, decode_groups, encode_groups
from penstock.schemas.summaries import FIXED_POINT

Period = Literal["bucket", "day", "month"]

_WIDTHS = np.diff(BIN_EDGES, prepend=0.0, append=1.0)
_COARSE = 4
"""So many neighbouring bins make one of the calibration error's 16: fewer rows in each, and noise reads as error."""


def metrics(sums: QualitySums, task: Task) -> dict[str, float]:
    """The figures of some rows; what they do not determine (AUC with one class, a rate of none) is left out.

    binary      accuracy, log_loss, brier, auc, calibration_error, base_rate, mean_score, bias, selection_rate,
                precision, true_positive_rate, false_positive_rate
    multiclass  accuracy, log_loss
    regression  mae, bias (score - label), rmse (of errors clipped to ±error_limit), mean_score, mean_label

    All with `rows`. AUC and calibration error come from 64 and 16 bins of the score: see `auc`, `calibration_error`.

    >>> metrics(QualitySums(rows=4, correct=3, log_loss=2 * FIXED_POINT), "multiclass")
    {'rows': 4.0, 'accuracy': 0.75, 'log_loss': 0.5}
    """
    rows = sums.rows
    if not rows:
        return {"rows": 0.0}
    mean_score, mean_label = _mean(sums.score, rows), _mean(sums.label, rows)
    match task:
        case "regression":
            return {
                "rows": float(rows), "mae": _mean(sums.absolute_error, rows),
                "bias": _mean(sums.score - sums.label, rows), "rmse": sqrt(_mean(sums.squared_error, rows)),
                "mean_score": mean_score, "mean_label": mean_label,
            }  # fmt: skip
        case "multiclass":
            return {"rows": float(rows), "accuracy": sums.correct / rows, "log_loss": _mean(sums.log_loss, rows)}
        case "binary":
            figures: dict[str, float | None] = {
                "rows": float(rows), "accuracy": sums.correct / rows, "log_loss": _mean(sums.log_loss, rows),
                "brier": _mean(sums.squared_error, rows), "auc": auc(sums),
                "calibration_error": calibration_error(sums), "base_rate": sums.positives / rows,
                "mean_score": mean_score, "bias": mean_score - mean_label, "selection_rate": sums.decided / rows,
                "precision": _share(sums.true_positives, sums.decided),
                "true_positive_rate": _share(sums.true_positives, sums.positives),
                "false_positive_rate": _share(sums.decided - sums.true_positives, rows - sums.positives),
            }  # fmt: skip
            return {name: figure for name, figure in figures.items() if figure is not None}


def auc(sums: QualitySums) -> float | None:
    """The probability that a row that came true scored higher than one that did not; None unless there are both.

    Pairs from different bins are counted exactly. Within a bin of width w, where the densities of the scores of both
    kinds are taken as linear, the probability is ½ + (mean of the true - mean of the others) / w: exact for equal
    scores. In all, for smooth scores, within 4e-5 of the value from every pair of rows; within 4e-4 where one outcome
    in 200 is true.
    """
    if sums.bins is None or sums.bin_scores is None:
        return None
    of_no, of_yes = sums.bins.astype(np.float64)
    pairs = of_no.sum() * of_yes.sum()
    if pairs == 0:
        return None
    mean_no, mean_yes = _means(sums.bin_scores, sums.bins)
    within = np.clip(0.5 + (mean_yes - mean_no) / _WIDTHS, 0.0, 1.0)
    below = np.cumsum(of_no) - of_no
    return float((of_yes * (below + of_no * within)).sum() / pairs)


def calibration_error(sums: QualitySums) -> float | None:
    """How far, on average over the rows, a bin's mean score is from its rate of true outcomes: 16 bins of the score.

    The expected calibration error of Naeini, Cooper and Hauskrecht (AAAI 2015).
    """
    if sums.bins is None or sums.bin_scores is None or not sums.rows:
        return None
    rows = sums.bins.reshape(2, -1, _COARSE).sum(2)
    scores = sums.bin_scores.reshape(2, -1, _COARSE).sum((0, 2)) / FIXED_POINT
    return float(np.abs(scores - rows[1]).sum() / sums.rows)


class Gap(NamedTuple):
    """How far two groups are apart in a rate.

    measure         selection_rate or true_positive_rate
    highest, lowest the two groups, and
    rates           theirs
    gap             the difference of the rates
    standard_error  of it
    at_least        the gap is this large or larger with 95 % confidence over all pairs of groups together; 0: it may
                    be chance
    """

    measure: str
    highest: str
    lowest: str
    rates: tuple[float, float]
    gap: float
    standard_error: float
    at_least: float


def fairness(groups: Mapping[str, QualitySums], *, confidence: float = 0.95) -> dict[str, Gap]:
    """The gaps between groups (binary), by measure; of all pairs the one whose gap is surest to be large.

    So a group of five rows with a rate of 0 does not hide a gap between two large ones, nor make one of its own.
    Selection rate: demographic parity; true positive rate: equal opportunity (Hardt, Price and Srebro, 2016). Standard
    errors are Agresti and Caffo's (2000: one success and one failure more in each group); the confidence holds for all
    pairs together (Bonferroni). A measure is left out where fewer than two groups have rows for it.

    >>> north, south = QualitySums(rows=1000, decided=300), QualitySums(rows=1000, decided=200)
    >>> gap = fairness({"north": north, "south": south, "tiny": QualitySums(rows=3)})["selection_rate"]
    >>> gap.highest, gap.lowest, round(gap.gap, 3), round(gap.at_least, 2)
    ('north', 'south', 0.1, 0.05)
    """
    measures = {
        "selection_rate": {name: (sums.decided, sums.rows) for name, sums in groups.items()},
        "true_positive_rate": {name: (sums.true_positives, sums.positives) for name, sums in groups.items()},
    }
    gaps = {measure: _widest(measure, counts, confidence) for measure, counts in measures.items()}
    return {measure: gap for measure, gap in gaps.items() if gap is not None}


def _widest(measure: str, counts: Mapping[str, tuple[int, int]], confidence: float) -> Gap | None:
    names = [name for name, (_, of) in counts.items() if of]
    if len(names) < 2:
        return None
    some, of = np.array([counts[name] for name in names], np.float64).T
    rates = some / of
    shrunk = (some + 1) / (of + 2)
    variances = shrunk * (1 - shrunk) / (of + 2)
    errors = np.sqrt(variances[:, None] + variances[None, :])
    comparisons = len(names) * (len(names) - 1)
    z = NormalDist().inv_cdf(1 - (1 - confidence) / comparisons)
    sure = (shrunk[:, None] - shrunk[None, :]) - z * errors
    np.fill_diagonal(sure, -np.inf)
    high, low = (int(at) for at in np.unravel_index(np.argmax(sure), sure.shape))
    return Gap(
        measure, names[high], names[low], (float(rates[high]), float(rates[low])), float(rates[high] - rates[low]),
        float(errors[high, low]), max(0.0, float(sure[high, low])),
    )  # fmt: skip


class Performance:
    """Quality so far, by time bucket, variant and slice: of the newest `buckets` buckets.

    Adding is exact and in any order; each summary is to be added once. A group takes 2 kB of memory: 400 buckets of 40
    groups 33 MB.

    >>> performance = Performance("multiclass")
    >>> performance.add_groups({(0, "champion", ""): QualitySums(rows=4, correct=3)})
    >>> performance.over_time("champion")
    [('1970-01-01T00:00:00Z', {'rows': 4.0, 'accuracy': 0.75, 'log_loss': 0.0})]
    """

    def __init__(self, task: Task, *, buckets: int = 400) -> None:
        self.task = task
        self.buckets = buckets
        self._sums: dict[int, dict[tuple[str, str], QualitySums]] = {}

    def add(self, summary: QualitySummary) -> None:
        self.add_groups(summary.groups)

    def add_groups(self, groups: Mapping[Group, QualitySums]) -> None:
        for (bucket, variant, name), sums in groups.items():
            within = self._sums.setdefault(bucket, {})
            known = within.get((variant, name))
            within[variant, name] = sums if known is None else merge_sums(known, sums)
        while len(self._sums) > self.buckets:
            del self._sums[min(self._sums)]

    @property
    def variants(self) -> list[str]:
        return sorted({variant for within in self._sums.values() for variant, _ in within})

    def total(
        self, variant: str, slice: str = "", *, since_ms: int | None = None, until_ms: int | None = None
    ) -> QualitySums:
        """The sums of the buckets that begin in [since_ms, until_ms)."""
        chosen = self._buckets(since_ms, until_ms)
        return _total(within[variant, slice] for within in chosen if (variant, slice) in within)

    def over_time(
        self, variant: str, slice: str = "", *, period: Period = "bucket"
    ) -> list[tuple[str, dict[str, float]]]:
        """The metrics of each period (UTC) that has rows, the oldest first."""
        periods: dict[str, list[QualitySums]] = {}
        for bucket in sorted(self._sums):
            if (variant, slice) in self._sums[bucket]:
                periods.setdefault(_period(bucket, period), []).append(self._sums[bucket][variant, slice])
        return [(name, metrics(_total(sums), self.task)) for name, sums in periods.items()]

    def slices(
        self, variant: str, feature: str, *, since_ms: int | None = None, until_ms: int | None = None
    ) -> dict[str, QualitySums]:
        """The sums of each of the feature's slices that has rows, by value: what `fairness` compares.

        Rows without a value, and those of rare values taken together, are nobody's group, and left out.
        """
        start = f"{feature}="
        found: dict[str, list[QualitySums]] = {}
        for within in self._buckets(since_ms, until_ms):
            for (of, name), sums in within.items():
                if of == variant and name.startswith(start) and name[len(start) :] not in (OTHER, MISSING):
                    found.setdefault(name[len(start) :], []).append(sums)
        return {value: _total(sums) for value, sums in found.items()}

    def snapshot(self) -> bytes:
        return encode_groups({
            (bucket, variant, name): sums
            for bucket, within in self._sums.items()
            for (variant, name), sums in within.items()
        })  # fmt: skip

    @classmethod
    def restore(cls, data: bytes, task: Task, *, buckets: int = 400) -> Performance:
        """Raises CorruptQuality."""
        performance = cls(task, buckets=buckets)
        performance.add_groups(decode_groups(data))
        return performance

    def _buckets(self, since_ms: int | None, until_ms: int | None) -> list[dict[tuple[str, str], QualitySums]]:
        return [
            self._sums[bucket]
            for bucket in sorted(self._sums)
            if (since_ms is None or bucket >= since_ms) and (until_ms is None or bucket < until_ms)
        ]


def _period(bucket: int, period: Period) -> str:
    time = datetime.fromtimestamp(bucket / 1000, UTC)
    return time.strftime({"bucket": "%Y-%m-%dT%H:%M:%SZ", "day": "%Y-%m-%d", "month": "%Y-%m"}[period])


def _total(sums: Iterable[QualitySums]) -> QualitySums:
    total = QualitySums()
    for one in sums:
        total = merge_sums(total, one)
    return total


def _mean(fixed: int, rows: int) -> float:
    return fixed / FIXED_POINT / rows


def _share(some: int, of: int) -> float | None:
    return some / of if of else None


def _means(sums: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """0 where there are no rows; what is made of it then counts no pair."""
    means: NDArray[np.float64] = sums / FIXED_POINT / np.maximum(rows, 1)
    return means
