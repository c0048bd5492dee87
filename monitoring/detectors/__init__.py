"""Drift detectors by name: River's, and Penstock's own.

| name | takes | looks for |
|---|---|---|
| bernoulli_cusum | binary | a rise of a rate: errors |
| number_cusum, number_cusum_rises, number_cusum_falls | number | a shift of a number that comes once per segment |
| conformal_distance | row | a change of the joint distribution of a row's numbers |
| adwin, kswin, page_hinkley (and each with _rises) | number | River's |
| ddm, eddm, fhddm, hddm_a, hddm_w | binary | River's: a rise of a rate |
| dummy_drift_detector, no_drift | number | River's: always fire, never fire |

River's class names are names too (ADWIN, PageHinkley, HDDM_A).
"""

from __future__ import annotations

import difflib
from typing import Any, Literal, Protocol, Self

from numpy.typing import ArrayLike

from penstock.schemas.errors import PenstockError

OWN_NAMES = ("bernoulli_cusum", "conformal_distance", "number_cusum", "number_cusum_falls", "number_cusum_rises")


class Detector(Protocol):
    """What is common to all of them, River's way: `update(x)`, then read `drift_detected`.

    Everything that a detector does follows from its parameters and its inputs: no clock, no unseeded randomness.
    After an alarm the next update starts anew.

    name            as `make_detector` knows it
    takes           a number, a binary (1: an error) or a row of numbers
    calibrated      whether its rate of false alarms is known; if not, it only gives evidence
    skipped         inputs that were not finite: counted and left out, they never blind it
    drift_detected  whether the last update gave an alarm
    statistic       and
    threshold       in nats where there is evidence to be had: at an alarm statistic ≥ threshold
    before, after   figures for people, under the same names
    since           updates since the change began, as far as known
    """

    @property
    def name(self) -> str: ...

    @property
    def takes(self) -> Literal["number", "binary", "row"]: ...

    @property
    def calibrated(self) -> bool: ...

    @property
    def skipped(self) -> int: ...

    @property
    def drift_detected(self) -> bool: ...

    @property
    def statistic(self) -> float: ...

    @property
    def threshold(self) -> float: ...

    @property
    def before(self) -> dict[str, float]: ...

    @property
    def after(self) -> dict[str, float]: ...

    @property
    def since(self) -> int: ...

    def update(self, x: Any, /) -> None: ...

    def reset(self) -> None:
        """Forget what was seen, as after an alarm."""

    def clone(self) -> Self:
        """One with the same parameters that has seen nothing."""

    def snapshot(self) -> bytes:
        """The whole state: `restore_detector` gives a detector that goes on exactly as this one would."""


class UnknownDetector(PenstockError):
    """There is no detector of this name.

    >>> print(UnknownDetector("adwim", ("adwin", "ddm")))
    Detector 'adwim' is unknown; expected one of adwin, ddm. Did you mean adwin?
    """

    exit_code = 2

    def __init__(self, name: str, names: tuple[str, ...]) -> None:
        self.name, self.names = name, names
        near = difflib.get_close_matches(name.lower(), names, 1)
        super().__init__(
            f"Detector {name!r} is unknown; expected one of {', '.join(names)}."
            + (f" Did you mean {near[0]}?" if near else "")
        )


def detector_names() -> tuple[str, ...]:
    """All of them, in alphabetical order."""
    from penstock.monitoring.detectors.river_detectors import NAMES

    return tuple(sorted((*OWN_NAMES, *NAMES)))


def canonical(name: str) -> str:
    """The name as `detector_names` has it. Raises UnknownDetector.

    >>> canonical("ADWIN"), canonical("PageHinkley"), canonical("HDDM_A")
    ('adwin', 'page_hinkley', 'hddm_a')
    """
    names = detector_names()
    found = {known.replace("_", ""): known for known in names}.get(name.lower().replace("_", "").replace("-", ""))
    if found is None:
        raise UnknownDetector(name, names)
    return found


def make_detector(
    name: str, *, false_alarm_every: float, reference: ArrayLike | None = None, rises_only: bool = False
) -> Detector:
    """A detector that gives at most one false alarm in `false_alarm_every` updates, where that can be had.

    `reference` are values (of a row detector: rows) from before, in order. Penstock's own detectors learn from them
    what they would otherwise learn from their first inputs; River's are calibrated by them, which takes about a second
    (KSWIN: five), and are `calibrated = False` without. `rises_only` is the same as a name that ends in `_rises`.

    Raises UnknownDetector.

    >>> make_detector("ADWIN", false_alarm_every=1_000).calibrated
    False
    """
    import numpy as np

    known = canonical(name)
    if rises_only and f"{known}_rises" in detector_names():
        known += "_rises"
    if known not in OWN_NAMES:
        from penstock.monitoring.detectors.river_detectors import RiverDetector

        return RiverDetector.fit(known, false_alarm_every, np.asarray([] if reference is None else reference, float))
    detector = _own(known, false_alarm_every)
    for value in () if reference is None else np.asarray(reference, float):
        detector.update(value)
    return detector


def restore_detector(data: bytes) -> Detector:
    """The detector that wrote this snapshot. Raises UnreadableState."""
    from penstock.monitoring.detectors.state import UnreadableState, decode

    name = decode(data).detector
    if name not in detector_names():
        raise UnreadableState(name, "this Penstock has no such detector")
    if name == "bernoulli_cusum":
        from penstock.monitoring.detectors.errors import BernoulliCUSUM

        return BernoulliCUSUM.restore(data)
    if name == "conformal_distance":
        from penstock.monitoring.detectors.joint import ConformalDistance

        return ConformalDistance.restore(data)
    if name in OWN_NAMES:
        from penstock.monitoring.detectors.numbers import NumberCUSUM

        return NumberCUSUM.restore(data)
    from penstock.monitoring.detectors.river_detectors import RiverDetector

    return RiverDetector.restore(data)


def _own(name: str, false_alarm_every: float) -> Detector:
    if name == "bernoulli_cusum":
        from penstock.monitoring.detectors.errors import BernoulliCUSUM

        return BernoulliCUSUM(false_alarm_every)
    if name == "conformal_distance":
        from penstock.monitoring.detectors.joint import ConformalDistance

        return ConformalDistance(false_alarm_every)
    from penstock.monitoring.detectors.numbers import NumberCUSUM

    sides: dict[str, Literal["rises", "falls", "both"]] = {"number_cusum_rises": "rises", "number_cusum_falls": "falls"}
    return NumberCUSUM(false_alarm_every, side=sides.get(name, "both"))
