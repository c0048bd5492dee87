"""The histogram monitors, one per family, over signals that come and go: a variant appears with its rollout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping

import msgspec

from penstock.monitoring.alarms import Alarm, Family
from penstock.monitoring.histograms.monitor import HistogramMonitor
from penstock.monitoring.judging.known_signals import KnownSignals
from penstock.monitoring.signals import family_of
from penstock.schemas.summaries import SignalCounts

Budget = Callable[[Family], float]
"""Segments per false alarm of one signal of a family."""


class FamilyState(msgspec.Struct, array_like=True):
    """A family's monitor in a snapshot."""

    family: Family
    monitor: bytes


class HistogramFamilies:
    """Every signal is watched from the segment in which it first appears.

    Those that a reference profile knows are judged from then on; the others learn their reference first.
    """

    def __init__(self, budget: Budget, *, reference_segments: int) -> None:
        self._budget, self._reference_segments = budget, reference_segments
        self._monitors: dict[Family, HistogramMonitor] = {}
        self._family: dict[str, Family] = {}

    def update(
        self, counts: Mapping[str, SignalCounts], *, rows: int, time_ms: int, known: Callable[[], KnownSignals]
    ) -> list[Alarm]:
        """One segment. `known` is asked only for signals that were never seen."""
        if new := [name for name in counts if name not in self._family]:
            self._watch({name: counts[name] for name in new}, known())
        by_family: dict[Family, dict[str, SignalCounts]] = {}
        for name, found in counts.items():
            by_family.setdefault(self._family[name], {})[name] = found
        return [
            alarm
            for family, found in by_family.items()
            for alarm in self._monitors[family].update(found, rows=rows, time_ms=time_ms)
        ]

    @property
    def sizes(self) -> Counter[Family]:
        """How many signals each family has."""
        return Counter(self._family.values())

    @property
    def size(self) -> int:
        return len(self._family)

    def rebudget(self) -> None:
        """The budget has moved: so do the thresholds."""
        for family, monitor in self._monitors.items():
            monitor.set_budget(self._budget(family) / len(monitor.signals))

    def forget(self, families: Collection[Family]) -> None:
        """These begin anew, with what is known of their signals when they are seen next."""
        self._monitors = {family: monitor for family, monitor in self._monitors.items() if family not in families}
        self._family = {name: family for name, family in self._family.items() if family not in families}

    def _watch(self, new: Mapping[str, SignalCounts], known: KnownSignals) -> None:
        signals = {name: known.signal(name, len(counts.slots)) for name, counts in new.items()}
        references = {name: found for name, signal in signals.items() if (found := known.reference(signal)) is not None}
        self._family |= {name: family_of(name) for name in new}
        for family in dict.fromkeys(self._family[name] for name in new):
            mine = {name: signal for name, signal in signals.items() if self._family[name] == family}
            if (monitor := self._monitors.get(family)) is not None:
                for name, signal in mine.items():
                    monitor.add(signal, references.get(name))
                continue
            self._monitors[family] = HistogramMonitor(
                mine,
                references,
                segments_per_alarm=self._budget(family) / len(mine),
                features=len(mine),
                reference_segments=self._reference_segments,
            )

    def state(self) -> list[FamilyState]:
        return [FamilyState(family, monitor.snapshot()) for family, monitor in self._monitors.items()]

    def restore(self, state: list[FamilyState]) -> None:
        self._monitors = {each.family: HistogramMonitor.restore(each.monitor) for each in state}
        self._family = {name: family for family, monitor in self._monitors.items() for name in monitor.signals}
