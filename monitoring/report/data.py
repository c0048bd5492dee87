"""What a report is made of: a stretch of the summaries, folded into few cells of time as they are read.

Nothing but sums is kept, and the cells grow longer with the stretch, so a report of a year needs the memory of a
report of an hour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from penstock.monitoring.report.comparisons import Comparisons
from penstock.schemas.alerts import Alert
from penstock.schemas.comparison import ComparisonSummary
from penstock.schemas.profile import SLOTS
from penstock.schemas.quality import QualitySummary
from penstock.schemas.quality_sums import Group, QualitySums, merge_sums
from penstock.schemas.summaries import SignalCounts, Summary, merge_counts

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 24 * 3_600_000
_LADDER = tuple(
    [MINUTE_MS * n for n in (1, 5, 15)] + [HOUR_MS * n for n in (1, 3, 6, 12)] + [DAY_MS << n for n in range(20)]
)
"""Lengths of cells, ms: each divides the next, so that cells can be joined."""

MAX_CELLS = 64
FEWEST_CELLS = 12

Served = tuple[str, str, int]
"""Variant, NAME@VERSION, routing revision."""


@dataclass
class Cell:
    """The sums of the segments that ended in one interval of event time.

    signals  (reference, signal) → counts: bins of different references cannot be added
    arrived  variant → rows whose events fall into the interval, as if a segment's came evenly
    judged   rows that were read again at their maturity
    answered of those, the ones whose outcome is known: by a label, or by silence where that is one
    """

    rows: int = 0
    late_rows: int = 0
    bad_time: int = 0
    signals: dict[tuple[str, str], SignalCounts] = field(default_factory=dict)
    served: Counter[Served] = field(default_factory=Counter)
    arrived: Counter[str] = field(default_factory=Counter)
    judged: int = 0
    answered: int = 0

    def add_summary(self, summary: Summary) -> None:
        self.rows += summary.rows
        self.late_rows += summary.late_rows
        self.bad_time += summary.bad_time
        self.served.update(summary.served)
        for name, counts in summary.signals.items():
            self._add_signal((summary.reference, name), counts)

    def add_quality(self, summary: QualitySummary) -> None:
        self.judged += summary.rows
        self.answered += summary.labelled + summary.silent

    def add(self, other: Cell) -> None:
        self.rows += other.rows
        self.late_rows += other.late_rows
        self.bad_time += other.bad_time
        self.served.update(other.served)
        self.arrived.update(other.arrived)
        self.judged += other.judged
        self.answered += other.answered
        for key, counts in other.signals.items():
            self._add_signal(key, counts)

    def _add_signal(self, key: tuple[str, str], counts: SignalCounts) -> None:
        known = self.signals.get(key)
        if known is None:
            self.signals[key] = counts
        elif len(known.slots) == len(counts.slots):
            self.signals[key] = merge_counts(known, counts)
        # Categories that are learnt on the way have no slots in common with what came before they were learnt.


class Timeline:
    """Cells of one length over event time, at most `MAX_CELLS` from the first to the last; the length follows."""

    def __init__(self, max_cells: int = MAX_CELLS) -> None:
        self._max_cells = max_cells
        self._step = 0
        self.cells: dict[int, Cell] = {}
        """By their start, Unix ms."""

    @property
    def length_ms(self) -> int:
        return _LADDER[self._step]

    def at(self, time_ms: int) -> Cell:
        """The cell of a time, to add to at once: cells may be joined when the next is asked for."""
        start = self._start(time_ms)
        if start not in self.cells:
            self.cells[start] = Cell()
            while self._count() > self._max_cells and self._step + 1 < len(_LADDER):
                self._coarsen()
        return self.cells[self._start(time_ms)]

    def spread(self, summary: Summary, first: int) -> None:
        """Lay the segment's rows over the time from `first` to its last event; not one is lost in rounding."""
        last = summary.event_times[1]
        self.at(first)
        self.at(last)  # now the cells have their length
        variants: Counter[str] = Counter()
        for (variant, _, _), rows in summary.served.items():
            variants[variant] += rows
        for variant, rows in variants.items():
            laid = 0
            for start in range(self._start(first), last + 1, self.length_ms):
                until = min(start + self.length_ms, last + 1)
                due = rows * (until - first) // (last + 1 - first)
                if due > laid:
                    self.at(start).arrived[variant] += due - laid
                    laid = due

    def settle(self) -> None:
        """Join cells while most intervals are empty: segments further apart than a cell would look like gaps."""
        while self.cells and self._count() > max(2 * self._filled(), FEWEST_CELLS) and self._step + 1 < len(_LADDER):
            self._coarsen()

    def ordered(self) -> Iterator[tuple[int, Cell]]:
        return iter(sorted(self.cells.items()))

    def starts(self) -> range:
        """Of all intervals from the first to the last, those without a row included."""
        if not self.cells:
            return range(0)
        return range(min(self.cells), max(self.cells) + self.length_ms, self.length_ms)

    def total(self) -> Cell:
        whole = Cell()
        for _, cell in self.ordered():
            whole.add(cell)
        return whole

    def _start(self, time_ms: int) -> int:
        return time_ms // self.length_ms * self.length_ms

    def _filled(self) -> int:
        return sum(cell.rows > 0 for cell in self.cells.values())

    def _count(self) -> int:
        return (max(self.cells) - min(self.cells)) // self.length_ms + 1

    def _coarsen(self) -> None:
        self._step += 1
        finer, self.cells = self.cells, {}
        for start, cell in finer.items():
            self.cells.setdefault(self._start(start), Cell()).add(cell)


class Outcomes:
    """What the labels said, over the whole stretch; in `groups` buckets are joined when they become too many."""

    def __init__(self, max_buckets: int = MAX_CELLS) -> None:
        self._max_buckets = max_buckets
        self._step = -1
        self.rows = self.labelled = self.silent = self.missing = self.invalid = self.late = 0
        self.delays = np.zeros(SLOTS, np.int64)
        self.groups: dict[Group, QualitySums] = {}

    def add(self, summary: QualitySummary) -> None:
        self.rows += summary.rows
        self.labelled += summary.labelled
        self.silent += summary.silent
        self.missing += summary.missing
        self.invalid += summary.invalid
        self.late += summary.late
        self.delays = self.delays + summary.delays
        self._add(summary.groups)
        while len(self.buckets()) > self._max_buckets and self._step + 1 < len(_LADDER):
            self._step += 1
            finer, self.groups = self.groups, {}
            self._add(finer)

    def buckets(self) -> list[int]:
        """Their starts, Unix ms."""
        return sorted({bucket for bucket, _, _ in self.groups})

    def _add(self, groups: Mapping[Group, QualitySums]) -> None:
        for (bucket, variant, slice_), sums in groups.items():
            start = bucket if self._step < 0 else bucket // _LADDER[self._step] * _LADDER[self._step]
            key = start, variant, slice_
            self.groups[key] = merge_sums(self.groups[key], sums) if key in self.groups else sums


class ReportData:
    """The stretch [start_ms, end_ms) of event time, None: without an end on that side.

    A segment belongs to where its last event lies, with the quality of its rows; an alert to every stretch that it
    lasted in.
    """

    def __init__(self, start_ms: int | None = None, end_ms: int | None = None) -> None:
        self.start_ms, self.end_ms = start_ms, end_ms
        self.timeline = Timeline()
        self.event_times: tuple[int, int] | None = None
        """First and last event time of what was counted."""
        self.latest_reference: str | None = None
        self.segments = 0
        """Summaries inside; a quiet partition gives several for a segment."""
        self.rows_by_reference: Counter[str] = Counter()
        self.seen: tuple[int, int] | None = None
        """The same of all that was read, of other stretches, too."""
        self.unreadable = 0
        """Records that are damaged, or of a newer version."""
        self.outcomes = Outcomes()
        self.comparisons = Comparisons(_LADDER, MAX_CELLS)
        self._alerts: dict[str, Alert] = {}
        self._reached: dict[int, int] = {}
        """Partition → last event time of its latest segment."""
        self._counted: dict[tuple[str, int], tuple[int, int]] = {}

    def add_summary(self, summary: Summary) -> None:
        """Each (partition, segment, part) counts once: a partition's ascend, so a repeat is not above the last."""
        if not self._first_time("summary", summary.partition, summary.segment, summary.part):
            return
        if not summary.rows:
            return
        first, last = summary.event_times
        # A single event may come very late: what came before this segment says better where it begins.
        first = min(max(first, self._reached.get(summary.partition, first)), last)
        self._reached[summary.partition] = last
        self.seen = _hull(self.seen, (first, last))
        if not self._inside(last):
            return
        self.timeline.at(last).add_summary(summary)
        self.timeline.spread(summary, first if self.start_ms is None else max(first, self.start_ms))
        self.event_times = _hull(self.event_times, (first, last))
        self.latest_reference = summary.reference
        self.segments += 1
        self.rows_by_reference[summary.reference] += summary.rows

    def add_quality(self, summary: QualitySummary) -> None:
        """As `add_summary`."""
        if not self._first_time("quality", summary.partition, summary.segment, summary.part):
            return
        if summary.rows and self._inside(summary.event_times[1]):
            self.timeline.at(summary.event_times[1]).add_quality(summary)
            self.outcomes.add(summary)

    def add_comparison(self, summary: ComparisonSummary) -> None:
        """As `add_summary`."""
        kind = "comparison at maturity" if summary.mature else "comparison"
        fresh = self._first_time(kind, summary.partition, summary.segment, summary.part)
        if fresh and self._inside(summary.event_times[1]):
            self.comparisons.add(summary)

    def add_alert(self, alert: Alert) -> None:
        """The last state of an alert counts."""
        self._alerts[alert.id] = alert

    @property
    def alerts(self) -> list[Alert]:
        """Those of the stretch, the latest first."""
        inside = [
            alert
            for alert in self._alerts.values()
            if (self.end_ms is None or alert.first_seen < self.end_ms)
            and (self.start_ms is None or alert.last_seen >= self.start_ms)
        ]
        return sorted(inside, key=lambda alert: (-alert.first_seen, alert.id))

    def _first_time(self, kind: str, partition: int, segment: int, part: int) -> bool:
        last = self._counted.get((kind, partition), (-1, -1))
        if (segment, part) <= last:
            return False
        self._counted[kind, partition] = segment, part
        return True

    def _inside(self, time_ms: int) -> bool:
        return (self.start_ms is None or time_ms >= self.start_ms) and (self.end_ms is None or time_ms < self.end_ms)


def _hull(known: tuple[int, int] | None, times: tuple[int, int]) -> tuple[int, int]:
    return times if known is None else (min(known[0], times[0]), max(known[1], times[1]))
