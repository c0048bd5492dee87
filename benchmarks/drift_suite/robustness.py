"""State, restarts, and values that break detectors.

Ten normal features in segments of 500 rows, one false alarm in 10,000 segments over all, 200 reference segments. Faults
strike the first feature; whether the monitor outlives them is asked of the same feature afterwards: its mean rises by
one standard deviation, and that must be alarmed too. River's ADWIN gets the first feature's rows one by one, as they
are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from drift_suite.distributions import START_MS
from drift_suite.figures import NEVER, Cell, Figure, Goal, Options
from drift_suite.segments import SEGMENT_MS, Watched, numbers
from numpy.typing import NDArray
from river.drift import ADWIN

from penstock.monitoring.alarms import Alarm
from penstock.monitoring.config import AlertsConfig, DriftConfig, LabelsConfig
from penstock.monitoring.histograms.monitor import HistogramMonitor
from penstock.monitoring.judging.judge import Judge
from penstock.schemas.summaries import SignalCounts

FEATURES = 10
ROWS = 500
REFERENCE_SEGMENTS = 200
SEGMENTS_PER_ALARM = 10_000.0
SIGNAL = "feature:f0"
CALM, FAULTY, AFTER = 10, 60, 60
"""Segments before the fault, with it, and after it, when the feature is well again but shifted."""
MOST_SEGMENTS = 5
STREAM_SEGMENTS = 400
CALM_START = 20
"""Segments of calm before each drift of that stream."""
RESTARTS = 25

Values = NDArray[np.float64]


class Fault(NamedTuple):
    """What happens to the feature's values, in place; how long (None: as long as the faulty stretch), and if it must be
    alarmed or must not."""

    strike: Callable[[Values, np.random.Generator], None]
    alarmed: bool
    once: bool = False


def _put(value: float, share: float = 1.0) -> Callable[[Values, np.random.Generator], None]:
    def strike(values: Values, random: np.random.Generator) -> None:
        if share == 1.0:
            values[:] = value
        elif share == 0.0:
            values[len(values) // 2] = value
        else:
            values[random.random(len(values)) < share] = value

    return strike


def _thousandfold(values: Values, _: np.random.Generator) -> None:
    values *= 1_000


FAULTS = {
    "one NaN": Fault(_put(np.nan, 0.0), alarmed=False, once=True),
    "one infinity": Fault(_put(np.inf, 0.0), alarmed=False, once=True),
    "one outlier of 1e30": Fault(_put(1e30, 0.0), alarmed=False, once=True),
    "None in 1 % of the rows": Fault(_put(np.nan, 0.01), alarmed=True),
    "infinite in 1 % of the rows": Fault(_put(np.inf, 0.01), alarmed=True),
    "all missing": Fault(_put(np.nan), alarmed=True),
    "all infinite": Fault(_put(np.inf), alarmed=True),
    "unit change × 1,000": Fault(_thousandfold, alarmed=True),
    "stuck at one value": Fault(_put(0.3), alarmed=True),
}
EMPTY = "empty segments"


def cells(options: Options) -> list[Cell]:
    return [
        Cell("robustness", "broken values", broken_values, (options,)),
        Cell("robustness", "state and restarts", state, (options,)),
    ]


def broken_values(options: Options) -> list[Figure]:
    random = np.random.default_rng(options.seed)
    watched = Watched.fit(random.standard_normal((ROWS * options.size(REFERENCE_SEGMENTS, 60), FEATURES)), ROWS)
    figures = []
    for name, fault in FAULTS.items():
        delay, alive, adwin_delay, adwin_alive = _outcome(watched, fault, random)
        others = {"ADWIN, rows": adwin_delay, "always fire": 1.0, "never fire": NEVER}
        if fault.alarmed:
            goal = Goal("≤", MOST_SEGMENTS)
            figures.append(Figure(f"{name}: alarm after", "segments", delay, goal, others))
        else:
            silent = {key: float(value > FAULTY) for key, value in others.items()}
            figures.append(Figure(f"{name}: silent", "", float(delay > FAULTY), Goal("=", 1), silent))
        figures.append(
            Figure(
                f"{name}: a later shift is alarmed", "", float(alive), Goal("=", 1),
                {"ADWIN, rows": float(adwin_alive), "always fire": 1.0, "never fire": 0.0},
            )
        )  # fmt: skip
    figures.append(
        Figure(f"{EMPTY}: a later shift is alarmed", "", float(_outlives_empty(watched, random)), Goal("=", 1))
    )
    return figures


def _outcome(watched: Watched, fault: Fault, random: np.random.Generator) -> tuple[float, bool, float, bool]:
    """Segments until the alarm, whether a shift after the fault is alarmed; the same of ADWIN."""
    monitor, adwin = watched.monitor(SEGMENTS_PER_ALARM), ADWIN()
    first, adwin_first, alive, adwin_alive = NEVER, NEVER, False, False
    for segment in range(CALM + FAULTY + AFTER):
        table = random.standard_normal((ROWS, FEATURES))
        in_fault = CALM <= segment < CALM + (1 if fault.once else FAULTY)
        if in_fault:
            fault.strike(table[:, 0], random)
        if segment >= CALM + FAULTY:
            table[:, 0] += 1.0
        with np.errstate(over="ignore"):
            alarmed = any(alarm.signal == SIGNAL for alarm in _update(monitor, watched, table, segment))
        adwin_alarmed = _feed(adwin, table[:, 0])
        if segment >= CALM + FAULTY:
            alive, adwin_alive = alive or alarmed, adwin_alive or adwin_alarmed
        elif segment >= CALM:
            since = segment - CALM + 1
            first = min(first, since) if alarmed else first
            adwin_first = min(adwin_first, since) if adwin_alarmed else adwin_first
    return first, alive, adwin_first, adwin_alive


def _outlives_empty(watched: Watched, random: np.random.Generator) -> bool:
    monitor = watched.monitor(SEGMENTS_PER_ALARM)
    nothing = {name: SignalCounts(np.zeros(36, np.int64)) for name in watched.signals}
    for segment in range(CALM):
        monitor.update(nothing, rows=0, time_ms=START_MS + segment * SEGMENT_MS)
        monitor.update({}, rows=ROWS, time_ms=START_MS + segment * SEGMENT_MS)
    for segment in range(CALM, CALM + AFTER):
        table = random.standard_normal((ROWS, FEATURES))
        table[:, 0] += 1.0
        if any(alarm.signal == SIGNAL for alarm in _update(monitor, watched, table, segment)):
            return True
    return False


def _update(monitor: HistogramMonitor, watched: Watched, table: Values, segment: int) -> list[Alarm]:
    return monitor.update(
        watched.counts(table, segment), rows=ROWS, time_ms=START_MS + segment * SEGMENT_MS
    )  # fmt: skip


def _feed(detector: ADWIN, values: Values) -> bool:
    fired = False
    for value in values.tolist():
        detector.update(value)
        fired = fired or bool(detector.drift_detected)
    return fired


def state(options: Options) -> list[Figure]:
    """Snapshots amid a stream with drifts; a judge that is restored at random moments beside one that runs on."""
    random = np.random.default_rng(options.seed)
    width = options.size(30, 5)
    watched = Watched.fit(random.standard_normal((ROWS * options.size(REFERENCE_SEGMENTS, 60), width)), ROWS)
    monitor = watched.monitor(SEGMENTS_PER_ALARM)
    segments = options.size(STREAM_SEGMENTS, 30)
    cuts = set(random.choice(segments, options.size(RESTARTS, 5), replace=False).tolist())
    judges = [_judge(watched) for _ in range(2)]
    told: list[list[object]] = [[], []]
    calm_size = learning_size = 0
    for segment in range(segments):
        table = random.standard_normal((ROWS, width))
        table[:, segment // 40 % width] += 0.4 * (segment % 40 > CALM_START)
        monitor.update(watched.counts(table, segment), rows=ROWS, time_ms=START_MS + segment * SEGMENT_MS)
        size = len(monitor.snapshot())
        calm_size = max(calm_size, size) if segment <= CALM_START else calm_size
        learning_size = max(learning_size, size)
        summary = watched.summary(numbers(table), segment)
        if segment in cuts:
            snapshot = judges[1].snapshot()
            judges[1] = _judge(watched)
            judges[1].restore(snapshot)
        for judge, alerts in zip(judges, told, strict=True):
            alerts += judge.apply(summary)
    same = told[0] == told[1] and judges[0].snapshot() == judges[1].snapshot()
    return [
        Figure("state of one feature", "bytes", calm_size / width, Goal("≤", 2_500), {}, "1,500", note="in a snapshot"),
        Figure(
            "state of one feature while others learn", "bytes", learning_size / width,
            note="the most, with drifts every 40 segments: a feature that learns keeps up to 800 histograms",
        ),
        Figure(
            f"alerts identical after {len(cuts)} restarts", "", float(same), Goal("=", 1), {}, "1",
            note=f"{len(told[0])} states of alerts",
        ),
    ]  # fmt: skip


def _judge(watched: Watched) -> Judge:
    return Judge(
        DriftConfig(segment_rows=ROWS, segments_per_week=SEGMENTS_PER_ALARM),
        LabelsConfig(), AlertsConfig(), pipeline="benchmark", profile=lambda _: watched.profile,
    )  # fmt: skip
