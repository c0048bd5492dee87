"""Data drift on histograms: many small bets against the reference, each a CUSUM of log e-values.

Every bet j of a signal (see `tilts`) wins l = slope · D - rows · cost nats on a segment, so that exp(l) is at most one
on average while nothing has changed. W = max(0, W) + l; the signal alarms when some W exceeds
ln(A · F / GAIN) - ln(weight), where A is the number of segments per false alarm over all F signals, and a signal's
weights sum to 1: a weighted union bound over whatever is watched (e-detectors: Shin, Ramdas, Rinaldo 2024). Bets win
nothing most of the time and the reference's errors are paid for in their costs, so alarms are rarer than the bound
says: GAIN is what simulations leave of that (`benchmarks/drift.py`).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.histograms import recent
from penstock.monitoring.histograms.betting import Bets
from penstock.monitoring.histograms.learning import REBUILDS, Learner, moments
from penstock.monitoring.histograms.recent import RecentSums
from penstock.monitoring.histograms.reference import ENOUGH, HistogramReference
from penstock.monitoring.histograms.tilts import aspect_of, plainest, system_slots
from penstock.monitoring.signals import family_of
from penstock.schemas.arrays import from_array, to_array
from penstock.schemas.profile import MISSING, SLOTS
from penstock.schemas.summaries import FIXED_POINT, Signal, SignalCounts

DETECTOR = "ecusum"
GAIN = 30.0
_NONE = np.empty(0, np.float32)


class _Watched(msgspec.Struct):
    """One signal; in a snapshot with the evidence and ages of its bets."""

    signal: Signal
    reference: HistogramReference | None = None
    learner: Learner | None = None
    evidence: NDArray[np.float32] = _NONE
    age: NDArray[np.uint32] = _NONE.astype(np.uint32)


class _State(msgspec.Struct):
    segments_per_alarm: float
    features: int
    reference_segments: int
    watched: list[_Watched]
    recent: RecentSums


class HistogramMonitor:
    """Watches all signals of a stream, one segment at a time.

    Args:
        signals: by name.
        references: of those that have one; the others learn theirs from their first `reference_segments` segments.
            One of fewer than `ENOUGH` segments serves, with wide thresholds, until a better one is learnt like that.
        segments_per_alarm: A, the mean number of segments between two false alarms that may be had.
        features: F, over how many signals the budget is spread, if they are more than are watched here.
        reference_segments: of a signal without a reference.

    After an alarm that signal alone learns a new reference from the next 50 segments, rebuilt at 100, 200, 400, 800;
    if it is back to what it was by then, as after a fault, the old one serves on.

    >>> x = Signal("feature:x", "categories", np.empty(0), values=("a", "b"))
    >>> monitor = HistogramMonitor({x.name: x}, {}, segments_per_alarm=1000, features=1, reference_segments=50)
    >>> def segment(*slots):
    ...     alarms = monitor.update({x.name: SignalCounts(np.array(slots))}, rows=sum(slots), time_ms=0)
    ...     return [(alarm.aspect, alarm.since) for alarm in alarms]
    >>> for _ in range(60):
    ...     assert segment(60, 40, 0, 0) == []
    >>> segment(30, 70, 0, 0)
    [('categories', 50)]
    """

    def __init__(
        self,
        signals: Mapping[str, Signal],
        references: Mapping[str, HistogramReference],
        *,
        segments_per_alarm: float,
        features: int = 0,
        reference_segments: int = 200,
    ) -> None:
        self._state = _State(float(segments_per_alarm), features, reference_segments, [], RecentSums())
        self._places: dict[str, int] = {}
        self._bets = Bets()
        for name, signal in signals.items():
            self.add(signal, references.get(name))

    @property
    def signals(self) -> dict[str, Signal]:
        """What is watched."""
        return {watched.signal.name: watched.signal for watched in self._state.watched}

    def add(self, signal: Signal, reference: HistogramReference | None = None) -> None:
        """Watch one more signal from now on."""
        usable = reference if reference is not None and reference.segments else None
        learner = None
        if usable is None or usable.segments < ENOUGH:
            learner = Learner(self._state.reference_segments)
        elif np.isnan(usable.mean):
            usable = msgspec.structs.replace(usable, mean=signal.centre, deviation=signal.spread)
        self._insert(_Watched(signal, usable, learner))
        self._state.recent.widen(len(self._places))

    def set_budget(self, segments_per_alarm: float, features: int | None = None) -> None:
        """Move the thresholds; the evidence so far stays."""
        self._state.segments_per_alarm = float(segments_per_alarm)
        if features is not None:
            self._state.features = features

    @property
    def level(self) -> float:
        """ln(A · F / GAIN), at least 0: the threshold of a bet with weight 1, nats."""
        budget = self._state.segments_per_alarm * max(self._state.features, len(self._places))
        return math.log(max(budget / GAIN, 1.0))

    def update(self, counts: Mapping[str, SignalCounts], *, rows: int, time_ms: int) -> list[Alarm]:
        """Take one segment, or a part of one; signals that saw no row may be left out.

        Args:
            counts: by signal; KeyError for one that is not watched.
            rows: of the segment; nothing happens without any.
            time_ms: event time of the segment's middle, Unix ms.

        Returns the alarms, strongest first.
        """
        if not rows:
            return []
        bets, watched = self._bets, self._state.watched
        bets.slots[:] = 0
        sums = np.zeros((len(watched), recent.WIDTH), np.float32)
        for name, found in counts.items():
            place, slots = self._places[name], found.slots
            bets.slots[place, : len(slots)] = slots
            missing = slots[MISSING] if watched[place].signal.scale != "categories" else slots[-1]
            z, z2 = found.sum_z / FIXED_POINT, found.sum_z2 / FIXED_POINT
            sums[place, recent.FINITE :] = found.finite, missing, z, z2
        per_signal = bets.slots.sum(axis=1)
        sums[:, recent.ROWS] = per_signal
        self._state.recent.add(sums)
        excess = bets.advance(per_signal, time_ms, self.level)
        alarmed = np.flatnonzero(excess > 0).tolist()
        alarms = [self._alarm(place, time_ms) for place in alarmed]
        for place, one in enumerate(watched):
            if one.learner is not None and per_signal[place]:
                one.learner.add(counts[one.signal.name], time_ms)
                # Evidence that builds up would be lost by a new reference, and partly become its norm.
                if one.learner.due and not excess[place] > -self.level / 2:
                    self._learn(place, one, one.learner)
        for place, alarm in zip(alarmed, alarms, strict=True):
            self._start_over(place, alarm)
        return sorted(alarms, key=lambda alarm: -alarm.contribution)

    def snapshot(self) -> bytes:
        """All of the state, compressed."""
        for place, one in enumerate(self._state.watched):
            count = int(self._bets.count[place])
            one.evidence = self._bets.evidence[place, :count]
            one.age = self._bets.age[place, :count]
        return zlib.compress(_encoder.encode(self._state), 1)

    @classmethod
    def restore(cls, data: bytes) -> HistogramMonitor:
        """The monitor that a snapshot was taken of: it goes on with the same alarms."""
        state = _decoder.decode(zlib.decompress(data))
        monitor = cls(
            {},
            {},
            segments_per_alarm=state.segments_per_alarm,
            features=state.features,
            reference_segments=state.reference_segments,
        )
        for one in state.watched:
            monitor._insert(one)
        monitor._state.recent = state.recent
        return monitor

    def _insert(self, one: _Watched) -> None:
        place = len(self._places)
        self._places[one.signal.name] = place
        self._state.watched.append(one)
        self._bets.add(len(one.signal.values) + 2 if one.signal.scale == "categories" else SLOTS)
        if one.reference is not None:
            self._bets.place(place, one.signal, one.reference)
            self._bets.evidence[place, : len(one.evidence)] = one.evidence
            self._bets.age[place, : len(one.age)] = one.age

    def _learn(self, place: int, one: _Watched, learner: Learner) -> None:
        back = learner.is_back(one.signal, self.level)
        one.reference = learner.before if back else learner.build(one.signal)
        learner.before = None
        if one.reference is not None:
            self._bets.place(place, one.signal, one.reference)
        if back or learner.done:
            one.learner = None

    def _start_over(self, place: int, alarm: Alarm) -> None:
        one = self._state.watched[place]
        before = one.reference if one.learner is None else None
        one.reference, one.learner = None, Learner(REBUILDS[0], before=before, doubt=alarm.since)
        self._bets.clear(place)

    def _alarm(self, place: int, time_ms: int) -> Alarm:
        one = self._state.watched[place]
        reference = one.reference
        if reference is None:
            raise AssertionError(f"{one.signal.name} alarmed without a reference")
        degrees, slots = len(reference.tilts), self._bets.slots[place]
        last = int(slots.sum())
        whole = [slot for slot in system_slots(one.signal) if 2 * slots[slot] >= last]
        bet = plainest(*self._bets.above(place, self.level), degrees, whole)
        channel, evidence, log_weight, usual, now = self._bets.bet(place, bet, time_ms)
        age = int(self._bets.age[place, bet])
        since = age - last // 2  # the change lies anywhere in the segment in which W left zero
        sums = self._state.recent.over(place, age)
        mean, deviation = moments(one.signal, *sums[[recent.FINITE, recent.SUM_Z, recent.SUM_Z2]].tolist())
        missing = reference.totals[MISSING if degrees else -1] / reference.rows
        before = {"missing": float(missing), "mean": reference.mean, "deviation": reference.deviation}
        after = {"missing": float(sums[recent.MISSING] / sums[recent.ROWS]), "mean": mean, "deviation": deviation}
        if channel >= degrees:
            key = _share(one.signal, channel - degrees)
            before[key], after[key] = usual, min(max(now, 0.0), 1.0)
        known = [key for key in before if np.isfinite(before[key]) and np.isfinite(after[key])]
        return Alarm(
            family=family_of(one.signal.name),
            signal=one.signal.name,
            detector=DETECTOR,
            aspect=aspect_of(channel, degrees, one.signal),
            statistic=evidence,
            threshold=self.level - log_weight,
            before={key: before[key] for key in known},
            after={key: after[key] for key in known},
            since=since,
        )


def _share(signal: Signal, slot: int) -> str:
    """What a figure about one slot is called: a system slot's aspect says which; a sensitive value is not shown."""
    if slot in system_slots(signal) or signal.sensitive:
        return "share"
    if signal.scale == "categories":
        return f"share of {signal.values[slot]}"
    if slot >= len(signal.edges):
        return "share"
    return f"share of {signal.edges[max(slot - 1, 0)]:.4g} to {signal.edges[slot]:.4g}"


_encoder = msgspec.msgpack.Encoder(enc_hook=from_array)
_decoder = msgspec.msgpack.Decoder(_State, dec_hook=to_array)
