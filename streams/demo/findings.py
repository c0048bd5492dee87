"""What the service itself knows of the year: quality from the summaries, alerts from their topic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, TopicPartition

from penstock.monitoring.quality.performance import Performance, metrics
from penstock.schemas.alerts import Alert
from penstock.schemas.control import Decision
from penstock.schemas.quality import QUALITY_SCHEMA, QualitySummary, decode_quality
from penstock.schemas.records import SCHEMA_HEADER
from penstock.streams import kafka
from penstock.streams.console.alerts import alert_of
from penstock.streams.control.trail import read_trail
from penstock.streams.demo.story import Chapter
from penstock.streams.reading import records
from penstock.streams.settings import Settings

STALL_S = 30.0
"""Watch and judge are waited for as long as something new comes within so many seconds."""

ANSWERED = "answered"
"""Whichever variant it was."""

_POLL_S = 0.1


@dataclass
class Findings:
    """Months are 1 to 12, of event time in UTC.

    decisions  the trail of what was changed, and of every look
    story      of those, what was decided about candidates
    rows       of the scored log that were joined with what became of them
    coverage   month → rows of segments that began in it, and those of them whose label came in time
    lives      alert → its states, in the order in which they were told
    """

    performance: Performance = field(default_factory=lambda: Performance("binary"))
    rows: int = 0
    coverage: dict[int, tuple[int, int]] = field(default_factory=dict)
    lives: dict[str, list[Alert]] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    story: list[Chapter] = field(default_factory=list)

    def add(self, summary: QualitySummary) -> None:
        for (bucket, _, name), sums in summary.groups.items():
            if not name:
                self.performance.add_groups({(bucket, ANSWERED, ""): sums})
        self.rows += summary.rows
        month = month_of(summary.event_times[0])
        rows, labelled = self.coverage.get(month, (0, 0))
        self.coverage[month] = rows + summary.rows, labelled + summary.labelled

    def quality_by_month(self) -> dict[int, dict[str, float]]:
        """Month of 2013 → metrics of what was answered, as `penstock.monitoring.quality.performance` names them."""
        months = self.performance.over_time(ANSWERED, period="month")
        return {int(name[-2:]): figures for name, figures in months if name.startswith("2013-")}

    @property
    def quality(self) -> dict[str, float]:
        """The metrics of what was answered, over everything."""
        return metrics(self.performance.total(ANSWERED), "binary")

    @property
    def alerts(self) -> list[Alert]:
        """Each alert that woke somebody, as it stands in the end; by the event time of its first alarm."""
        latest = (life[-1] for life in self.lives.values())
        return sorted((alert for alert in latest if alert.suppressed is None), key=lambda alert: alert.first_seen)


def month_of(time: int) -> int:
    """Of event time in Unix ms, UTC.

    >>> month_of(1_367_812_800_000)
    5
    """
    return datetime.fromtimestamp(time / 1000, UTC).month


async def find_out(settings: Settings, rows: int, check: Callable[[], None]) -> Findings:
    """Wait until `rows` rows have been joined with their labels and judged, and read what came of it.

    `check` raises where a worker has failed. What has not come when nothing moves any more is left out.
    """
    findings, topics = Findings(), settings.topics
    async with kafka.consumer(settings.kafka, fetch_max_wait_ms=100, max_partition_fetch_bytes=8 << 20) as consumer:
        [summaries] = await kafka.partitions(consumer, topics.summaries.name)
        consumer.assign([summaries])
        judged_until = await _read_qualities(consumer, summaries, findings, rows, check)
        await _wait_for_the_judge(settings, summaries, judged_until, check)
    async for record in records(settings.kafka, topics.alerts.name):
        alert = alert_of(record)
        findings.lives.setdefault(alert.id, []).append(alert)
    findings.decisions += (await read_trail(settings)).decisions
    return findings


async def _read_qualities(
    consumer: AIOKafkaConsumer, summaries: TopicPartition, findings: Findings, rows: int, check: Callable[[], None]
) -> int:
    """Returns the offset after the last record that was read."""
    loop, following = asyncio.get_running_loop(), 0
    stalled_at = loop.time() + STALL_S
    while findings.rows < rows and loop.time() < stalled_at:
        check()
        for record in (await consumer.getmany(timeout_ms=200)).get(summaries, []):
            following = record.offset + 1
            if dict(record.headers).get(SCHEMA_HEADER) == QUALITY_SCHEMA[1]:
                findings.add(decode_quality(record.value, record.headers))
                stalled_at = loop.time() + STALL_S
    return following


async def _wait_for_the_judge(
    settings: Settings, summaries: TopicPartition, until: int, check: Callable[[], None]
) -> None:
    """The judge commits what it has read together with the alerts that it raised."""
    loop, group, judged = asyncio.get_running_loop(), f"{settings.pipeline.name}.judge", -1
    async with kafka.admin(settings.kafka) as admin:
        stalled_at = loop.time() + STALL_S
        while judged < until and loop.time() < stalled_at:
            check()
            committed = (await admin.list_consumer_group_offsets(group, partitions=[summaries]))[summaries].offset
            if committed > judged:
                judged, stalled_at = committed, loop.time() + STALL_S
            await asyncio.sleep(_POLL_S)
