"""Reads the comparisons that watch has written, for `penstock shadow status`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiokafka import ConsumerRecord
from msgspec.structs import replace

from penstock.schemas.comparison import ComparisonSummary, merge_comparison
from penstock.schemas.comparison_wire import COMPARISON_SCHEMA, CorruptComparison, decode_comparison
from penstock.schemas.operations import OPERATIONS_SCHEMA, CorruptReading, OperationalReading, decode_reading
from penstock.schemas.records import SCHEMA_HEADER
from penstock.streams.reading import since

if TYPE_CHECKING:
    from penstock.streams.settings import Settings

Progress = Callable[[str, int, int], None]


@dataclass
class Comparisons:
    """What the summaries topic holds of shadows.

    merged      all comparisons of the stretch; None: there are none
    readings    worker → the last reading of each shadow worker
    unreadable  records that could not be read
    """

    start_ms: int | None = None
    end_ms: int | None = None
    merged: ComparisonSummary | None = None
    readings: dict[str, OperationalReading] = field(default_factory=dict)
    unreadable: int = 0

    def add(self, summary: ComparisonSummary) -> None:
        """One more; only its time buckets that begin within [start_ms, end_ms) count, Unix ms of event time."""
        kept = replace(
            summary,
            pairs={group: sums for group, sums in summary.pairs.items() if self._within(group[0])},
            labelled={group: sums for group, sums in summary.labelled.items() if self._within(group[0])},
            cells={},  # they are the gates'
        )
        if kept.pairs or kept.labelled:
            self.merged = kept if self.merged is None else merge_comparison(self.merged, kept)

    def _within(self, bucket: int) -> bool:
        return (self.start_ms is None or bucket >= self.start_ms) and (self.end_ms is None or bucket < self.end_ms)


async def read_comparisons(
    settings: Settings, *, start_ms: int | None = None, end_ms: int | None = None, progress: Progress
) -> Comparisons:
    """The comparisons of time buckets that begin within the stretch. Raises UnreachableError, TopicMissing."""
    found = Comparisons(start_ms, end_ms)
    first = None if start_ms is None else start_ms - int(settings.watch.max_future_s * 1000)
    async for record, done, total in since(settings.kafka, settings.topics.summaries.name, first):
        _add(found, record)
        if record.offset % 64 == 0:
            progress("Reading comparisons", done, total)
    return found


def _add(found: Comparisons, record: ConsumerRecord) -> None:
    schema = dict(record.headers).get(SCHEMA_HEADER)
    try:
        if schema == COMPARISON_SCHEMA[1]:
            found.add(decode_comparison(record.value, record.headers))
        elif schema == OPERATIONS_SCHEMA[1]:
            reading = decode_reading(record.value, record.headers)
            if reading.role == "shadow":
                found.readings[reading.worker] = reading
    except (CorruptComparison, CorruptReading):
        found.unreadable += 1
