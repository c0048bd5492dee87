"""What is measured, with what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from drift_suite.figures import Figure, Goal
from gates_suite import rollouts
from gates_suite.rollouts import ALPHA, Decision
from gates_suite.settings import MARGINS, Setting
from scipy.stats import beta

from penstock.monitoring.gates.estimate import Source
from penstock.monitoring.gates.plan import shares

PAIRED = Setting(rows=500)
PAIRED_SETTINGS = {
    "independent rows": PAIRED,
    "day effects": replace(PAIRED, day_spread=0.01),
    "heavy tails": replace(PAIRED, heavy=True),
    "repeating keys": replace(PAIRED, keys=500, key_spread=0.03, uneven=True),
}
CANARY = Setting()
CANARY_SETTINGS = {
    "independent rows": CANARY,
    "day effects": replace(CANARY, day_spread=0.02, day_base=0.05),
    "heavy tails": replace(CANARY, heavy=True),
    "repeating keys": replace(CANARY, keys=2_000, key_spread=0.18, uneven=True),
    "ramp, changing base rate": replace(CANARY, rising=True, daily=True, halfway=True),
    "labels later in one arm": replace(CANARY, maturity=6.0),
}
SETTINGS: dict[Source, dict[str, Setting]] = {"paired": PAIRED_SETTINGS, "canary": CANARY_SETTINGS}
FEW_ROWS = replace(PAIRED, rows=400)
SMALL_SHARES = replace(CANARY, rows=6_912, ramp=((10, 0.01), (50, 0.05)))
"""At 1 %, then at 5 % of the keys. How many rows a bucket has trades the rows that a verdict needs (more buckets are
better) against verdicts within 60 buckets; both sizes were chosen on other seeds than those measured here."""
STRONG_KEYS = 0.18
"""Standard deviation over the keys of a key's own mean loss."""
TEST, ROLLOUT = "a test at α = .05", "a rollout at α = .05"
_NOTES = {
    "labels later in one arm": "maturity at six times the slower delay",
    "ramp, changing base rate": "1 to 50 %, changed in mid-bucket; base rate × 4, and a daily cycle",
    "repeating keys": "each with a loss of its own",
    "day effects": "each day with a difference of its own",
    "heavy tails": "log-normal losses",
}


class Measure(NamedTuple):
    """Some figures, from one simulation; a piece of work for one process."""

    title: str
    work: Callable[..., list[Figure]]
    arguments: tuple[Any, ...]

    def taken(self) -> list[Figure]:
        return self.work(self.title, *self.arguments)


def errors(runs: int) -> list[Measure]:
    """In each setting: equal models, and a candidate that is worse by exactly the margin."""
    return [
        Measure(f"{source}, {name}", wrong_verdicts, (source, setting, runs, seed, _NOTES.get(name, "")))
        for source, settings in SETTINGS.items()
        for seed, (name, setting) in enumerate(settings.items())
    ]


def wrong_verdicts(
    title: str,
    source: Source,
    setting: Setting,
    runs: int,
    seed: int,
    note: str,
    *,
    asked: bool = True,
    mixed: bool = False,
) -> list[Figure]:
    figures = []
    for worse, wrong in ((0.0, "rollbacks"), (MARGINS[source], "promotions")):
        counts = rollouts.errors(source, setting, worse, runs, seed, keep_mixed=mixed)
        count = counts.rollbacks if wrong == "rollbacks" else counts.promotions
        side = 0 if wrong == "rollbacks" else 1
        figures.append(
            Figure(
                f"{title}: wrong {wrong}",
                "",
                count / runs,
                Goal("≤", ALPHA) if asked else None,
                {name: crossed[side] / counts.ablated for name, crossed in counts.without.items()},
                upper=upper_limit(count, runs),
                note=note,
            )
        )
    return figures


def decided(runs: int) -> list[Measure]:
    """Rows until the verdict, and whether it comes while few keys are at stake."""
    strong = replace(SMALL_SHARES, key_spread=STRONG_KEYS)
    others = {
        "20k keys with strong effects of their own": strong,
        "100k keys with strong effects of their own": replace(strong, keys=100_000),
        "days that differ": replace(SMALL_SHARES, day_spread=0.02, day_base=0.05),
    }
    return [
        Measure("paired, 5 % disagreement", rows_to_verdict, ("paired", FEW_ROWS, runs, 17_000, False)),
        Measure("canary, 20k keys", rows_to_verdict, ("canary", SMALL_SHARES, runs, 5_000, True)),
        *(Measure(f"canary, {name}", rolled_back, (setting, max(1, runs // 4))) for name, setting in others.items()),
    ]


def rows_to_verdict(
    title: str, source: Source, setting: Setting, runs: int, goal: float, small_shares: bool
) -> list[Figure]:
    """At alpha .05 for the primary metric, as the goals are stated; and at what a rollout gives it of its alpha."""
    plans = {TEST: ALPHA, ROLLOUT: shares(ALPHA).main}
    worse, equal = (
        dict(zip(plans, rollouts.decisions(source, setting, by, runs, seed, list(plans.values())), strict=True))
        for seed, by in ((7_001, MARGINS[source]), (7_002, 0.0))
    )
    figures = []
    for plan in plans:
        asked = Goal("≤", goal) if plans[plan] == ALPHA else None
        figures.append(_rows(f"{title}, worse by the margin, {plan}: median", worse[plan], asked))
    if small_shares:
        figures.append(_small_shares(f"{title}, worse by the margin, {ROLLOUT}", worse[ROLLOUT], Goal("≥", 0.99)))
    return [*figures, *(_rows(f"{title}, equal, {plan}: median", equal[plan]) for plan in plans)]


def rolled_back(title: str, setting: Setting, runs: int) -> list[Figure]:
    [decisions] = rollouts.decisions("canary", setting, MARGINS["canary"], runs, 100, [shares(ALPHA).main])
    name = f"{title}, worse by the margin, {ROLLOUT}"
    return [_small_shares(name, decisions), _rows(f"{name}: median", decisions)]


def _rows(name: str, decisions: Sequence[Decision], goal: Goal | None = None) -> Figure:
    return Figure(name, "rows", float(np.median([one.rows for one in decisions])), goal, _ends(decisions))


def _small_shares(name: str, decisions: Sequence[Decision], goal: Goal | None = None) -> Figure:
    back = sum(one.verdict == "rollback" and one.share <= 0.05 for one in decisions)
    return Figure(f"{name}: rolled back at ≤ 5 % of traffic", "", back / len(decisions), goal, _ends(decisions))


def _ends(decisions: Sequence[Decision]) -> dict[str, float]:
    ends = {"rollback": "rolled back", "promote": "promoted", "hold": "undecided"}
    return {name: sum(one.verdict == end for one in decisions) / len(decisions) for end, name in ends.items()}


def limits(runs: int) -> list[Measure]:
    """Where the gate is not at its best, and what becomes of what it is told to leave out."""
    late = "maturity at {} × the slower delay: held, or wide bounds"
    both = replace(PAIRED_SETTINGS["repeating keys"], day_spread=0.01)
    settings = {
        "labels later in one arm, early": (replace(CANARY, maturity=2.0), late.format(2), False),
        "labels later in one arm, far too early": (replace(CANARY, maturity=1.0), late.format(1), False),
        "ramp, its mixed buckets left in": (CANARY_SETTINGS["ramp, changing base rate"], "", True),
        "days that depend on each other": (
            replace(CANARY, day_spread=0.02, dependence=0.98),
            "autoregression .98: held where it shows",
            False,
        ),
    }
    return [
        *(
            Measure(f"canary, {name}", beyond, ("canary", setting, max(1, runs // 10), note, mixed))
            for name, (setting, note, mixed) in settings.items()
        ),
        Measure("paired, day effects and repeating keys", beyond, ("paired", both, max(1, runs // 2), "", False)),
        Measure("canary, fast test", great_harm, (max(1, runs // 10),)),
    ]


def beyond(title: str, source: Source, setting: Setting, runs: int, note: str, mixed: bool) -> list[Figure]:
    return wrong_verdicts(title, source, setting, runs, 300, note, asked=False, mixed=mixed)


def great_harm(title: str, runs: int) -> list[Figure]:
    """How soon it is over where the candidate is wrong on every second row."""
    setting = replace(SMALL_SHARES, blocks=14)
    [decisions] = rollouts.decisions("canary", setting, 0.3, runs, 400, [shares(ALPHA).main])
    return [replace(_rows(f"{title}, worse by .3: median", decisions), note="14 blocks a day, looked at by the day")]


def upper_limit(count: int, runs: int, level: float = 0.95) -> float:
    """One-sided limit of a probability (Clopper and Pearson 1934).

    >>> round(upper_limit(0, 1000), 4), round(upper_limit(50, 1000), 4)
    (0.003, 0.0629)
    """
    return 1.0 if count == runs else float(beta.ppf(level, count + 1, runs - count))
