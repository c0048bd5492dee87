"""Reads a stretch of the summaries and the alerts for `penstock report`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aiokafka import ConsumerRecord

from penstock.models.package_files import read_profile
from penstock.monitoring.report.data import ReportData
from penstock.monitoring.report.findings import Reference
from penstock.monitoring.report.text import instant
from penstock.schemas.alerts import ALERT_SCHEMA, UnreadableAlert, decode_alert
from penstock.schemas.comparison_wire import COMPARISON_SCHEMA, CorruptComparison, decode_comparison
from penstock.schemas.errors import PenstockError
from penstock.schemas.quality import QUALITY_SCHEMA, decode_quality
from penstock.schemas.quality_sums import CorruptQuality
from penstock.schemas.records import SCHEMA_HEADER, ModelRef
from penstock.schemas.summaries import SUMMARY_SCHEMA, CorruptSummary, decode_summary
from penstock.streams.reading import records, since
from penstock.streams.registry import registry_of

if TYPE_CHECKING:
    from penstock.streams.settings import KafkaSettings, Settings

Progress = Callable[[str, int, int], None]

_NEWEST_AMONG = 500
"""Records at the end of the topic among which the newest summary is looked for first."""


class NothingToReport(PenstockError):
    """No summary lies in the stretch, or there is none at all.

    >>> print(NothingToReport("flights.summaries", None, None, None))
    flights.summaries holds no summaries yet. `penstock up`, or `penstock worker watch`, writes them while events are \
scored; a first one takes watch.segment_rows events or watch.segment_max_s.
    >>> print(NothingToReport("flights.summaries", 1_370_000_000_000, None, (1_357_034_400_000, 1_357_120_800_000)))
    flights.summaries holds no events from 2013-05-31 11:33; it holds events from 2013-01-01 10:00 to 2013-01-02 10:00 \
(UTC). Choose another --from, --to or --last.
    """

    def __init__(self, topic: str, start_ms: int | None, end_ms: int | None, found: tuple[int, int] | None) -> None:
        self.topic, self.start_ms, self.end_ms, self.found = topic, start_ms, end_ms, found
        if found is None:
            super().__init__(
                f"{topic} holds no summaries yet. `penstock up`, or `penstock worker watch`, writes them while events "
                "are scored; a first one takes watch.segment_rows events or watch.segment_max_s."
            )
            return
        asked = "".join(
            f" {word} {instant(time)}" for word, time in (("from", start_ms), ("to", end_ms)) if time is not None
        )
        super().__init__(
            f"{topic} holds no events{asked}; it holds events from {instant(found[0])} to {instant(found[1])} (UTC). "
            "Choose another --from, --to or --last."
        )


async def read_stretch(
    settings: Settings, *, start_ms: int | None, end_ms: int | None, last_ms: int | None, progress: Progress
) -> ReportData:
    """The summaries and alerts of [start_ms, end_ms) of event time; `last_ms`: so long before the newest event.

    Raises NothingToReport, UnreachableError, TopicMissing.
    """
    topic = settings.topics.summaries.name
    if last_ms is not None:
        newest = await _newest(settings.kafka, topic)
        if newest is None:
            raise NothingToReport(topic, None, None, None)
        start_ms = newest - last_ms
    data = ReportData(start_ms, end_ms)
    # A summary is written after its events, unless these are dated into the future.
    future_ms = int(settings.watch.max_future_s * 1000)
    first = None if start_ms is None else start_ms - future_ms
    async for record, done, total in since(settings.kafka, topic, first):
        _add(data, record)
        if record.offset % 64 == 0:
            progress(f"{data.segments:,} segments", done, total)
    if data.event_times is None:
        seen = data.seen
        if seen is None and first is not None:
            seen = await _everything_seen(settings.kafka, topic)
        raise NothingToReport(topic, start_ms, end_ms, seen)
    async for record in records(settings.kafka, settings.topics.alerts.name):
        if dict(record.headers).get(SCHEMA_HEADER) == ALERT_SCHEMA[1]:
            try:
                data.add_alert(decode_alert(record.value, record.headers, _place(record)))
            except UnreadableAlert:
                data.unreadable += 1
    return data


def references_of(settings: Settings, data: ReportData) -> tuple[dict[str, Reference], list[str]]:
    """The profiles that the summaries were counted with, and a sentence for each that the registry cannot give."""
    registry = registry_of(settings)
    ranges = {feature.name: feature.range for feature in settings.catalogue.features if feature.range is not None}
    found, missing = {}, []
    for name in data.rows_by_reference:
        try:
            profile = read_profile(registry.path(ModelRef.parse(name)))
        except PenstockError as error:
            missing.append(str(error))
        except ValueError:  # counted before any model served
            continue
        else:
            found[name] = Reference.of(name, profile, ranges)
    return found, missing


def _add(data: ReportData, record: ConsumerRecord) -> None:
    """Readings and acknowledgements travel on the same topic, and are none of the report's."""
    schema = dict(record.headers).get(SCHEMA_HEADER)
    try:
        if schema == SUMMARY_SCHEMA[1]:
            data.add_summary(decode_summary(record.value, record.headers, place=_place(record)))
        elif schema == QUALITY_SCHEMA[1]:
            data.add_quality(decode_quality(record.value, record.headers, place=_place(record)))
        elif schema == COMPARISON_SCHEMA[1]:
            data.add_comparison(decode_comparison(record.value, record.headers, place=_place(record)))
    except (CorruptSummary, CorruptQuality, CorruptComparison):
        data.unreadable += 1


async def _newest(kafka: KafkaSettings, topic: str) -> int | None:
    """The newest event time of any summary: among the last records, or among all where these hold none."""
    for among in (_NEWEST_AMONG, None):
        data = ReportData()
        async for record, _, _ in since(kafka, topic, None, last=among):
            _add(data, record)
        if data.seen is not None:
            return data.seen[1]
    return None


async def _everything_seen(kafka: KafkaSettings, topic: str) -> tuple[int, int] | None:
    data = ReportData()
    async for record, _, _ in since(kafka, topic, None):
        _add(data, record)
    return data.seen


def _place(record: ConsumerRecord) -> str:
    return f"{record.topic}, partition {record.partition}, offset {record.offset}"
