"""Every drift detector of River by name, with what an unattended service needs and they lack.

They are used as they are, but for this: a NaN or an infinity, which would blind ADWIN and PageHinkley for good, is
counted and left out; their state can be kept and restored exactly (`river_state`); and how strict they are can be found
from a reference and a false-alarm budget (`calibration`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from river import drift

from penstock.monitoring.detectors.calibration import calibrate
from penstock.monitoring.detectors.river_state import attributes, set_attributes
from penstock.monitoring.detectors.state import UnreadableState, decode, encode

Parameters = dict[str, float | int | str]

_SEED = 20_130_101
_REACH = 8.0
"""With a reference, a value counts as at most so many of its deviations: one outlier is no drift."""


@dataclass(frozen=True)
class _Kind:
    """One of River's classes.

    strict    strictness (0: alarms all the time) → the parameters that give it
    slope     nats by which the logarithm of its rate of false alarms falls per strictness, by its theory
    fixed     parameters that Penstock sets otherwise than River: a seed, so that runs repeat
    updates   a calibration's length: about half a second each on one core
    level     the detector's present mean, where it must be asked whether it rose
    """

    make: Callable[..., Any]
    takes: Literal["number", "binary"]
    strict: Callable[[float], Parameters]
    updates: int
    slope: float | None = None
    fixed: Parameters | None = None
    level: Callable[[Any], float] | None = None
    rises: Parameters | None = None
    of_successes: bool = False
    strictest: float = 700.0


def _never(_: float) -> Parameters:
    return {}


KINDS: dict[str, _Kind] = {
    "adwin": _Kind(
        drift.ADWIN,
        "number",
        lambda s: {"delta": math.exp(-s)},
        40_000,
        1.0,
        level=lambda river: float(river.estimation),
    ),
    "kswin": _Kind(
        drift.KSWIN,
        "number",
        lambda s: {"alpha": math.exp(-s)},
        3_000,
        1.0,
        strictest=36.0,  # two samples of 30 have no smaller p-value
        fixed={"seed": _SEED},
        level=lambda river: sum(river.window) / max(1, len(river.window)),
    ),
    "page_hinkley": _Kind(
        drift.PageHinkley,
        "number",
        lambda s: {"threshold": 2.0 * s, "delta": 0.25},  # in deviations: looks for shifts of half a one
        80_000,
        rises={"mode": "up"},
    ),
    "dummy_drift_detector": _Kind(drift.DummyDriftDetector, "number", _never, 0, fixed={"seed": _SEED}),
    "no_drift": _Kind(drift.NoDrift, "number", _never, 0),
    "ddm": _Kind(
        drift.binary.DDM,
        "binary",
        lambda s: {"drift_threshold": math.sqrt(2 * s), "warning_threshold": 0.7 * math.sqrt(2 * s)},
        80_000,
        1.0,
    ),
    "eddm": _Kind(drift.binary.EDDM, "binary", lambda s: {"beta": min(0.95, math.exp(-s / 20))}, 80_000),
    "fhddm": _Kind(
        drift.binary.FHDDM, "binary", lambda s: {"confidence_level": math.exp(-s)}, 80_000, 1.0, of_successes=True
    ),
    "hddm_a": _Kind(
        drift.binary.HDDMA,
        "binary",
        lambda s: {"drift_confidence": math.exp(-s), "warning_confidence": math.exp(-0.7 * s)},
        25_000,
        1.0,
    ),
    "hddm_w": _Kind(
        drift.binary.HDDMW,
        "binary",
        lambda s: {"drift_confidence": math.exp(-s), "warning_confidence": math.exp(-0.7 * s)},
        25_000,
        1.0,
    ),
}
"""By name; a binary detector's 1 is an error, whatever River's own convention is (FHDDM counts successes)."""

_ONLY_RISES = tuple(name for name, kind in KINDS.items() if kind.level or kind.rises)
NAMES = tuple(sorted(KINDS)) + tuple(f"{name}_rises" for name in sorted(_ONLY_RISES))
"""`adwin_rises` and the like alarm only where the mean rose: on errors a fall is good news."""


class RiverDetector:
    """One of River's drift detectors under Penstock's `Detector` protocol.

    River's detectors do not say how near to an alarm they are: `statistic` is 1 at an alarm and 0 otherwise,
    `threshold` 1. So they rank behind detectors whose statistic is evidence in nats.

    `calibrated` says whether the parameters were set by `fit` so as to keep a budget. If not, they are River's own and
    the detector is for evidence: it has no known rate of false alarms.

    >>> from random import Random
    >>> random = Random(1)
    >>> detector = RiverDetector("adwin_rises")
    >>> for number in range(2_000):
    ...     detector.update(random.gauss(0 if number < 1_000 else 1, 1))
    ...     if detector.drift_detected:
    ...         print(number)
    1055
    >>> detector.update(float("nan"))
    >>> detector.skipped
    1
    """

    def __init__(
        self,
        name: str,
        parameters: Parameters | None = None,
        *,
        centre: float = 0.0,
        scale: float = 1.0,
        reach: float = math.inf,
        calibrated: bool = False,
    ) -> None:
        """`name` is one of `NAMES`; values reach River as (x - centre) / scale, clipped to ±`reach`."""
        self.name = name
        self.rises_only = name.endswith("_rises")
        self._kind = KINDS[name.removesuffix("_rises")]
        self.takes: Literal["number", "binary"] = self._kind.takes
        self.parameters: Parameters = (
            dict(self._kind.fixed or {}) | dict((self.rises_only and self._kind.rises) or {}) | dict(parameters or {})
        )
        self._centre, self._scale, self._reach = centre, scale, reach
        self.calibrated = calibrated
        self.skipped = 0
        self.reset()

    @classmethod
    def fit(cls, name: str, false_alarm_every: float, reference: NDArray[np.float64]) -> RiverDetector:
        """Calibrated on a reference of values in order, where that can be done; otherwise `calibrated` is False.

        Numbers are standardised by the reference's median and spread, for most of River's detectors have a scale of
        their own in mind.
        """
        kind = KINDS[name.removesuffix("_rises")]
        if kind.strict is _never:
            periodic: Parameters = {"t_0": math.ceil(false_alarm_every)} if "dummy" in name else {}
            return cls(name, periodic, calibrated=True)
        values = np.asarray(reference, np.float64).ravel()
        values = values[np.isfinite(values)]
        centre, scale, reach = 0.0, 1.0, math.inf
        if kind.takes == "number" and len(values):
            centre, scale, reach = float(np.median(values)), _spread(values), _REACH

        def made(strictness: float, calibrated: bool = False) -> RiverDetector:
            parameters = kind.strict(strictness)
            return cls(name, parameters, centre=centre, scale=scale, reach=reach, calibrated=calibrated)

        strictness = calibrate(
            made, values, false_alarm_every, updates=kind.updates, slope=kind.slope, strictest=kind.strictest
        )
        if strictness is None:
            return cls(name, centre=centre, scale=scale, reach=reach)
        return made(strictness, calibrated=True)

    @property
    def drift_detected(self) -> bool:
        return self._drift_detected

    @property
    def statistic(self) -> float:
        """1 at an alarm, 0 otherwise."""
        return float(self._drift_detected)

    @property
    def threshold(self) -> float:
        return 1.0

    @property
    def before(self) -> dict[str, float]:
        """The mean that the detector had before its last update, where it keeps one."""
        return {} if self._before is None else {"mean": self._before * self._scale + self._centre}

    @property
    def after(self) -> dict[str, float]:
        """The mean that it has now: at an alarm that of the rows since the change."""
        if self._kind.level is None or self._before is None:
            return {}
        return {"mean": self._kind.level(self._river) * self._scale + self._centre}

    @property
    def since(self) -> int:
        """ADWIN's window at an alarm; 0 where the detector does not tell."""
        return int(self._river.width) if self._drift_detected and hasattr(self._river, "width") else 0

    def reset(self) -> None:
        """As new, but for `skipped`."""
        self._river = self._kind.make(**self.parameters)
        self._drift_detected = False
        self._before: float | None = None

    def clone(self) -> Self:
        return type(self)(
            self.name,
            self.parameters,
            centre=self._centre,
            scale=self._scale,
            reach=self._reach,
            calibrated=self.calibrated,
        )

    def update(self, x: float) -> None:
        """`x`: a number; of a binary detector whether this row was an error. What is not finite is skipped."""
        if not math.isfinite(x):
            self.skipped += 1
            return
        kind = self._kind
        if kind.takes == "binary":
            value: float = int(not x) if kind.of_successes else int(bool(x))
        else:
            value = max(-self._reach, min(self._reach, (x - self._centre) / self._scale))
        if kind.level is not None:
            self._before = kind.level(self._river)
        self._river.update(value)
        self._drift_detected = bool(self._river.drift_detected)
        if self._drift_detected and self.rises_only and kind.level is not None and self._before is not None:
            self._drift_detected = kind.level(self._river) > self._before

    def snapshot(self) -> bytes:
        parameters = {
            "parameters": self.parameters,
            "centre": self._centre,
            "scale": self._scale,
            "reach": self._reach,
            "calibrated": self.calibrated,
        }
        state = {field: getattr(self, field) for field in _PLAIN} | {"river": attributes(self._river)}
        return encode(self.name, parameters, state)

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """Raises UnreadableState."""
        snapshot = decode(data)
        try:
            detector = cls(snapshot.detector, **snapshot.parameters)
            for field in _PLAIN:
                setattr(detector, field, snapshot.state[field])
            set_attributes(detector._river, snapshot.state["river"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnreadableState(snapshot.detector, f"a field is missing or wrong ({error})") from error
        return detector


_PLAIN = ("_drift_detected", "_before", "skipped")


def _spread(values: NDArray[np.float64]) -> float:
    """A deviation that outliers do not move; of a constant 1.

    >>> _spread(np.array([1.0, 1.0, 1.0]))
    1.0
    """
    low, high = np.quantile(values, [0.25, 0.75])
    spread = float(high - low) / 1.349 or float(values.std())
    return spread if math.isfinite(spread) and spread > 0 else 1.0
