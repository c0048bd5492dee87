"""What a change of the routing state says where it makes no sense."""

from __future__ import annotations

from penstock.schemas.control import Rollout
from penstock.schemas.errors import PenstockError


class Refused(PenstockError):
    """The routing state does not allow the change; nothing was written.

    >>> print(Refused("The canary cannot be stepped", "no rollout runs", fix="Start one: penstock canary start MODEL."))
    The canary cannot be stepped: no rollout runs. Start one: penstock canary start MODEL.
    """

    def __init__(self, what: str, found: str, *, fix: str) -> None:
        self.what, self.found, self.fix = what, found, fix
        super().__init__(f"{what}: {found}. {fix}")


class NothingServes(PenstockError):
    """There is no control record yet, and the command needs a champion to begin with.

    >>> print(NothingServes("flights"))
    No model answers flights yet. Begin with a first one: penstock models use MODEL.
    """

    def __init__(self, pipeline: str) -> None:
        self.pipeline = pipeline
        super().__init__(f"No model answers {pipeline} yet. Begin with a first one: penstock models use MODEL.")


def percent(share: float) -> str:
    """For people.

    >>> percent(0.015)
    '1.5 %'
    """
    return f"{100 * share:g} %"


def standing(rollout: Rollout) -> str:
    """Where a rollout stands, in words."""
    where = "promoted and baking" if rollout.baking else f"at {percent(rollout.share)} of the keys"
    return f"{rollout.id} of {rollout.candidate} runs, {where}"


def ways_out(rollout: Rollout) -> str:
    if rollout.baking:
        return f"Keep {rollout.candidate} (penstock promote --finish), or go back (penstock rollback)."
    return "End it first: penstock promote, penstock rollback or penstock canary stop."
