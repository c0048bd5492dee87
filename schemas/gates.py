"""What a gate looked at and what it concluded: the evidence of a promotion or a rollback, as it stands in the trail."""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.schemas.records import ModelRef

Verdict = Literal["promote", "hold", "rollback"]

KEY_GROUPS = 64
"""Rows are grouped by key, so that keys that come again and again do not pass for so many independent rows."""


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """One comparison of candidate and champion: the candidate's mean loss minus the champion's, with its bounds.

    test        main, fast, or slice:FEATURE=VALUE
    source      paired: both scored the same rows; canary: each its own
    metric      the loss
    rows        of the candidate that have an outcome
    clusters    time buckets, or blocks for the fast test
    groups      groups of keys that have rows
    difference  of the mean losses: above zero the candidate is worse; None: too little
    low, high   always-valid bounds, each one-sided at `alpha`
    margin      how much worse it may be
    alpha       share of the error that this test may make, over all its looks
    lag         autocorrelation of successive clusters at lag 1
    note        why it holds, in words
    """

    test: str
    source: Literal["paired", "canary"]
    metric: str
    verdict: Verdict
    rows: int
    clusters: int
    groups: int
    margin: float
    alpha: float
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    lag: float | None = None
    note: str = ""


class Guardrail(msgspec.Struct, frozen=True, omit_defaults=True):
    """One figure that the candidate must keep to, whatever its loss.

    name   latency, non_finite, dead_letters, labelled_share, …
    value  None: not known yet
    """

    name: str
    value: float | None
    limit: float
    held: bool
    note: str = ""


class Look(msgspec.Struct, frozen=True, omit_defaults=True):
    """One look of a gate at a rollout.

    rollout    its id
    stage      index of the stage, and
    share      of the keys that the candidate answered
    watermark  everything up to this event time had matured, Unix ms
    verdict    of all evidence and guardrails together
    reason     the one sentence for a person
    baking     the candidate had been promoted already: to promote it once more is to let that stand
    """

    rollout: str
    candidate: ModelRef
    champion: ModelRef
    stage: int
    share: float
    watermark: int
    verdict: Verdict
    reason: str
    evidence: tuple[Evidence, ...] = ()
    guardrails: tuple[Guardrail, ...] = ()
    baking: bool = False
