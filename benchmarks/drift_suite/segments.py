"""From rows to a monitor and back: a table's reference, its segments counted as the service counts them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from drift_suite.distributions import START_MS, Independent
from numpy.typing import NDArray

from penstock.models.profiling import build_profile
from penstock.monitoring.alarms import Alarm
from penstock.monitoring.counting.binning import Binning
from penstock.monitoring.counting.count import count
from penstock.monitoring.histograms.monitor import HistogramMonitor
from penstock.monitoring.histograms.reference import HistogramReference
from penstock.monitoring.judging.known_signals import KnownSignals
from penstock.schemas.columns import Category, Columns, Layout
from penstock.schemas.profile import ReferenceProfile
from penstock.schemas.scored import ScoredBlock
from penstock.schemas.summaries import NO_WATERMARK, Signal, SignalCounts, Summary

SEGMENT_MS = 60_000
"""A segment's event time, unless a stream says otherwise."""


@dataclass(frozen=True)
class Watched:
    """Features with their references. Made by `of` or `fit`."""

    binning: Binning
    signals: dict[str, Signal]
    references: dict[str, HistogramReference]
    profile: ReferenceProfile
    segment_rows: int

    @classmethod
    def of(cls, columns: Columns, segment_rows: int, times: NDArray[np.int64] | None = None) -> Watched:
        """From the reference's rows, in the order of time; the path that a profile takes into the judge."""
        profile = build_profile(columns, times=times, segment_rows=segment_rows)
        known = KnownSignals(profile, segment_rows)
        binning = Binning.of(columns.layout, (), profile, reference="benchmark@1")
        signals = {name: one for name, one in binning.signals.items() if name.startswith("feature:")}
        found = {name: known.reference(signal) for name, signal in signals.items()}
        references = {name: one for name, one in found.items() if one is not None}
        if len(references) < len(signals):
            raise ValueError(f"{len(signals) - len(references)} signals have too short a reference")
        return cls(binning, signals, references, profile, segment_rows)

    @classmethod
    def fit(cls, table: NDArray[np.float64], segment_rows: int, times: NDArray[np.int64] | None = None) -> Watched:
        """From [rows, columns] numbers."""
        return cls.of(numbers(table), segment_rows, times)

    def monitor(self, segments_per_alarm: float, features: int | None = None) -> HistogramMonitor:
        """`features`: among how many the budget is divided, where others are not simulated."""
        return HistogramMonitor(
            self.signals,
            self.references,
            segments_per_alarm=segments_per_alarm,
            features=len(self.signals) if features is None else features,
        )

    def summary(self, columns: Columns, segment: int, times: NDArray[np.int64] | None = None) -> Summary:
        """Of one whole segment, by the service's own counting."""
        return summarise(block_of(columns, segment * self.segment_rows, times), self.binning, self.segment_rows)

    def counts(
        self, table: NDArray[np.float64], segment: int, times: NDArray[np.int64] | None = None
    ) -> dict[str, SignalCounts]:
        """Of [segment_rows, columns] numbers; the features alone."""
        found = self.summary(numbers(table), segment, times).signals
        return {name: found[name] for name in self.signals}


def numbers(table: NDArray[np.float64]) -> Columns:
    """[rows, columns] as float features f0, f1, …"""
    rows, width = table.shape
    layout = Layout(floats=tuple(f"f{place}" for place in range(width)))
    return Columns(layout, table.astype(np.float32), np.empty((rows, 0), np.int64), (), ())


def block_of(
    columns: Columns, first_offset: int, times: NDArray[np.int64] | None = None, **changes: Any
) -> ScoredBlock:
    """Scored rows around some features; whatever is not watched here is the same in every row."""
    rows = columns.rows
    if times is None:
        times = START_MS + (first_offset + np.arange(rows)) * 1_000
    same = np.zeros(rows, np.int32)
    values: dict[str, Any] = {
        "ids": ["event"] * rows,
        "keys": [None] * rows,
        "offsets": np.arange(first_offset, first_offset + rows),
        "event_times": times,
        "timestamps": times,
        "columns": columns,
        "aged": (),
        "ages": np.empty((rows, 0), np.float32),
        "defaulted": np.zeros((rows, len(columns.layout.names)), np.bool_),
        "score": np.full(rows, 0.5, np.float32),
        "scores": None,
        "variants": Category(same, ("champion",)),
        "models": Category(same, ("benchmark@1",)),
        "routing_revisions": np.ones(rows, np.int64),
        "partition": 0,
        "scored_at": int(times[-1]) if rows else 0,
        "runtime": "benchmark",
    }
    return ScoredBlock(**values | changes)


def summarise(block: ScoredBlock, binning: Binning, segment_rows: int) -> Summary:
    return count(
        block, binning, segment=int(block.offsets[0]) // segment_rows, part=0, complete=True,
        watermark_before=NO_WATERMARK, max_future_ms=3_600_000, max_out_of_order_ms=60_000, segment_rows=segment_rows,
    )  # fmt: skip


def alarms_over(
    watched: Watched, table: NDArray[np.float64], segments_per_alarm: float, times: NDArray[np.int64] | None = None
) -> Iterator[list[Alarm]]:
    """The alarms of each whole segment of [rows, columns] numbers."""
    monitor, size = watched.monitor(segments_per_alarm), watched.segment_rows
    for segment in range(len(table) // size):
        rows = slice(segment * size, (segment + 1) * size)
        here = None if times is None else times[rows]
        time_ms = START_MS + segment * SEGMENT_MS if here is None else int(here[len(here) // 2])
        yield monitor.update(watched.counts(table[rows], segment, here), rows=size, time_ms=time_ms)


def counted(slots: NDArray[np.int64]) -> SignalCounts:
    """Counts that were drawn as counts: without moments, which no detector reads."""
    return SignalCounts(slots, finite=int(slots[:-2].sum()))


def drawn(
    random: np.random.Generator, probabilities: Mapping[str, NDArray[np.float64]], rows: int, segments: int
) -> dict[str, NDArray[np.int64]]:
    """Signal → [segments, slots]: the counts of independent rows are multinomial, and quicker drawn than rows."""
    return {name: random.multinomial(rows, chances, size=segments) for name, chances in probabilities.items()}


def independent_reference(
    random: np.random.Generator, distribution: Independent, segment_rows: int, segments: int, features: int = 1
) -> Watched:
    """A reference whose rows are really drawn, as its edges are order statistics of them."""
    rows = segment_rows * segments
    return Watched.fit(np.stack([distribution.sample(random, rows) for _ in range(features)], axis=1), segment_rows)


def slot_probabilities(watched: Watched, distribution: Independent) -> dict[str, NDArray[np.float64]]:
    return {name: distribution.slot_probabilities(signal.edges) for name, signal in watched.signals.items()}


def by_signal(counts: Mapping[str, NDArray[np.int64]], segment: int) -> dict[str, SignalCounts]:
    return {name: counted(slots[segment]) for name, slots in counts.items()}


def names_of(alarms: Sequence[Alarm]) -> list[str]:
    return [alarm.signal for alarm in alarms]
