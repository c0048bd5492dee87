"""The default set as shipped: what a judge with its defaults raises on a calm stream of everything, family by family.

Twelve numbers, three of them integers, three categories, two looked-up features with ages, a binary model that scores
them, labels that come within minutes, late for some rows and never for others, quality by slices of a category and
fairness between them. Segments of 512 rows, one a minute, a reference of 200 segments; a budget of one false alarm in
504 segments, which is 20 a week here. Summaries and quality summaries go through the service's own counting and
measuring to the judge. An alarm is counted when its alert clears, which here is with the next calm segment.

How the shares come about, and what online control of false discoveries would do instead, is measured in
benchmarks/budgets.py; what a larger or smaller budget costs in delay is the curve under `delays`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from drift_suite.distributions import HOUR_MS, START_MS, WEEK_MS
from drift_suite.figures import Cell, Figure, Goal, Options
from drift_suite.scoring import upper_limit
from drift_suite.segments import block_of
from numpy.typing import NDArray

from penstock.models.profiling import build_profile
from penstock.monitoring.alarms import Family
from penstock.monitoring.budget import shares
from penstock.monitoring.config import AlertsConfig, DriftConfig, LabelsConfig
from penstock.monitoring.counting.binning import Binning
from penstock.monitoring.counting.count import count
from penstock.monitoring.judging.judge import Judge
from penstock.monitoring.quality.measure import measure as measure_quality
from penstock.schemas.alerts import Alert
from penstock.schemas.columns import Category, Columns, Layout
from penstock.schemas.profile import ReferenceProfile
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.summaries import NO_WATERMARK

ROWS = 512
SEGMENT_MS = 60_000
REFERENCE_SEGMENTS = 200
RUNS = 4
SEGMENTS = 3_000
SEGMENTS_PER_ALARM = 504.0
ALARMS_PER_WEEK = WEEK_MS / SEGMENT_MS / SEGMENTS_PER_ALARM
LAYOUT = Layout(
    floats=tuple(f"number_{place}" for place in range(9)),
    integers=tuple(f"integer_{place}" for place in range(3)),
    categories=("origin", "carrier", "kind"),
)
VALUES = {"origin": ("JFK", "LGA", "EWR"), "carrier": tuple("ABCDEFGH"), "kind": ("plain", "other", "rare")}
CHANCES = {
    "origin": (0.4, 0.35, 0.25),
    "carrier": (0.3, 0.2, 0.15, 0.1, 0.1, 0.08, 0.05, 0.02),
    "kind": (0.8, 0.19, 0.01),
}
AGED = ("number_7", "number_8")
LABELS = LabelsConfig(maturity_s=3_600.0, bucket_s=3_600.0, slices=("origin",), groups=("origin",))
FAMILIES: tuple[Family, ...] = (
    "data_drift", "joint_drift", "score_drift", "concept_drift", "quality", "fairness", "labels", "volume", "freshness",
    "numerics",
)  # fmt: skip
"""All that have a share of the budget."""


class Calm:
    """Draws segments of scored rows and their labels; nothing about them changes."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.weights = np.random.default_rng(7).normal(0, 0.5, len(LAYOUT.floats))

    def columns(self, rows: int) -> Columns:
        random = self.random
        common = random.standard_normal((rows, 1))
        floats = (0.5 * common + random.standard_normal((rows, len(LAYOUT.floats)))).astype(np.float32)
        floats[:, 1] = np.exp(floats[:, 1])
        floats[random.random(rows) < 0.02, 2] = np.nan
        integers = np.stack([random.poisson(mean, rows) for mean in (0.05, 3.0, 40.0)], axis=1).astype(np.int64)
        categories = tuple(
            Category(random.choice(len(VALUES[name]), rows, p=CHANCES[name]).astype(np.int32), VALUES[name])
            for name in LAYOUT.categories
        )
        return Columns(LAYOUT, floats, integers, categories, ())

    def scores(self, columns: Columns) -> NDArray[np.float32]:
        logits = np.nan_to_num(np.clip(columns.floats, -5, 5)) @ self.weights
        probabilities: NDArray[np.float32] = (1 / (1 + np.exp(-logits))).astype(np.float32)
        return probabilities

    def block(self, segment: int) -> ScoredBlock:
        random, columns = self.random, self.columns(ROWS)
        times = START_MS + segment * SEGMENT_MS + np.sort(random.integers(0, SEGMENT_MS, ROWS))
        return block_of(
            columns, segment * ROWS, times,
            timestamps=times + random.gamma(2.0, 20.0, ROWS).astype(np.int64),
            aged=AGED,
            ages=random.gamma(2.0, 300.0, (ROWS, len(AGED))).astype(np.float32),
            score=self.scores(columns),
            sizes=random.integers(300, 600, ROWS).astype(np.int32),
        )  # fmt: skip

    def labels(self, block: ScoredBlock) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Labels and when they came; 3 % never, 1 % after the maturity."""
        random = self.random
        labels = (random.random(block.rows) < block.score).astype(np.float64)
        labels[random.random(block.rows) < 0.03] = np.nan
        delays = random.gamma(2.0, 300_000.0, block.rows)
        delays[random.random(block.rows) < 0.01] = 2 * HOUR_MS
        return labels, block.event_times + delays.astype(np.int64)


def cells(options: Options) -> list[Cell]:
    return [Cell("default_set", "false alarms by family", by_family, (options,))]


def by_family(options: Options) -> list[Figure]:
    alarms: Counter[str] = Counter()
    alerts = 0
    runs, segments = options.size(RUNS, 1), options.size(SEGMENTS, 90)
    for number in range(runs):
        told = _run(Calm(options.seed + number), options.size(REFERENCE_SEGMENTS, 60), segments)
        alerts += len({alert.id for alert in told})
        alarms += _by_family(told)
    asked = runs * segments / SEGMENTS_PER_ALARM
    total = alarms.total()
    figures = [
        Figure(
            "all families: realised / asked", "", total / asked, Goal("≤", 1),
            {"always fire": SEGMENTS_PER_ALARM, "never fire": 0.0}, upper=upper_limit(total) / asked,
            note=f"{total} alarms, {alerts} alerts in {runs * segments:,} segments",
        )
    ]  # fmt: skip
    parts = shares(dict.fromkeys(FAMILIES, 1))
    figures += [
        Figure(
            f"{family}: realised / its share", "", alarms[family] / (asked * part), None,
            upper=upper_limit(alarms[family]) / (asked * part),
            note=f"{alarms[family]} alarms; {part:.0%} of the budget",
        )
        for family, part in parts.items()
    ]  # fmt: skip
    return figures


def _run(calm: Calm, reference_segments: int, segments: int) -> list[Alert]:
    profile = _profile(calm, reference_segments)
    binning = Binning.of(LAYOUT, AGED, profile, reference="benchmark@1")
    judge = Judge(
        DriftConfig(segment_rows=ROWS, false_alarms_per_week=ALARMS_PER_WEEK),
        LABELS,
        AlertsConfig(clear_after=1, cool_down_s=0.0),
        pipeline="benchmark",
        profile=lambda _: profile,
    )
    told: list[Alert] = []
    watermark = NO_WATERMARK
    for segment in range(reference_segments, reference_segments + segments):
        block = calm.block(segment)
        summary = count(
            block, binning, segment=segment, part=0, complete=True, watermark_before=watermark,
            max_future_ms=HOUR_MS, max_out_of_order_ms=SEGMENT_MS, segment_rows=ROWS,
        )  # fmt: skip
        watermark = summary.watermark
        told += judge.apply(summary)
        labels, times = calm.labels(block)
        told += judge.apply_quality(
            measure_quality(block, labels, times, LABELS, segment=segment, part=0, complete=True, watermark=watermark)
        )
    return told + judge.open


def _profile(calm: Calm, segments: int) -> ReferenceProfile:
    columns = calm.columns(segments * ROWS)
    times = START_MS + np.arange(columns.rows) * SEGMENT_MS // ROWS
    return build_profile(columns, scores=calm.scores(columns), times=times, segment_rows=ROWS)


def _by_family(told: Sequence[Alert]) -> Counter[str]:
    """Causes of alerts, each alert's at its last state."""
    last = {alert.id: alert for alert in told}
    return Counter(cause.family for alert in last.values() for cause in alert.causes)
