"""What a worker counts, for Prometheus: the words are those of the topics and the dead letters.

Counting is per window, never per event, so it costs nothing next to scoring.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from penstock.monitoring.metrics.brokers import BrokerMetrics
from penstock.monitoring.metrics.clock import ClockMetrics
from penstock.monitoring.metrics.tally import Tally

GapKind = Literal["missing", "stale", "malformed", "unanswered"]
WindowStage = Literal["decode", "features", "score", "encode"]
STAGES: tuple[WindowStage, ...] = ("decode", "features", "score", "encode")
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0)
_ROWS = (1, 4, 16, 64, 256, 1024, 2048, 4096, 16384)


class PipelineMetrics:
    """Figures of one worker of a pipeline, in a registry of its own: several can live in one process.

    Every figure carries the label `pipeline`, first of all.
    """

    def __init__(self, pipeline: str) -> None:
        self.registry = CollectorRegistry()
        self._pipeline = pipeline
        self.brokers = BrokerMetrics(pipeline, self.registry)
        self.clock = ClockMetrics(pipeline, self.registry)
        self.revision = self._gauge(
            "penstock_control_revision", "Revision of the control record that this worker follows."
        ).labels(pipeline)
        self.unread = self._gauge(
            "penstock_models_unread", "Models that the registry cannot give now, and that are tried again."
        ).labels(pipeline)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, ["pipeline", *labels], registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, ["pipeline", *labels], registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Iterable[float], *labels: str) -> Histogram:
        return Histogram(name, text, ["pipeline", *labels], registry=self.registry, buckets=tuple(buckets))

    def exposition(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)


class ScoreMetrics(PipelineMetrics):
    """Counters of one score worker.

    >>> metrics = ScoreMetrics("flights")
    >>> metrics.count_window(rows=3, dead_letters=[("decode", "not_json")])
    >>> 'penstock_events_total{pipeline="flights"} 4.0' in metrics.exposition().decode()
    True
    """

    def __init__(self, pipeline: str, *, worker: str = "") -> None:
        super().__init__(pipeline)
        self.tally = Tally("score", worker, now=time.time_ns() // 1_000_000)
        self._events = self._counter("penstock_events", "Events taken from the events topic.").labels(pipeline)
        self._predictions = self._counter("penstock_predictions", "Events that ended as a prediction.").labels(pipeline)
        self._dead_letters = self._counter(
            "penstock_dead_letters", "Events that ended as a dead letter.", "stage", "error"
        )
        self._gaps = self._counter(
            "penstock_feature_gaps",
            "Feature values that were missing, stale, malformed, or for which Redis gave no answer.",
            "feature",
            "kind",
        )
        self._outages = self._counter(
            "penstock_feature_outages", "Windows for which Redis did not answer in time."
        ).labels(pipeline)
        self._redis_up = self._gauge(
            "penstock_redis_up", "1 when the last window that asked Redis was answered, else 0."
        )
        self._refused = self._counter(
            "penstock_models_refused", "Models that failed a check and do not serve.", "model"
        )
        self._refused_revisions = self._counter(
            "penstock_revisions_refused", "Control records that this worker could not follow."
        ).labels(pipeline)
        self._window_rows = self._histogram("penstock_window_rows", "Rows of one inference call.", _ROWS).labels(
            pipeline
        )
        stage = self._histogram("penstock_stage_seconds", "Time of a window in one stage.", _SECONDS, "stage")
        self._stages = {name: stage.labels(pipeline, name) for name in STAGES}
        self._latency = self._histogram(
            "penstock_latency_seconds", "From the event's broker timestamp to its window's scores.", _SECONDS
        ).labels(pipeline)
        self._serving = self._gauge(
            "penstock_model_serving", "1 for each model that answers.", "variant", "model", "version", "bit_stable"
        )
        self._variants = self._counter(
            "penstock_variant_rows", "Rows that a variant's model was asked about.", "variant"
        )
        self._variant: dict[str, Counter] = {}
        self._fallback_rows = self._counter(
            "penstock_fallback_rows", "Predictions that the fallback made for another model.", "reason"
        )
        self._fallback = self._gauge(
            "penstock_fallback_active",
            "1 while the fallback stands in, for lack of time or for a failing model.",
            "reason",
        )
        self._reviews = self._counter("penstock_reviews", "Predictions that went to the review topic.", "reason")
        self._withheld = self._counter(
            "penstock_withheld_rows", "Rows scored for the log alone, as people act without the model."
        ).labels(pipeline)
        self.suspected = self._gauge(
            "penstock_suspected_partitions", "Partitions in which an event is searched for that kills workers."
        ).labels(pipeline)
        self._repeats = self._counter(
            "penstock_repeated_events",
            "Events scored again: their outputs were written, their offsets not committed (at least once).",
        ).labels(pipeline)
        self.partitions = self._gauge(
            "penstock_partitions", "Partitions of the events topic that this worker owns."
        ).labels(pipeline)

    def count_window(self, *, rows: int, dead_letters: Sequence[tuple[str, str]] = (), withheld: bool = False) -> None:
        """One window: `rows` predictions (or rows that are `withheld`), and dead letters as (stage, error)."""
        for stage, error in dead_letters:
            self._dead_letters.labels(self._pipeline, stage, error).inc()
        self._events.inc(rows + len(dead_letters))
        (self._withheld if withheld else self._predictions).inc(rows)
        self._window_rows.observe(rows + len(dead_letters))
        self.tally.window(rows=rows, dead_letters=dead_letters)

    def count_gaps(self, gaps: Mapping[tuple[str, GapKind], int]) -> None:
        """How many values of each feature were missing, stale, malformed or not answered for."""
        for (feature, kind), values in gaps.items():
            self._gaps.labels(self._pipeline, feature, kind).inc(values)

    def stage(self, name: WindowStage) -> AbstractContextManager[object]:
        """Times a window's way through one stage."""
        return self._stages[name].time()

    def observe_stage(self, name: WindowStage, seconds: float) -> None:
        """The same, where the caller has measured it."""
        self._stages[name].observe(seconds)

    def count_variant(
        self, variant: str, model: str, *, rows: int, seconds: float, non_finite: int = 0, failed: int = 0
    ) -> None:
        """A call of a variant's model; of the rows, those with NaN or an infinity, and those on which it failed."""
        counter = self._variant.get(variant)
        if counter is None:
            counter = self._variant[variant] = self._variants.labels(self._pipeline, variant)
        counter.inc(rows)
        self.tally.variant(variant, model, rows=rows, seconds=seconds, non_finite=non_finite, failed=failed)

    def count_fallback(self, reason: str, rows: int) -> None:
        """Predictions of the fallback: overload, failed or not_finite."""
        self._fallback_rows.labels(self._pipeline, reason).inc(rows)

    def fallback_active(self, reason: str, active: bool) -> None:
        """Whether the fallback stands in: for overload, or for a model that failed."""
        self._fallback.labels(self._pipeline, reason).set(active)

    def count_reviews(self, reason: str, rows: int) -> None:
        """Predictions that went to people: assist or abstain."""
        self._reviews.labels(self._pipeline, reason).inc(rows)

    def observe_latency(self, seconds: float, rows: int) -> None:
        """Of the oldest event of a window with so many rows."""
        self._latency.observe(max(seconds, 0.0))
        self.tally.latency(max(seconds, 0.0), rows)

    def redis_answered(self, answered: bool) -> None:
        """Whether Redis answered a window that asked it, in time."""
        self._redis_up.labels(self._pipeline).set(answered)
        if not answered:
            self._outages.inc()
            self.tally.outage()

    def count_repeats(self, events: int) -> None:
        """Events whose outputs the former owner of their partition had written already."""
        self._repeats.inc(events)

    def count_refused_model(self, model: str) -> None:
        self._refused.labels(self._pipeline, model).inc()

    def count_refused_revision(self) -> None:
        self._refused_revisions.inc()

    def serving(self, answering: Iterable[tuple[str, str, int, bool]]) -> None:
        """These models answer from now on, and no others: variant, name, version, and whether it is bit-stable."""
        self._serving.clear()
        for variant, model, version, bit_stable in answering:
            self._serving.labels(self._pipeline, variant, model, str(version), str(bit_stable).lower()).set(1)
