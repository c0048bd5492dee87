"""The trail of decisions: what was changed, what the gates saw, and what staging found out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from penstock.schemas.control import Control, Decision, Staging
from penstock.schemas.errors import PenstockError
from penstock.schemas.records import DECISION_SCHEMA, SCHEMA_HEADER, ModelRef

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

    from penstock.streams.settings import Settings

Kind = Literal["change", "look", "staging"]


class UnreadableDecision(PenstockError):
    """A record of the decisions topic is not a decision that this version knows.

    >>> print(UnreadableDecision("flights.decisions", 7, "it has no value"))
    Record 7 of flights.decisions is not a decision that can be read: it has no value.
    """

    def __init__(self, topic: str, offset: int, reason: str) -> None:
        self.topic, self.offset, self.reason = topic, offset, reason
        super().__init__(f"Record {offset} of {topic} is not a decision that can be read: {reason}.")


@dataclass(frozen=True)
class Trail:
    """Decisions in the order in which they were written, and what could not be read.

    >>> model = ModelRef("delay", 2)
    >>> trail = Trail([Decision("flights", 3, "stage delay@2", "ada", "", 0, staging=Staging(model, "5f0c", False))])
    >>> trail.latest_staging(model, digest="5f0c").passed
    False
    >>> trail.latest_staging(model, digest="77aa") is None
    True
    """

    decisions: Sequence[Decision]
    unreadable: Sequence[UnreadableDecision] = ()

    def select(
        self, *, kind: Kind | None = None, model: ModelRef | None = None, rollout: str | None = None
    ) -> list[Decision]:
        """Those of a kind, about a model, and about a rollout; None: any."""
        return [decision for decision in self.decisions if concerns(decision, kind=kind, model=model, rollout=rollout)]

    def latest_staging(self, model: ModelRef, *, digest: str) -> Staging | None:
        """What `penstock stage` last found out about this very package; None: it was never tried."""
        for decision in reversed(self.decisions):
            staging = decision.staging
            if staging is not None and (staging.model, staging.digest) == (model, digest):
                return staging
        return None


def kind_of(decision: Decision) -> Kind:
    """A change may carry the look that led to it: it is a change all the same."""
    if decision.after is not None:
        return "change"
    return "look" if decision.staging is None else "staging"


def concerns(
    decision: Decision, *, kind: Kind | None = None, model: ModelRef | None = None, rollout: str | None = None
) -> bool:
    """Whether it is of the kind, about the model, and about the rollout; None: any."""
    return (
        (kind is None or kind_of(decision) == kind)
        and (model is None or model in set(_models(decision)))
        and (rollout is None or rollout in set(_rollouts(decision)))
    )


def _models(decision: Decision) -> Iterator[ModelRef]:
    """Whose part it changes, or judges."""
    if decision.staging is not None:
        yield decision.staging.model
    if decision.look is not None:
        yield from (decision.look.candidate, decision.look.champion)
    for _, model in _parts(decision.before) ^ _parts(decision.after):
        yield model


def _parts(control: Control | None) -> set[tuple[str, ModelRef]]:
    if control is None:
        return set()
    parts = set(control.answering().items())
    parts.update((f"shadow {shadow.sample}", shadow.model) for shadow in control.shadows)
    if (rollout := control.rollout) is not None:
        parts.add((f"{rollout.id} {rollout.share} {rollout.baking}", rollout.candidate))
    return parts


def _rollouts(decision: Decision) -> Iterator[str]:
    if decision.look is not None:
        yield decision.look.rollout
    stood, stands = (None if each is None else each.rollout for each in (decision.before, decision.after))
    if stood != stands:
        yield from (rollout.id for rollout in (stood, stands) if rollout is not None)


def decision_of(record: ConsumerRecord, pipeline: str) -> Decision | None:
    """What a record of the decisions topic holds; None for another pipeline's. Raises UnreadableDecision."""
    if record.key != pipeline.encode():
        return None
    schema = dict(record.headers).get(SCHEMA_HEADER)
    if schema != DECISION_SCHEMA[1]:
        found = "no schema" if schema is None else f"schema {schema.decode(errors='replace')}"
        reason = f"it names {found}, not {DECISION_SCHEMA[1].decode()}"
        raise UnreadableDecision(record.topic, record.offset, reason)
    if record.value is None:
        raise UnreadableDecision(record.topic, record.offset, "it has no value")
    try:
        decision = msgspec.json.decode(record.value, type=Decision)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableDecision(record.topic, record.offset, str(error).rstrip(".")) from error
    for control in (decision.before, decision.after):
        rollout = None if control is None else control.rollout
        if rollout is not None and not 0 <= rollout.stage < len(rollout.stages):
            reason = f"its rollout is at stage {rollout.stage} of {len(rollout.stages)}"
            raise UnreadableDecision(record.topic, record.offset, reason)
    return decision


async def read_trail(settings: Settings, *, first_ms: int | None = None) -> Trail:
    """The decisions so far, from those written at `first_ms` (Unix ms) on. Raises UnreachableError, TopicMissing."""
    from penstock.streams.reading import since

    records = since(settings.kafka, settings.topics.decisions.name, first_ms)
    return await collect((record async for record, _, _ in records), settings.pipeline.name)


async def collect(records: AsyncIterator[ConsumerRecord], pipeline: str) -> Trail:
    """The pipeline's decisions among the records."""
    decisions: list[Decision] = []
    unreadable: list[UnreadableDecision] = []
    async for record in records:
        try:
            decision = decision_of(record, pipeline)
        except UnreadableDecision as error:
            unreadable.append(error)
            continue
        if decision is not None:
            decisions.append(decision)
    return Trail(decisions, unreadable)
