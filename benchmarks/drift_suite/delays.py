"""Delay of detection: one of 30 features changes, everything else is calm.

The budget is divided among 30 features; the one that changes is simulated. A change falls anywhere within a segment;
the delay is counted in events, from the change to the end of the segment that alarms. Rows of the reference are really
drawn, segments after it as counts. 50 calm segments come before the change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from drift_suite import distributions as kinds
from drift_suite.baselines import psi
from drift_suite.figures import NEVER, Cell, Figure, Goal, Options
from drift_suite.scoring import mean_and_error
from drift_suite.segments import Watched, by_signal, counted, drawn, independent_reference, slot_probabilities
from numpy.typing import NDArray
from river.drift import ADWIN

from penstock.schemas.profile import MISSING

FEATURES = 30
REFERENCE_SEGMENTS = 1_000
CALM_SEGMENTS = 50
RUNS = 400
PATIENCE = 2_000
"""Segments after which a change counts as never found."""
SIGNAL = "feature:f0"


class Setting(NamedTuple):
    """Rows of a segment, and of how many segments one may alarm falsely."""

    rows: int
    segments_per_alarm: float


class Change(NamedTuple):
    """What the feature's slot probabilities become; `missing` before and after."""

    after: kinds.Independent
    missing: tuple[float, float] = (0.0, 0.0)


LARGE, SMALL = Setting(500, 10_000), Setting(100, 50_000)
MEASURES: dict[str, tuple[Setting, Change, Goal | None, str]] = {
    "mean + .1 sd, segments of 500": (LARGE, Change(kinds.shifted(0.1)), Goal("≤", 3_800), "3,847"),
    "mean + .25 sd, segments of 500": (LARGE, Change(kinds.shifted(0.25)), Goal("≤", 900), "913"),
    "mean + .5 sd, segments of 500": (LARGE, Change(kinds.shifted(0.5)), Goal("≤", 480), "484"),
    "spread × 2, segments of 500": (LARGE, Change(kinds.shifted(0, 2)), None, "388"),
    "missing 1 → 3 %, segments of 500": (LARGE, Change(kinds.NORMAL, (0.01, 0.03)), None, "2,174"),
    "mean + .1 sd, segments of 100": (SMALL, Change(kinds.shifted(0.1)), Goal("≤", 3_800), "3,820"),
    "mean + .25 sd, segments of 100": (SMALL, Change(kinds.shifted(0.25)), Goal("≤", 700), "715"),
    "mean + .5 sd, segments of 100": (SMALL, Change(kinds.shifted(0.5)), Goal("≤", 220), "227"),
    "spread × 2, segments of 100": (SMALL, Change(kinds.shifted(0, 2)), Goal("≤", 120), "116"),
    "missing 1 → 3 %, segments of 100": (SMALL, Change(kinds.NORMAL, (0.01, 0.03)), Goal("≤", 1_800), "1,845"),
}
BUDGETS = (100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)
"""Segments per false alarm, for the curve."""
CURVE_SEGMENTS = 5_000


class Delays(NamedTuple):
    """Per run: Penstock's, and those of the others."""

    penstock: list[float]
    adwin: list[float]
    psi: list[float]


def cells(options: Options) -> list[Cell]:
    measures = [Cell("delays", name, measure, (options, name)) for name in MEASURES]
    return [*measures, Cell("delays", "the curve of delay against false alarms", curve, (options,))]


def measure(options: Options, name: str) -> list[Figure]:
    setting, change, goal, prototype = MEASURES[name]
    found = delays(options, setting, change, seed=options.seed + list(MEASURES).index(name))
    mean, error = mean_and_error(found.penstock)
    others = {
        "always fire": (setting.rows + 1) / 2, "never fire": NEVER,
        "ADWIN on means": _typical(found.adwin), "PSI > .1": _typical(found.psi),
    }  # fmt: skip
    return [Figure(name, "events", mean, goal, others, prototype, error=error)]


def curve(options: Options) -> list[Figure]:
    """Mean + .25 sd in segments of 500 for budgets from a toy's to a strict one, and what each brings in calm."""
    figures = []
    calm = options.size(CURVE_SEGMENTS, 20)
    random = np.random.default_rng(options.seed)
    watched = independent_reference(random, kinds.NORMAL, 500, options.size(REFERENCE_SEGMENTS, 60), FEATURES)
    counts = drawn(random, slot_probabilities(watched, kinds.NORMAL), 500, calm)
    for budget in BUDGETS:
        found = delays(
            options, Setting(500, budget), Change(kinds.shifted(0.25)), seed=options.seed, runs=options.size(100, 2)
        )
        mean, error = mean_and_error(found.penstock)
        monitor = watched.monitor(budget)
        alarms = sum(
            len(monitor.update(by_signal(counts, segment), rows=500, time_ms=segment * 3_600_000))
            for segment in range(calm)
        )
        figures.append(
            Figure(
                f"mean + .25 sd, one false alarm in {budget:,.0f} segments", "events", mean, error=error,
                note=f"{alarms} false alarms in {calm:,} calm segments; {calm / budget:,.2g} allowed",
            )
        )  # fmt: skip
    return figures


def delays(options: Options, setting: Setting, change: Change, *, seed: int, runs: int | None = None) -> Delays:
    random = np.random.default_rng(seed)
    found = Delays([], [], [])
    while len(found.penstock) < (runs or options.size(RUNS, 2)):
        one = _run(random, setting, change, options.size(REFERENCE_SEGMENTS, 60))
        if one is not None:
            for values, delay in zip(found, one, strict=True):
                values.append(delay)
    return found


def _run(
    random: np.random.Generator, setting: Setting, change: Change, reference_segments: int
) -> tuple[float, float, float] | None:
    """Delays of Penstock, ADWIN and PSI, of the same segments; None where Penstock alarmed before the change.

    Its delay would be of learning a new reference then; how often that happens is counted under `false_alarms`.
    """
    size = setting.rows
    before = kinds.NORMAL
    if change.missing[0]:
        rows = before.sample(random, size * reference_segments)
        rows[random.random(len(rows)) < change.missing[0]] = np.nan
        watched = Watched.fit(rows[:, None], size)
    else:
        watched = independent_reference(random, before, size, reference_segments)
    chances = [
        _chances(watched, one, missing) for one, missing in zip((before, change.after), change.missing, strict=True)
    ]
    offset = int(random.integers(0, size))

    def segment(number: int) -> NDArray[np.int64]:
        """Numbers from -CALM_SEGMENTS; the change comes `offset` rows after the beginning of segment 0."""
        old = size if number < 0 else offset if number == 0 else 0
        drawn: NDArray[np.int64] = random.multinomial(old, chances[0]) + random.multinomial(size - old, chances[1])
        return drawn

    monitor = watched.monitor(setting.segments_per_alarm, features=FEATURES)
    adwin, values = ADWIN(delta=0.002, clock=1), _middles(watched)
    totals = watched.references[SIGNAL].totals
    pending: dict[str, Callable[[NDArray[np.int64], int], bool]] = {
        "penstock": lambda slots, time: bool(monitor.update({SIGNAL: counted(slots)}, rows=size, time_ms=time)),
        "adwin": lambda slots, _: _adwin_fires(adwin, float(slots @ values) / max(1, int(slots[:MISSING].sum()))),
        "psi": lambda slots, _: bool(psi(slots[None, :], totals)[0] > 0.1),
    }
    found = dict.fromkeys(pending, NEVER)
    number = -CALM_SEGMENTS
    while number < (PATIENCE if "penstock" in pending else 200) and pending:
        slots = segment(number)
        for name, fires in [*pending.items()]:
            if not fires(slots, kinds.START_MS + (number + CALM_SEGMENTS) * 3_600_000):
                continue
            if number < 0 and name == "penstock":
                return None
            if number >= 0:
                found[name] = (number + 1) * size - offset
                del pending[name]
        number += 1
    return found["penstock"], found["adwin"], found["psi"]


def _adwin_fires(detector: ADWIN, value: float) -> bool:
    detector.update(value)
    return bool(detector.drift_detected)


def _chances(watched: Watched, distribution: kinds.Independent, missing: float) -> NDArray[np.float64]:
    chances = distribution.slot_probabilities(watched.signals[SIGNAL].edges) * (1 - missing)
    chances[MISSING] = missing
    return chances


def _middles(watched: Watched) -> NDArray[np.float64]:
    edges = watched.signals[SIGNAL].edges
    values = np.zeros(36)
    values[0], values[1 : len(edges)] = edges[0], (edges[1:] + edges[:-1]) / 2
    values[32], values[33] = edges[0], edges[-1]
    return values


def _typical(values: list[float]) -> float:
    """The mean, where at least 95 of 100 are found; of those."""
    finite = np.array(values)[np.isfinite(values)]
    return float(finite.mean()) if len(finite) >= 0.95 * len(values) else NEVER
