"""What each role needs to be allowed on the brokers, where they have access control lists: no more than this.

Read and write include describe, which Kafka asks for before either. A topic's read is also asked of whoever commits
offsets of it, and a group's of whoever joins it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.schemas.topics import Topic

if TYPE_CHECKING:
    from penstock.streams.settings import Settings
    from penstock.streams.settings.sections import Role


@dataclass(frozen=True)
class Access:
    """The rights of one role's workers.

    reads, writes  topics
    group          to read: the consumer group
    transactions   to write: how transactional ids begin; a full name for one alone
    """

    reads: tuple[Topic, ...]
    writes: tuple[Topic, ...]
    group: str
    transactions: tuple[str, ...]


def outcomes(settings: Settings) -> tuple[Topic, ...]:
    """The topics that an event's outcome may go to, by the degree of automation."""
    topics, level = settings.topics, settings.automation.level
    published = [topics.predictions] if level in ("partial", "full") else []
    reviewed = [topics.review] if level in ("assist", "partial") else []
    return (*published, *reviewed, topics.dead_letters)


def needed(settings: Settings, role: Role) -> Access:
    """The rights of a role under these settings.

    All roles say how they do on `summaries` and follow `control`. Score reads its own outputs at least once, to say how
    much is repeated. The judge changes `control` where it acts by itself; `--mode automatic` of a canary asks it to.
    """
    topics, name = settings.topics, f"{settings.pipeline.name}.{role}"
    if role == "score":
        exactly_once = settings.delivery.mode == "exactly_once"
        outputs = outcomes(settings)
        scored = [topics.scored] if settings.scored.enabled else []
        return Access(
            (topics.events, topics.control, *(() if exactly_once else outputs)),
            (*outputs, *scored, topics.summaries),
            name,
            (f"{name}-",) if exactly_once else (),
        )
    if role == "watch":
        return Access(
            (topics.scored, topics.shadow_scores, topics.labels, topics.state, topics.control),
            (topics.summaries, topics.labels, topics.dead_letters, topics.state),
            name,
            (f"{name}-",),
        )
    if role == "judge":
        acts = settings.rollout.mode == "automatic"
        return Access(
            (topics.summaries, topics.state, topics.control),
            (topics.alerts, topics.decisions, topics.summaries, topics.state, *([topics.control] if acts else [])),
            name,
            (f"{name}-", *([topics.control.name] if acts else [])),
        )
    return Access(
        (topics.scored, topics.state, topics.control),
        (topics.shadow_scores, topics.state, topics.summaries),
        name,
        (f"{name}-",),
    )
