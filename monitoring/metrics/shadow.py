"""What a shadow worker counts, for Prometheus. Counting is per record of the scored log, never per row."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter

from penstock.monitoring.metrics.score import PipelineMetrics


class ShadowMetrics(PipelineMetrics):
    """Counters of one shadow worker.

    >>> metrics = ShadowMetrics("flights")
    >>> metrics.count_rows("delay@5", 512, non_finite=2, failed=1, seconds=0.01)
    >>> 'penstock_shadow_rows_total{model="delay@5",pipeline="flights"} 512.0' in metrics.exposition().decode()
    True
    """

    def __init__(self, pipeline: str) -> None:
        super().__init__(pipeline)
        self._taken = self._counter("penstock_shadowed_rows", "Scored rows that were taken, sampled or not.").labels(
            pipeline
        )
        self._rows = self._counter("penstock_shadow_rows", "Rows that a candidate was asked about.", "model")
        self._non_finite = self._counter(
            "penstock_shadow_non_finite", "Of those, without a finite score: failures among them.", "model"
        )
        self._failed = self._counter("penstock_shadow_failed", "Of those, on which the candidate failed.", "model")
        self._by_model: dict[str, tuple[Counter, ...]] = {}
        self._unlogged = self._counter(
            "penstock_shadow_unlogged_rows", "Rows without a feature that the candidate reads.", "model"
        )
        self._seconds = self._counter("penstock_shadow_model_seconds", "Time of the candidate's calls.", "model")
        self._too_large = self._counter(
            "penstock_shadow_too_large", "Rows that no record of shadow scores could hold."
        ).labels(pipeline)
        self._refused = self._counter(
            "penstock_models_refused", "Candidates that failed a check and are not asked.", "model"
        )
        self._corrupt = self._counter(
            "penstock_corrupt_blocks", "Records of the scored log that could not be read."
        ).labels(pipeline)
        self._samples = self._gauge("penstock_shadow_sample", "Share of the keys that a candidate scores.", "model")
        self._behind_events = self._gauge(
            "penstock_shadow_behind_events", "Scored rows that wait, estimated from those before.", "partition"
        )
        self._behind_seconds = self._gauge(
            "penstock_shadow_behind_seconds", "Age of the newest record taken while others wait; else 0.", "partition"
        )
        self.partitions = self._gauge(
            "penstock_partitions", "Partitions of the scored log that this worker owns."
        ).labels(pipeline)

    def count_taken(self, rows: int) -> None:
        """New rows of a record, whether or not a candidate was asked about them."""
        self._taken.inc(rows)

    def count_rows(self, model: str, rows: int, *, non_finite: int, failed: int, seconds: float) -> None:
        """What a candidate made of the rows of a record that are in its sample."""
        if (counters := self._by_model.get(model)) is None:  # to look them up takes longer than to count
            named = (self._rows, self._non_finite, self._failed, self._seconds)
            counters = self._by_model[model] = tuple(counter.labels(self._pipeline, model) for counter in named)
        for counter, counted in zip(counters, (rows, non_finite, failed, seconds), strict=True):
            counter.inc(counted)

    def count_unlogged(self, model: str, rows: int) -> None:
        """Rows that a candidate was not asked about, as the log does not have its features."""
        self._unlogged.labels(self._pipeline, model).inc(rows)

    def count_too_large(self, rows: int) -> None:
        """Rows that no record of shadow scores could hold, and that were left out."""
        self._too_large.inc(rows)

    def count_refused(self, model: str) -> None:
        """A candidate that failed a check and is not asked."""
        self._refused.labels(self._pipeline, model).inc()

    def count_corrupt(self) -> None:
        """A record of the scored log that could not be read; its rows are missing from the comparison."""
        self._corrupt.inc()

    def show_candidates(self, samples: Mapping[str, float]) -> None:
        """These are asked, each about its share of the keys, and no others."""
        self._samples.clear()
        for model, sample in samples.items():
            self._samples.labels(self._pipeline, model).set(sample)

    def show_behind(self, partition: int, *, events: float, seconds: float) -> None:
        """How much of a partition waits."""
        self._behind_events.labels(self._pipeline, str(partition)).set(events)
        self._behind_seconds.labels(self._pipeline, str(partition)).set(seconds)

    def forget_behind(self) -> None:
        """The partitions are somebody else's now."""
        self._behind_events.clear()
        self._behind_seconds.clear()
