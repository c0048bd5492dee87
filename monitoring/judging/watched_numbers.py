"""Numbers and rates that come once per segment, each under the detectors that were chosen for it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.monitoring.alarms import Alarm, Aspect, Family
from penstock.monitoring.detectors import Detector, make_detector, restore_detector
from penstock.monitoring.detectors.errors import BernoulliCUSUM
from penstock.monitoring.detectors.numbers import NumberCUSUM, Side
from penstock.monitoring.judging.detector_choice import HISTOGRAM, DetectorChoice

Budget = Callable[[Family], float]
"""Segments per false alarm of one signal of a family."""
Reference = Callable[[], NDArray[np.float64] | None]

_SEPARATOR = "\x00"
_FEWEST = 50
"""Values that a detector can learn from."""


class Watch(NamedTuple):
    """A signal, and what an alarm about it says.

    figure  what the number is called before people
    shown   from the number that is judged to the one that people read
    rows    of an update: a segment's, or 1 where rows are counted
    """

    family: Family
    signal: str
    aspect: Aspect
    figure: str
    slice: str | None = None
    shown: Callable[[float], float] = float
    rows: int = 1

    @property
    def key(self) -> str:
        return _SEPARATOR.join((self.signal, self.aspect, self.slice or ""))


class _Learning(msgspec.Struct):
    """A detector that must be calibrated on values of before, until there are enough of them."""

    name: str
    values: list[float] = []


class WatchedState(msgspec.Struct, array_like=True):
    """One signal's detectors in a snapshot."""

    key: str
    family: Family
    detectors: list[bytes]
    learning: list[_Learning]


class _Watched(NamedTuple):
    family: Family
    detectors: list[Detector]
    learning: list[_Learning]


class WatchedNumbers:
    """One detector or more for each number or rate; made when it is first seen.

    A detector of River's learns its strictness from the first `reference_segments` values. One without a known rate of
    false alarms gives evidence only: see `take_evidence`.
    """

    def __init__(
        self, choice: DetectorChoice, budget: Budget, *, segment_rows: int, reference_segments: int, seasonal: bool
    ) -> None:
        self._choice, self._budget, self._segment_rows = choice, budget, segment_rows
        self._reference_segments, self._seasonal = reference_segments, seasonal
        self._watched: dict[str, _Watched] = {}
        self._sizes: Counter[Family] = Counter()
        self._evidence: list[Alarm] = []

    def number(
        self,
        watch: Watch,
        value: float,
        time_ms: int,
        *,
        default: tuple[str, ...] = ("number_cusum",),
        reference: Reference | None = None,
    ) -> list[Alarm]:
        """One more value; `reference` is asked once, for values of before, in order."""
        watched = self._of(watch, default, reference or _nothing)
        if not math.isfinite(value):
            return []
        for detector in watched.detectors:
            if isinstance(detector, NumberCUSUM):
                detector.update(value, time_ms)
            else:
                detector.update(value)
        self._learn(watched, value)
        return self._alarms(watch, watched)

    def rate(self, watch: Watch, rows: int, events: int, *, before: int = 0) -> list[Alarm]:
        """`events` of `rows`. Of a rate that is first seen now, `before` rows without any went before."""
        if not rows:
            return []
        if before and watch not in self:
            self.rate(watch, before, 0)
        watched = self._of(watch, ("bernoulli_cusum",), _nothing)
        for detector in watched.detectors:
            if isinstance(detector, BernoulliCUSUM):
                detector.update_counts(rows, events)
            elif detector.takes == "binary":
                _update_rows(detector, rows, events)
            else:
                detector.update(events / rows)
        self._learn(watched, events / rows)
        return self._alarms(watch, watched)

    def take_evidence(self, alarms: Iterable[Alarm]) -> list[Alarm]:
        """What detectors without a known rate of false alarms said since the last call, of the alarms' signals."""
        evidence, self._evidence = self._evidence, []
        alarmed = {alarm.signal for alarm in alarms}
        return [alarm for alarm in evidence if alarm.signal in alarmed]

    @property
    def sizes(self) -> Counter[Family]:
        """How many detectors each family has."""
        return self._sizes.copy()

    @property
    def size(self) -> int:
        return self._sizes.total()

    @property
    def signals(self) -> set[str]:
        """What is watched."""
        return {key.partition(_SEPARATOR)[0] for key in self._watched}

    def __contains__(self, watch: Watch) -> bool:
        return watch.key in self._watched

    def rebudget(self) -> None:
        """The budget has moved: so do the thresholds that can."""
        for watched in self._watched.values():
            for detector in watched.detectors:
                if isinstance(detector, NumberCUSUM | BernoulliCUSUM):
                    detector.false_alarm_every = self._every(watched.family, detector.takes)

    def forget(self, families: Collection[Family]) -> None:
        """These begin anew."""
        self._watched = {key: watched for key, watched in self._watched.items() if watched.family not in families}
        for family in families:
            del self._sizes[family]

    def state(self) -> list[WatchedState]:
        return [
            WatchedState(key, watched.family, [detector.snapshot() for detector in watched.detectors], watched.learning)
            for key, watched in self._watched.items()
        ]

    def restore(self, state: list[WatchedState]) -> None:
        self._watched = {
            each.key: _Watched(each.family, [restore_detector(data) for data in each.detectors], each.learning)
            for each in state
        }
        self._sizes = Counter()
        for family, detectors, learning in self._watched.values():
            self._sizes[family] += len(detectors) + len(learning)

    def _of(self, watch: Watch, default: tuple[str, ...], reference: Reference) -> _Watched:
        if (known := self._watched.get(watch.key)) is not None:
            return known
        names = [name for name in self._choice.of(watch.signal, *default) if name != HISTOGRAM]
        self._sizes[watch.family] += len(names)
        watched = self._watched[watch.key] = _Watched(watch.family, [], [])
        values = reference() if names else None
        for name in names:
            self._add(watched, name, values)
        self.rebudget()
        return watched

    def _add(self, watched: _Watched, name: str, values: NDArray[np.float64] | None) -> None:
        if name == "bernoulli_cusum":
            watched.detectors.append(BernoulliCUSUM())
        elif name.startswith("number_cusum"):
            sides: dict[str, Side] = {"number_cusum_rises": "rises", "number_cusum_falls": "falls"}
            side = sides.get(name, "both")
            detector = NumberCUSUM(side=side, learn=self._reference_segments, seasonal=self._seasonal)
            if values is not None and np.isfinite(values).sum() >= _FEWEST:
                detector.learn_from(values)
            watched.detectors.append(detector)
        elif values is not None and len(values) >= _FEWEST:
            takes = make_detector(name, false_alarm_every=1.0).takes
            reference = values if takes == "number" else _rows_of(values, self._segment_rows)
            every = self._every(watched.family, takes)
            watched.detectors.append(make_detector(name, false_alarm_every=every, reference=reference))
        else:
            watched.learning.append(_Learning(name, []))

    def _learn(self, watched: _Watched, value: float) -> None:
        for learning in list(watched.learning):
            learning.values.append(value)
            if len(learning.values) >= self._reference_segments:
                watched.learning.remove(learning)
                self._add(watched, learning.name, np.array(learning.values))

    def _alarms(self, watch: Watch, watched: _Watched) -> list[Alarm]:
        alarmed = [detector for detector in watched.detectors if detector.drift_detected]
        self._evidence += (_alarm(watch, detector) for detector in alarmed if not detector.calibrated)
        return [_alarm(watch, detector) for detector in alarmed if detector.calibrated]

    def _every(self, family: Family, takes: str) -> float:
        segments = self._budget(family)
        return segments * self._segment_rows if takes == "binary" else segments


def _update_rows(detector: Detector, rows: int, events: int) -> None:
    """Up to the row that alarms: the next one would start the detector anew, and the alarm be lost."""
    for event in _spread(rows, events).tolist():
        detector.update(event)
        if detector.drift_detected:
            return


def _rows_of(rates: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    """Segments of so many rows with these rates of events, row by row."""
    return np.concatenate([_spread(rows, round(rate * rows)) for rate in rates.tolist()]).astype(np.float64)


def _spread(rows: int, events: int) -> NDArray[np.bool_]:
    """Events at random places: their order within a segment is not known, and even distances are no chance.

    >>> int(_spread(100, 7).sum()), bool((_spread(100, 7) == _spread(100, 7)).all())
    (7, True)
    """
    places = np.random.default_rng((rows, events)).permutation(rows)
    spread: NDArray[np.bool_] = places < events
    return spread


def _alarm(watch: Watch, detector: Detector) -> Alarm:
    before, after = (_figures(watch, figures) for figures in (detector.before, detector.after))
    return Alarm(
        watch.family, watch.signal, detector.name, watch.aspect, detector.statistic, detector.threshold,
        before, after, detector.since * watch.rows, watch.slice,
    )  # fmt: skip


def _figures(watch: Watch, figures: Mapping[str, float]) -> dict[str, float]:
    """A detector has one figure, under a name of its own."""
    return dict.fromkeys((watch.figure,), watch.shown(next(iter(figures.values())))) if figures else {}


def _nothing() -> None:
    return None
