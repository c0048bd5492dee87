"""What was decided about the candidates: the story of the year, as the trail of decisions tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from penstock.schemas.control import Control, Decision, Rollout
from penstock.schemas.gates import Evidence, Look
from penstock.streams.control.refusals import percent
from penstock.streams.demo.project import MATURITY_S


class Chapter(msgspec.Struct, frozen=True):
    """One decision about a candidate, and the comparison that it rests on.

    time         event time when it was made, Unix ms: of a proposal; else a day after that of the look, when the labels
                 of its rows had come
    model        the candidate
    what         where it stands from then on, in words; `undecided` where the year ends before the verdict
    reason       as the trail has it
    difference   of the mean losses: above zero the candidate is worse; None: nothing to compare
    low, high    its always-valid bounds
    margin       by which it may be worse
    rows         with an outcome, of the comparison, and
    clusters     days, or blocks where it was the fast test
    test         as `penstock.schemas.gates.Evidence` names it
    source       of the rows: paired, or canary
    """

    time: int
    model: str
    what: str
    reason: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    rows: int = 0
    clusters: int = 0
    test: str = ""
    source: str = ""


def story(decisions: Sequence[Decision], proposed: Mapping[int, int]) -> list[Chapter]:
    """What changed for a candidate, in order, and at the end the last look of a rollout that is still under way.

    `proposed` has the event time of the proposals by the revision that they led to, Unix ms.
    """
    chapters, last = [], None
    for decision in decisions:
        if decision.after is None:
            last = decision if decision.look is not None else last
            continue
        last, rollout = None, _rollout(decision)
        if rollout is not None:
            time = proposed.get(decision.revision, 0) if decision.look is None else _known_at(decision.look)
            chapters.append(_chapter(decision, time, str(rollout.candidate), _what(decision.before, decision.after)))
    if last is not None and last.look is not None:
        chapters.append(_chapter(last, _known_at(last.look), str(last.look.candidate), UNDECIDED))
    return chapters


UNDECIDED = "undecided"


def _rollout(decision: Decision) -> Rollout | None:
    """That a change began, moved or ended."""
    stood, stands = (None if each is None else each.rollout for each in (decision.before, decision.after))
    return None if stood == stands else stands or stood


def _what(before: Control | None, after: Control) -> str:
    rollout = after.rollout
    if rollout is None:
        return "promoted for good" if after.rolled_back is None else "rolled back"
    if rollout.baking:
        return "promoted"
    return f"answers {percent(rollout.share)}" if rollout.share else "in shadow"


def _known_at(look: Look) -> int:
    return look.watermark + 1000 * MATURITY_S


def _chapter(decision: Decision, time: int, model: str, what: str) -> Chapter:
    shown = None if decision.look is None else evidence_of(decision.look)
    if shown is None:
        return Chapter(time, model, what, decision.reason)
    return Chapter(
        time, model, what, decision.reason, shown.difference, shown.low, shown.high, shown.margin, shown.rows,
        shown.clusters, shown.test, shown.source,
    )  # fmt: skip


def evidence_of(look: Look) -> Evidence | None:
    """The comparison that speaks for the verdict; else the one of the main test that knows most."""
    agreeing = [one for one in look.evidence if one.verdict == look.verdict and one.difference is not None]
    main = [one for one in look.evidence if one.test == "main"]
    return max(agreeing or main, key=lambda one: (one.test == "main", one.rows), default=None)
