"""The one table of topics: every name, key, value, partition count, retention and clean-up policy in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Cleanup = Literal["delete", "compact"]

DAY_MS = 24 * 3600 * 1000
SCORED_RECORD_LIMIT = 900_000
"""No record of the scored log is larger (bytes): blocks are split by rows and bytes."""


@dataclass(frozen=True)
class Topic:
    """One topic as `penstock topics create` makes it and `penstock doctor` checks it.

    `partitions` is None where the topic has as many as the events topic, so that a row's outputs keep its partition.
    """

    name: str
    role: str
    key: str
    value: str
    partitions: int | None
    retention_ms: int
    cleanup: Cleanup = "delete"
    max_message_bytes: int = 1_048_588
    segment_bytes: int | None = None
    """Of the log on the brokers' disks. A compacted topic keeps what was overwritten until its segment is full."""

    def settings(self) -> dict[str, str]:
        """The topic's configuration in Kafka's own words.

        The brokers date what Penstock writes, so that no worker's clock does: one that is a day ahead would be refused
        (`message.timestamp.after.max.ms`), and its records would count as the newest of all for a day.
        """
        settings = {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms if self.cleanup == "delete" else -1),
            "max.message.bytes": str(self.max_message_bytes),
        }
        if self.role != "events":
            settings["message.timestamp.type"] = "LogAppendTime"
        return settings if self.segment_bytes is None else {**settings, "segment.bytes": str(self.segment_bytes)}


@dataclass(frozen=True)
class Topics:
    """The topics of one pipeline. The events topic keeps the user's name; the others begin with the pipeline's.

    >>> topics = Topics("flights", "departures", events_max_bytes=1_000_000)
    >>> topics.scored.name
    'flights.scored'
    >>> topics.dead_letters.max_message_bytes
    1065536
    >>> [topic.role for topic in topics.table()][:3]
    ['events', 'predictions', 'dead-letters']
    """

    pipeline: str
    events_name: str
    events_max_bytes: int = 1_048_588
    retention_ms: int = 7 * DAY_MS
    scored_retention_ms: int = 30 * DAY_MS
    events: Topic = field(init=False)
    predictions: Topic = field(init=False)
    dead_letters: Topic = field(init=False)
    scored: Topic = field(init=False)
    shadow_scores: Topic = field(init=False)
    labels: Topic = field(init=False)
    summaries: Topic = field(init=False)
    alerts: Topic = field(init=False)
    decisions: Topic = field(init=False)
    control: Topic = field(init=False)
    state: Topic = field(init=False)
    review: Topic = field(init=False)
    retrain: Topic = field(init=False)

    def __post_init__(self) -> None:
        keep, long = self.retention_ms, self.scored_retention_ms
        self._set(
            "events", "the user's", "the user's JSON", None, keep, name=self.events_name, size=self.events_max_bytes
        )
        self._set("predictions", "the event's", "Prediction, JSON", None, keep)
        self._set(
            "dead-letters", "the event's", "the event's bytes, headers say why", None, long,
            size=self.events_max_bytes + 64 * 1024,
        )  # fmt: skip
        self._set("scored", "none", "ScoredBlock, Arrow IPC", None, long)
        self._set("shadow-scores", "none", "scores of candidates, Arrow IPC", None, long)
        self._set("labels", "the event's", "Label, JSON", None, long)
        self._set("summaries", "partition and segment", "Summary", 1, long)
        self._set("alerts", "the alert's id", "Alert, JSON", 1, long)
        self._set("decisions", "pipeline", "Decision, JSON", 1, -1)
        self._set("control", "pipeline", "Control, JSON", 1, -1, cleanup="compact")
        # Written every few seconds and read whole at each start: small segments keep that short.
        self._set("state", "role, partition and part", "a snapshot", None, -1, cleanup="compact", segment=16 << 20)
        self._set("review", "the event's", "Prediction, JSON", None, keep)
        self._set("retrain", "pipeline", "a request, JSON", 1, long)

    def _set(
        self, role: str, key: str, value: str, partitions: int | None, retention_ms: int,
        *, name: str = "", size: int = 1_048_588, cleanup: Cleanup = "delete", segment: int | None = None,
    ) -> None:  # fmt: skip
        topic = Topic(
            name or f"{self.pipeline}.{role}", role, key, value, partitions, retention_ms, cleanup, size, segment
        )
        object.__setattr__(self, role.replace("-", "_"), topic)

    def table(self) -> tuple[Topic, ...]:
        """Every topic, the events topic first."""
        return (
            self.events, self.predictions, self.dead_letters, self.scored, self.shadow_scores, self.labels,
            self.summaries, self.alerts, self.decisions, self.control, self.state, self.review, self.retrain,
        )  # fmt: skip
