"""The judge: from summaries to alerts. Pure and deterministic: no clock, no I/O; what it is told, in order, is all.

Three kinds of things come in, each in the order of one topic: summaries of segments, summaries of labelled rows, and
readings of the workers. Each part of a segment counts once. State is restored exactly, so a judge that was killed
comes to the same alerts as one that was not.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Literal

import msgspec

from penstock.monitoring.alarms import Alarm, Family
from penstock.monitoring.alerts.book import AlertBook, Position
from penstock.monitoring.budget import segments_per_alarm, shares
from penstock.monitoring.config import AlertsConfig, DriftConfig, LabelsConfig
from penstock.monitoring.judging.bucket_tests import BucketTests
from penstock.monitoring.judging.detector_choice import HISTOGRAM, DetectorChoice
from penstock.monitoring.judging.histogram_families import HistogramFamilies
from penstock.monitoring.judging.known_signals import KnownSignals
from penstock.monitoring.judging.operations import Operations, OperationsConfig
from penstock.monitoring.judging.pace import WEEK_MS, Pace
from penstock.monitoring.judging.projections import projections, reference_of
from penstock.monitoring.judging.quality_signals import QualitySignals
from penstock.monitoring.judging.rates import judge_rates
from penstock.monitoring.judging.references import Followed, revision_of
from penstock.monitoring.judging.rollout_alerts import rolled_back, suppress
from penstock.monitoring.judging.state import VERSION, JudgeState
from penstock.monitoring.judging.state import UnreadableJudge as UnreadableJudge
from penstock.monitoring.judging.volume import Volume
from penstock.monitoring.judging.watched_numbers import Watch, WatchedNumbers
from penstock.monitoring.signals import family_of
from penstock.schemas.alerts import Acknowledgement, Alert
from penstock.schemas.gates import Look
from penstock.schemas.operations import OperationalReading
from penstock.schemas.profile import ReferenceProfile
from penstock.schemas.quality import QualitySummary
from penstock.schemas.summaries import SignalCounts, Summary

Kind = Literal["summary", "quality"]

_STEP = 1.1
"""Thresholds follow the pace of the stream in steps of 10 %."""
_OF_MEANS = "number_cusum"
_OF_THE_MODEL: tuple[Family, ...] = ("data_drift", "score_drift", "joint_drift")
"""Families that are judged against the reference of a model, and begin anew with the next."""


class Judge:
    """Watches one pipeline's stream.

    Args:
        drift, labels, alerts: what to watch, and when to speak.
        pipeline: its name, for the alerts.
        profile: the reference profile of a model by its NAME@VERSION; None where it has none, and then the stream's
            first segments are the reference.
        sensitive: features whose figures must not reach a person.
        operations: when the service itself is not well.

    The false-alarm budget is of event time; how many segments that makes comes from the reference's times, then from
    the stream.
    """

    def __init__(
        self,
        drift: DriftConfig,
        labels: LabelsConfig,
        alerts: AlertsConfig,
        *,
        pipeline: str,
        profile: Callable[[str], ReferenceProfile | None],
        sensitive: Collection[str] = (),
        operations: OperationsConfig | None = None,
    ) -> None:
        self._drift, self._labels, self._alerts = drift, labels, alerts
        self._pipeline, self._profile, self._sensitive = pipeline, profile, tuple(sensitive)
        self._operations_config = operations or OperationsConfig()
        self._applied: dict[tuple[str, int], tuple[int, int]] = {}
        self._followed = Followed()
        self._known: KnownSignals | None = None
        self._chosen: dict[str, tuple[str, ...]] = {}
        """The names of each signal's detectors."""
        self._pace = Pace()
        self._budgeted, self._sized = 0.0, 0
        self._families = HistogramFamilies(self._segments_per_alarm, reference_segments=drift.reference_segments)
        self._choice = DetectorChoice(drift.detectors)
        self._numbers = WatchedNumbers(
            self._choice,
            self._segments_per_alarm,
            segment_rows=drift.segment_rows,
            reference_segments=drift.reference_segments,
            seasonal=drift.seasonal,
        )
        self._volume = Volume()
        self._rows = 0
        self._buckets = BucketTests(labels)
        self._quality = QualitySignals(labels, self._numbers, self._families, self._buckets)
        self._operations = Operations()
        self._book = AlertBook(alerts, pipeline=pipeline, sensitive=sensitive)

    def apply(self, summary: Summary) -> list[Alert]:
        """What to tell after a segment's summary, or a part's; nothing for one that was applied before."""
        if not self._is_new("summary", summary.partition, summary.segment, summary.part):
            return []
        return self._book.observe(self.alarms(summary), position=_position(summary, summary.reference or None))

    def apply_quality(self, summary: QualitySummary) -> list[Alert]:
        """What to tell after what came true of a segment's rows; nothing for a part that was applied before."""
        if not self._is_new("quality", summary.partition, summary.segment, summary.part):
            return []
        alarms = self._quality.judge(summary, self._alarms_per_test)
        self._rebudget()
        return self._book.observe(alarms, position=_position(summary, self._followed.reference))

    def alarms(self, summary: Summary) -> list[Alarm]:
        """What the detectors say of one more segment; `apply` makes alerts of it."""
        if not summary.rows:
            return []
        before = self._followed.reference
        current = self._followed.admit(summary.partition, summary.reference, revision_of(summary))
        if self._followed.reference != before:
            self._begin(self._followed.reference)
        self._pace.advance(summary.event_times[1])
        counts = summary.signals
        if not current:  # counted against the bins of another model
            counts = {name: found for name, found in counts.items() if family_of(name) not in _OF_THE_MODEL}
        alarms = self._of_histograms(counts, summary.rows, sum(summary.event_times) // 2)
        alarms += judge_rates(summary, self._numbers, self._rows)
        alarms += self._volume.judge(summary, self._numbers)
        self._rows += summary.rows
        self._rebudget()
        return alarms + self._numbers.take_evidence(alarms)

    def _of_histograms(self, counts: Mapping[str, SignalCounts], rows: int, time_ms: int) -> list[Alarm]:
        new = [name for name in counts if name not in self._chosen]
        self._chosen |= {name: self._choose(name, counts[name]) for name in new}
        whole = {name: found for name, found in counts.items() if HISTOGRAM in self._chosen[name]}
        alarms = self._families.update(whole, rows=rows, time_ms=time_ms, known=self._known_signals)
        for name, found in counts.items():
            if self._chosen[name] not in ((), (HISTOGRAM,)):
                alarms += self._of_projections(name, found, rows, time_ms)
        return alarms

    def _choose(self, name: str, counts: SignalCounts) -> tuple[str, ...]:
        """A number without a reference falls into bins of half a decade: there, its mean is watched as well."""
        coarse = name.startswith(("feature:", "score:")) and self._known_signals().is_coarse(name, len(counts.slots))
        return self._choice.of(name, HISTOGRAM, *([_OF_MEANS] if coarse else []))

    def _of_projections(self, name: str, counts: SignalCounts, rows: int, time_ms: int) -> list[Alarm]:
        known = self._known_signals()
        signal, column = known.signal(name, len(counts.slots)), known.column(name)
        alarms = []
        for aspect, figure, value in projections(signal, counts):
            if aspect == "location" or self._choice.chooses(name):
                watch = Watch(family_of(name), name, aspect, figure, rows=rows)
                alarms += self._numbers.number(
                    watch, value, time_ms, default=self._chosen[name], reference=partial(reference_of, column, aspect)
                )
        return alarms

    def operations(self, reading: OperationalReading) -> list[Alert]:
        """What to tell after a worker's reading."""
        alarms = self._operations.apply(reading, self._operations_config)
        position = Position(
            partition=-1, segment=-1, first_offset=-1, last_offset=-1, time=self._operations.now, kind="operations"
        )
        return self._book.observe(alarms, position=position)

    def rollout_moves(self, reason: str | None) -> None:
        """Traffic goes to a candidate, for a `reason` that people read; None: no longer.

        What that moves raises no alert, afterwards neither, until the labels of its rows are in.
        """
        suppress(self._book, reason, newest=self._pace.newest, maturity_s=self._labels.maturity_s)

    def verdict(self, look: Look, *, time: int, automatic: bool) -> list[Alert]:
        """What to tell after a look of a rollout; `time` is Unix ms. A rollback is made at once, or by a person."""
        return rolled_back(self._book, look, time=max(time, self._operations.now), automatic=automatic)

    def acknowledge(self, acknowledgement: Acknowledgement) -> list[Alert]:
        """A person has an alert: its state to tell, or nothing where it is not open."""
        return self._book.acknowledge(acknowledgement.alert, acknowledgement.by, acknowledgement.note)

    @property
    def open(self) -> list[Alert]:
        """The alerts that are not cleared, the oldest first."""
        return self._book.open

    def snapshot(self) -> bytes:
        """Everything the judge knows, for `restore`."""
        return msgspec.msgpack.encode(
            JudgeState(
                VERSION,
                [(kind, partition, *applied) for (kind, partition), applied in self._applied.items()],
                self._followed,
                self._pace,
                self._budgeted,
                self._sized,
                self._families.state(),
                self._numbers.state(),
                self._volume,
                self._rows,
                self._buckets.state(),
                self._operations,
                self._book.snapshot(),
            )
        )

    def restore(self, snapshot: bytes) -> None:
        """Go on from where a judge of the same settings stopped.

        Raises UnreadableJudge; UnreadableState or UnreadableBook for what a detector or the alerts cannot read.
        """
        try:
            state = JudgeState.decode(snapshot)
            self._families.restore(state.families)
        except (msgspec.DecodeError, zlib.error) as error:
            raise UnreadableJudge(str(error).rstrip(".")) from error
        self._numbers.restore(state.numbers)
        self._buckets.restore(state.buckets)
        self._book = AlertBook.restore(state.book, self._alerts, pipeline=self._pipeline, sensitive=self._sensitive)
        self._applied = {(kind, partition): (segment, part) for kind, partition, segment, part in state.applied}
        self._followed, self._pace, self._operations = state.followed, state.pace, state.operations
        self._budgeted, self._sized = state.budgeted, state.sized
        self._volume, self._rows = state.volume, state.rows
        self._known, self._chosen = None, {}

    def _is_new(self, kind: Kind, partition: int, segment: int, part: int) -> bool:
        if (segment, part) <= self._applied.get((kind, partition), (-1, -1)):
            return False
        self._applied[kind, partition] = segment, part
        return True

    def _begin(self, reference: str | None) -> None:
        """Against another model's reference."""
        self._known, self._chosen = None, {}
        self._families.forget(_OF_THE_MODEL)
        self._numbers.forget(_OF_THE_MODEL)
        self._rows = self._sized = 0
        if self._pace.newest is None:
            profile = None if reference is None else self._profile(reference)
            self._pace = Pace.of(profile, self._drift.segment_rows)

    def _known_signals(self) -> KnownSignals:
        if self._known is None:
            profile = None if self._followed.reference is None else self._profile(self._followed.reference)
            self._known = KnownSignals(
                profile, self._drift.segment_rows, sensitive=self._sensitive, seasonal=self._drift.seasonal
            )
        return self._known

    @property
    def _sizes(self) -> Counter[Family]:
        return self._families.sizes + self._numbers.sizes + self._buckets.sizes

    def _share(self, family: Family) -> float:
        """The part of the budget that one signal of a family has."""
        sizes = self._sizes
        sizes[family] = max(sizes[family], 1)
        return shares(sizes)[family] / sizes[family]

    def _segments_per_alarm(self, family: Family) -> float:
        return segments_per_alarm(
            self._share(family),
            false_alarms_per_week=self._drift.false_alarms_per_week,
            segments_per_week=self._drift.segments_per_week or self._pace.segments_per_week,
        )

    def _alarms_per_test(self, family: Family) -> float:
        """Of what is tested once a bucket."""
        weeks = self._labels.bucket_s * 1000 / WEEK_MS
        return self._drift.false_alarms_per_week * weeks * self._share(family)

    def _rebudget(self) -> None:
        """Thresholds follow what is watched, and the pace of the stream in steps."""
        pace, size = self._pace.segments_per_week, self._families.size + self._numbers.size + self._buckets.size
        if size != self._sized or not self._budgeted / _STEP <= pace <= self._budgeted * _STEP:
            self._budgeted, self._sized = pace, size
            self._families.rebudget()
            self._numbers.rebudget()


def _position(summary: Summary | QualitySummary, reference: str | None) -> Position:
    evidence = summary.evidence if isinstance(summary, Summary) else None
    return Position(
        partition=summary.partition,
        segment=summary.segment,
        first_offset=summary.first_offset,
        last_offset=summary.last_offset,
        time=summary.event_times[1] if summary.rows else 0,
        model=reference,
        routing_revision=revision_of(summary) if summary.served else None,
        ids=tuple(evidence.ids) if evidence else (),
        kind="summary" if isinstance(summary, Summary) else "quality",
    )
