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


def is_due(look: Look, control: Control) -> bool:
    """Whether the judge is to change this state because of a look: it was not done yet, and no person does it.

    It goes by the rollout and its stage: another stage is the work of this judge, of another or of a person. What was
    shown to be worse goes at any stage.
    """
    rollout = control.rollout
    if rollout is None or rollout.id != look.rollout or rollout.mode != "automatic":
        return False
    if look.verdict == "promote":
        return (rollout.stage, rollout.baking) == (look.stage, look.baking)
    return look.verdict == "rollback"


def carried_out(look: Look, pipeline: str) -> Change:
    """The change that a look asks for; where it is not due, the state stays as it is: it is made once, at most."""

    def change(control: Control) -> Control:
        rollout = control.rollout
        if rollout is None or not is_due(look, control):
            return control
        if look.verdict == "rollback":
            return rollback(control)
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
