"""What a watch worker counts, for Prometheus. Counting is per segment, never per row."""

from __future__ import annotations

from typing import Protocol

from penstock.monitoring.metrics.score import PipelineMetrics
from penstock.schemas.comparison import ComparisonSummary
from penstock.schemas.summaries import Summary


class MatureRows(Protocol):
    """The rows of a segment whose outcomes are due: `rows` is the sum of the three."""

    @property
    def labelled(self) -> int: ...
    @property
    def silent(self) -> int: ...
    @property
    def missing(self) -> int: ...


class WatchMetrics(PipelineMetrics):
    """Counters of one watch worker.

    >>> metrics = WatchMetrics("flights")
    >>> metrics.count_labels(512)
    >>> 'penstock_labels_total{pipeline="flights"} 512.0' in metrics.exposition().decode()
    True
    """

    def __init__(self, pipeline: str) -> None:
        super().__init__(pipeline)
        self._rows = self._counter("penstock_watched_rows", "Scored rows that summaries count.").labels(pipeline)
        self._summaries = self._counter("penstock_summaries", "Summaries of segments, or parts of them.").labels(
            pipeline
        )
        self._late = self._counter(
            "penstock_late_rows", "Rows older than their partition's watermark was before them."
        ).labels(pipeline)
        self._bad_time = self._counter("penstock_bad_time_rows", "Rows dated too far in the future.").labels(pipeline)
        self._labels = self._counter("penstock_labels", "Records read from the labels topic.").labels(pipeline)
        self._unreadable_labels = self._counter(
            "penstock_unreadable_labels", "Records of the labels topic that are no labels.", "reason"
        )
        self._mature = self._counter(
            "penstock_mature_rows", "Scored rows whose outcome is due: labelled, silent or missing.", "outcome"
        )
        self._corrupt = self._counter(
            "penstock_corrupt_blocks", "Records of the scored log or of the shadow scores that could not be read."
        ).labels(pipeline)
        self._comparisons = self._counter(
            "penstock_comparisons", "Comparisons of segments, or parts of them: at once, or at maturity.", "when"
        )
        self._paired = self._counter(
            "penstock_paired_rows", "Rows that a candidate and the champion scored: all, and those with an outcome.",
            "candidate", "when",
        )  # fmt: skip
        self._unjudged = self._counter(
            "penstock_unjudged_paired_rows", "Rows that a candidate scored when labels of their time were forgotten."
        ).labels(pipeline)
        self._watermark = self._gauge(
            "penstock_watermark_seconds", "Event time, Unix s: no older row is expected.", "partition"
        )
        self.partitions = self._gauge(
            "penstock_partitions", "Partitions of the scored log that this worker owns."
        ).labels(pipeline)

    def count_summary(self, summary: Summary) -> None:
        """A summary that has been committed."""
        self._rows.inc(summary.rows)
        self._summaries.inc()
        self._late.inc(summary.late_rows)
        self._bad_time.inc(summary.bad_time)
        self._watermark.labels(self._pipeline, str(summary.partition)).set(summary.watermark / 1000)

    def count_quality(self, quality: MatureRows) -> None:
        """A segment's rows, at their maturity."""
        for outcome, rows in (
            ("labelled", quality.labelled),
            ("silent", quality.silent),
            ("missing", quality.missing),
        ):
            self._mature.labels(self._pipeline, outcome).inc(rows)

    def count_comparison(self, comparison: ComparisonSummary) -> None:
        """A comparison that has been committed: its rows at once, or those with an outcome at maturity."""
        when = "maturity" if comparison.mature else "once"
        self._comparisons.labels(self._pipeline, when).inc()
        rows = [(group, sums.rows) for group, sums in comparison.pairs.items()]
        rows += [(group, sums.served.rows) for group, sums in comparison.labelled.items()]
        for (_, candidate, _, name), count in rows:
            if not name:  # every row, not a slice
                self._paired.labels(self._pipeline, candidate, when).inc(count)

    def count_unjudged(self, rows: int) -> None:
        """Paired rows that came too late for their labels."""
        self._unjudged.inc(rows)

    def count_labels(self, records: int) -> None:
        """Records of the labels topic."""
        self._labels.inc(records)

    def count_unreadable_label(self, reason: str) -> None:
        """A record of the labels topic that is none; `reason` is the error of its rejection."""
        self._unreadable_labels.labels(self._pipeline, reason).inc()

    def count_corrupt(self) -> None:
        """A record of the scored log or of the shadow scores that could not be read; its rows are in no statistics."""
        self._corrupt.inc()
