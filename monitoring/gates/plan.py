"""How a rollout's alpha is divided over its tests, and what all of them come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from penstock.monitoring.quality.slices import SLICES
from penstock.schemas.gates import Evidence, Guardrail, Verdict

LABELLED_SHARE = "labelled_share"
"""The guardrail that makes nobody worse: as long as it does not hold, nothing can be said."""
_SLICES_OF_A_FEATURE = SLICES + 2


class AlphaShares(NamedTuple):
    """What each test may err over all its looks; together no more than the rollout may (the union bound).

    main   of the primary metric, per source of evidence
    fast   per source
    slice  per slice and source
    """

    main: float
    fast: float
    slice: float


def shares(alpha: float, *, sources: int = 2, features: int = 0) -> AlphaShares:
    """Half for the primary metric, a quarter each for the fast test and all slices; in equal parts over the sources.

    `sources`: paired and canary evidence, or one of them. `features`: whose slices are guardrails; each has up to 20
    values, the others together, and the missing ones. Without any, their quarter goes to the primary metric.

    >>> shares(0.04, sources=1)
    AlphaShares(main=0.03, fast=0.01, slice=0.0)
    >>> shares(0.04, features=1)[:2]
    (0.01, 0.005)
    """
    part = alpha / sources
    if not features:
        return AlphaShares(part * 3 / 4, part / 4, 0.0)
    return AlphaShares(part / 2, part / 4, part / 4 / (features * _SLICES_OF_A_FEATURE))


def conclude(
    evidence: Sequence[Evidence], guardrails: Sequence[Guardrail] = (), *, waiting: str = ""
) -> tuple[Verdict, str]:
    """The verdict of a look, and the one sentence for a person.

    Whatever shows harm rolls back: a guardrail that is broken, the fast test, a slice, the primary metric on one of
    its sources. Only the primary metric promotes, and only while every guardrail holds and nothing else is `waiting`
    (a stage that has not lasted long enough, in words).

    >>> conclude([], [Guardrail("non_finite", 0.02, 0.001, held=False)])
    ('rollback', 'non_finite is 0.02, beyond 0.001.')
    """
    broken = [one for one in guardrails if not one.held]
    harmful = [one for one in broken if one.value is not None and one.name != LABELLED_SHARE]
    if harmful:
        return "rollback", _beyond(harmful[0])
    worse = [one for one in evidence if one.verdict == "rollback"]
    if worse:
        return "rollback", _worse(worse[0])
    main = [one for one in evidence if one.test == "main"]
    good = [one for one in main if one.verdict == "promote"]
    if not good:
        return "hold", _undecided(main)
    if broken:
        return "hold", f"{broken[0].name} is not known yet." if broken[0].value is None else _beyond(broken[0])
    if waiting:
        return "hold", f"Good so far ({_figures(good[0])}); {waiting}."
    return "promote", _good(good[0])


def _beyond(guardrail: Guardrail) -> str:
    note = f": {guardrail.note}" if guardrail.note else ""
    return f"{guardrail.name} is {guardrail.value:.4g}, beyond {guardrail.limit:.4g}{note}."


def _worse(evidence: Evidence) -> str:
    where = evidence.test.removeprefix("slice:") if evidence.test.startswith("slice:") else ""
    return f"The candidate is worse{f' where {where}' if where else ''}: {_figures(evidence)}."


def _good(evidence: Evidence) -> str:
    better = evidence.high is not None and evidence.high < 0
    verdict = evidence.note or ("better" if better else "not worse than the margin allows")
    return f"The candidate is {verdict}: {_figures(evidence)}."


def _undecided(main: Sequence[Evidence]) -> str:
    if not main:
        return "Nothing to compare yet."
    furthest = max(main, key=lambda one: (not one.note, one.rows))
    return f"Undecided: {furthest.note or _figures(furthest)} ({furthest.source})."


def _figures(evidence: Evidence) -> str:
    known = evidence.low is not None and evidence.high is not None
    span = f", between {evidence.low:+.4g} and {evidence.high:+.4g}" if known else ""
    of = f"{evidence.rows:,} {evidence.source} rows in {evidence.clusters} {_clusters(evidence)}"
    difference = "unknown" if evidence.difference is None else f"{evidence.difference:+.4g}"
    return f"{evidence.metric} {difference}{span} with a margin of {evidence.margin:.4g}, over {of}"


def _clusters(evidence: Evidence) -> str:
    return "blocks" if evidence.test == "fast" else "time buckets"
