"""What a verdict asks for: the change of the routing state, and the line in the trail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from penstock.schemas.control import Control, Decision
from penstock.schemas.gates import Look
from penstock.schemas.records import DECISION_SCHEMA
from penstock.streams.control.changes import Change, finish, promote, rollback, step, to_what_serves

if TYPE_CHECKING:
    from penstock.streams.delivery import OutputRecord

AUTHOR = "judge"
LOOK = "look"
"""The command of a decision that only looked."""


def asked_for(look: Look, stages: int) -> str | None:
    """The command that carries a look out; None where it holds.

    >>> from penstock.schemas.records import ModelRef
    >>> look = Look("rollout-7", ModelRef("delay", 2), ModelRef("delay", 1), 4, 1.0, 0, "promote", "It is better.")
    >>> asked_for(look, stages=6), asked_for(look, stages=5)
    ('canary step', 'promote')
    """
    if look.verdict == "hold":
        return None
    if look.verdict == "rollback":
        return "rollback"
    if look.baking:
        return "promote --finish"
    return "canary step" if look.stage + 1 < stages else "promote"


def carried_out(look: Look, pipeline: str) -> Change:
    """The change that a look asks for, made at most once.

    It goes by the rollout and its stage: where the state shows another, by this judge, another or a person, it stays as
    it is. What was shown to be worse goes at any stage.
    """

    def change(control: Control) -> Control:
        rollout = control.rollout
        if rollout is None or rollout.id != look.rollout or rollout.mode != "automatic":
            return control
        if look.verdict == "rollback":
            return rollback(control)
        if look.verdict == "hold" or (rollout.stage, rollout.baking) != (look.stage, look.baking):
            return control
        if rollout.baking:
            return finish(control)
        return step(control) if rollout.stage + 1 < len(rollout.stages) else promote(control)

    return to_what_serves(pipeline, change)


def decided(look: Look, control: Control, *, time: int) -> OutputRecord:
    """The record of a look in the trail: key, value, headers. `control` is in force, `time` is Unix ms."""
    rollout, reason = control.rollout, look.reason
    command = asked_for(look, len(rollout.stages)) if rollout is not None and rollout.id == look.rollout else None
    if command is not None and rollout is not None and rollout.mode == "propose":
        reason += f" Proposed: penstock {command}"
    decision = Decision(control.pipeline, control.revision, LOOK, AUTHOR, reason, time, look=look)
    return control.pipeline.encode(), msgspec.json.encode(decision), [DECISION_SCHEMA]
