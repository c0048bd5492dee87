"""One simulated rollout after another, judged by Penstock's own gate: what it concluded, and when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from gates_suite import without
from gates_suite.settings import MARGINS, Bucket, Setting, canary, paired

from penstock.monitoring.gates.cells import Cells, total
from penstock.monitoring.gates.estimate import Bounds, Outcomes, Question, Source, estimate
from penstock.monitoring.gates.fast import FastTest
from penstock.monitoring.gates.gate import judge
from penstock.monitoring.gates.plan import shares
from penstock.schemas.gates import Evidence

ALPHA = 0.05
ABLATED = 4
"""Parts of the gate are left out in every fourth rollout."""
MIN_ROWS, MIN_CLUSTERS, MAX_LABEL_GAP = 2_000, 7, 0.1
_WIDTH_MS = 86_400_000


class Counts(NamedTuple):
    """Rollouts in which something happened at one look at least.

    rollbacks, promotions   by the whole plan: the primary metric and the fast test, each at its part of alpha
    ablated                 rollouts in which parts were left out, too
    without                 of those: what was left out → both, by the primary metric at all of alpha
    """

    rollbacks: int
    promotions: int
    ablated: int
    without: dict[str, tuple[int, int]]


class Decision(NamedTuple):
    """What ended a rollout. `rows` of the candidate until then, infinite if nothing did."""

    verdict: str
    rows: float
    share: float


class Gate:
    """The product's classes over one rollout: one look per bucket, one of the fast test per block."""

    def __init__(self, source: Source, setting: Setting, *, keep_mixed: bool = False) -> None:
        self.cells = Cells(_WIDTH_MS, paired=source == "paired")
        self._source, self._keep_mixed = source, keep_mixed
        self._shares = shares(ALPHA, sources=1)
        self._fast = FastTest(source, "error", margin=MARGINS[source], alpha=self._shares.fast)
        self._metric = "squared_error" if setting.heavy else "error"
        self.tune: float | None = None
        self.buckets = 0
        self.outcomes: Outcomes | None = None

    def take(self, bucket: Bucket) -> bool:
        """One bucket matures; whether the fast test rolls back in it."""
        start = self.buckets * _WIDTH_MS
        self.buckets += 1
        self.outcomes = bucket.outcomes
        harm = False
        for block in bucket.blocks:
            if block.champion is None:
                self._fast.add(block.candidate)
            else:
                self._fast.add_arms(block.champion, block.candidate)
            harm |= self._fast.judge(bucket.outcomes).verdict == "rollback"
        candidate = total([block.candidate for block in bucket.blocks])
        if self._source == "paired":
            assert candidate is not None
            self.cells.add(start, candidate)
        else:
            self.cells.add_arms(start, total([block.champion for block in bucket.blocks if block.champion]), candidate)
        if bucket.mixed and not self._keep_mixed:
            self.cells.exclude(start)
        return harm

    @property
    def mature(self) -> int:
        return self.buckets * _WIDTH_MS

    def main(self, alpha: float | None = None) -> Evidence:
        """A look of the primary metric, at its part of alpha or at another."""
        evidence, self.tune = judge(
            self.cells,
            test="main",
            source=self._source,
            metric=self._metric,
            margin=MARGINS[self._source],
            alpha=alpha or self._shares.main,
            matured_before=self.mature,
            min_rows=MIN_ROWS,
            min_clusters=MIN_CLUSTERS,
            tune=self.tune,
            outcomes=self.outcomes,
            max_label_gap=MAX_LABEL_GAP,
        )
        return evidence

    def without(self) -> dict[str, Bounds]:
        """Bounds of the primary metric at all of alpha, with one part or another left out; after the first look."""
        if self.tune is None:
            return {}
        seen = estimate(self.cells.strata(self.mature), self._source)
        question = Question("main", self._source, self._metric, MARGINS[self._source], ALPHA)
        alone = {without.NOTHING: question.bounds(seen, self.tune, self.outcomes)}
        return alone | without.bounds_without(self.cells, seen, self._source, ALPHA, self.tune)


def errors(source: Source, setting: Setting, worse: float, runs: int, seed: int, *, keep_mixed: bool = False) -> Counts:
    """Over the whole horizon, whatever was concluded before: so at least as often as in a rollout that ends."""
    draw = paired if source == "paired" else canary
    rollbacks = promotions = 0
    left_out: dict[str, list[int]] = {}
    for run in range(runs):
        gate = Gate(source, setting, keep_mixed=keep_mixed)
        verdicts: set[str] = set()
        crossed: dict[str, list[bool]] = {}
        for bucket in draw(setting, worse, np.random.default_rng([seed, run])):
            if gate.take(bucket):
                verdicts.add("rollback")
            verdicts.add(gate.main().verdict)
            for name, limits in gate.without().items() if run % ABLATED == 0 else ():
                low, high = crossed.get(name, [False, False])
                crossed[name] = [low or limits.low > 0, high or limits.high < MARGINS[source]]
        rollbacks += "rollback" in verdicts
        promotions += "promote" in verdicts
        for name, (low, high) in crossed.items():
            counts = left_out.setdefault(name, [0, 0])
            counts[0] += low
            counts[1] += high
    ablated = len(range(0, runs, ABLATED))
    return Counts(rollbacks, promotions, ablated, {name: (counts[0], counts[1]) for name, counts in left_out.items()})


def decisions(
    source: Source, setting: Setting, worse: float, runs: int, seed: int, alphas: Sequence[float]
) -> list[list[Decision]]:
    """Per alpha of the primary metric, [runs] rollouts that end with their first verdict, the fast test's included."""
    draw = paired if source == "paired" else canary
    stages = np.repeat([share for _, share in setting.ramp], [count for count, _ in setting.ramp])
    found: list[list[Decision]] = [[] for _ in alphas]
    for run in range(runs):
        gate = Gate(source, setting)
        open_at = dict(enumerate(alphas))
        for bucket in draw(setting, worse, np.random.default_rng([seed, run])):
            harm = gate.take(bucket)
            for at, alpha in list(open_at.items()):
                evidence = gate.main(alpha)
                verdict = "rollback" if harm else evidence.verdict
                if verdict != "hold":
                    share = float(stages[min(gate.buckets, len(stages)) - 1])
                    found[at].append(Decision(verdict, float(evidence.rows), share))
                    del open_at[at]
            if not open_at:
                break
        for at in open_at:
            found[at].append(Decision("hold", math.inf, 1.0))
    return found
