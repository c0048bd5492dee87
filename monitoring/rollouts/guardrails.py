"""Guardrails: what a candidate must keep to whatever its loss, and when it is sure that it does not.

They are looked at all the time, so a share of bad rows is judged by a test that holds at every moment: the likelihood
ratio of shares above the limit against the limit itself, mixed over 2, 4, 8, … times the limit and 1, is a
supermartingale as long as the share is within it, and by Ville's inequality exceeds 1/α at any time with a probability
of at most α. A thousand rows without a finite score are not needed to see that all are without one: two are enough.

Latency is no share. It is judged over the rows that a first verdict needs, and by whichever is less, the ratio of the
times per row or that per call: a candidate that answers few keys is called with few rows, which cost more apiece.
"""

from __future__ import annotations

import math

import msgspec

from penstock.monitoring.config import RolloutConfig
from penstock.monitoring.gates.estimate import Outcomes
from penstock.monitoring.gates.plan import LABELLED_SHARE
from penstock.schemas.gates import Guardrail
from penstock.schemas.operations import VariantReading

FEWEST_READINGS = 6
"""Of the workers, a minute's worth, before a model can be called slow: the first calls warm it up."""


class Counts(msgspec.Struct):
    """What one model did during a stage.

    rows        that it was asked about, in shadow too
    non_finite  of those, for which it gave no finite score
    routed      rows that were routed to it
    failed      of those, on which it failed
    readings    of workers that called it
    timed       rows of those calls
    calls       of the model
    took_us     microseconds that they took
    """

    rows: int = 0
    non_finite: int = 0
    routed: int = 0
    failed: int = 0
    readings: int = 0
    timed: int = 0
    calls: int = 0
    took_us: int = 0

    def add(self, reading: VariantReading) -> None:
        """One worker's interval."""
        self.rows += reading.rows
        self.non_finite += reading.non_finite
        self.routed += reading.rows
        self.failed += reading.failed
        if reading.calls:
            self.readings += 1
            self.timed += reading.rows
            self.calls += reading.calls
            self.took_us += reading.took_us

    def add_paired(self, rows: int, non_finite: int) -> None:
        """Rows that it was asked about in shadow."""
        self.rows += rows
        self.non_finite += non_finite


class Guards(msgspec.Struct):
    """The guardrails of one stage: counts of the candidate and of the champion.

    >>> guards = Guards()
    >>> guards.candidate.add(VariantReading("delay@2", rows=2, non_finite=2, calls=1, took_us=80))
    >>> [(one.name, one.held) for one in guards.judge(RolloutConfig(), Outcomes(0, 0, 0, 0), alpha=0.0005)]
    [('non_finite', False), ('dead_letters', True), ('latency', True), ('labelled_share', True)]
    """

    candidate: Counts = msgspec.field(default_factory=Counts)
    champion: Counts = msgspec.field(default_factory=Counts)

    def judge(self, config: RolloutConfig, outcomes: Outcomes, *, alpha: float) -> tuple[Guardrail, ...]:
        """All of them; `alpha` is what each test of a share may err by during the stage."""
        ours = self.candidate
        return (
            _share("non_finite", ours.non_finite, ours.rows, config.max_non_finite, alpha),
            _share("dead_letters", ours.failed, ours.routed, config.max_failed, alpha),
            self._latency(config),
            _labelled_share(outcomes, config.max_label_gap),
        )

    def _latency(self, config: RolloutConfig) -> Guardrail:
        ours, theirs, limit = self.candidate, self.champion, config.max_latency_ratio
        if not (ours.calls and theirs.calls and ours.timed and theirs.timed and theirs.took_us):
            return Guardrail("latency", None, limit, True, "the two did not answer side by side")
        per_call = (ours.took_us / ours.calls) / (theirs.took_us / theirs.calls)
        per_row = (ours.took_us / ours.timed) / (theirs.took_us / theirs.timed)
        ratio = min(per_call, per_row)
        enough = min(ours.timed, theirs.timed) >= config.min_rows and ours.readings >= FEWEST_READINGS
        note = "" if enough else f"{min(ours.timed, theirs.timed)} of {config.min_rows} rows"
        return Guardrail("latency", _rounded(ratio), limit, ratio <= limit or not enough, note)


def _labelled_share(outcomes: Outcomes, limit: float) -> Guardrail:
    """As long as labels come to the two unlike, their losses say nothing: it holds, and rolls nobody back."""
    if not (outcomes.champion_rows and outcomes.candidate_rows):
        return Guardrail(LABELLED_SHARE, None, limit, True, "nothing that both served has matured")
    return Guardrail(LABELLED_SHARE, _rounded(abs(outcomes.gap)), limit, outcomes.certain_gap <= limit)


def nats_above(bad: int, rows: int, limit: float) -> float:
    """Evidence that more than `limit` of all rows are bad: the logarithm of the mixed likelihood ratio.

    >>> nats_above(0, 1_000, 0.001) < 0 < nats_above(5, 100, 0.001)
    True
    >>> nats_above(1, 10, 0.0)
    inf
    """
    if limit <= 0:
        return math.inf if bad else 0.0
    if limit >= 1:
        return -math.inf
    shares = [limit * 2.0**power for power in range(1, 64) if limit * 2.0**power < 1]
    ratios = [bad * math.log(p / limit) + (rows - bad) * (math.log1p(-p) - math.log1p(-limit)) for p in shares]
    ratios.append(-bad * math.log(limit) if bad == rows else -math.inf)
    largest = max(ratios)
    if largest == -math.inf:
        return largest
    return largest + math.log(math.fsum(math.exp(ratio - largest) for ratio in ratios) / len(ratios))


def _share(name: str, bad: int, rows: int, limit: float, alpha: float) -> Guardrail:
    value = _rounded(bad / rows) if rows else None
    return Guardrail(name, value, limit, nats_above(bad, rows, limit) < -math.log(alpha))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
