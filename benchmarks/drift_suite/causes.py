"""Three features drift at once among ten correlated ones: does the alert name all three, the strongest first?

Ten normal features, every pair correlated by .5, segments of 500 rows, one false alarm in 10,000 segments over
everything; 200 reference segments. At a moment within a segment the means of three features rise by .5, .35 and .25 sd.
Segments go through counting and the judge to the alert book, as in the service; the alert is read 20 segments later.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from drift_suite.distributions import START_MS
from drift_suite.figures import Cell, Figure, Goal, Options
from drift_suite.segments import Watched, numbers
from numpy.typing import NDArray
from river.drift import ADWIN

from penstock.monitoring.config import AlertsConfig, DriftConfig, LabelsConfig
from penstock.monitoring.judging.judge import Judge

FEATURES = 10
CORRELATION = 0.5
SHIFTS = {7: 0.5, 2: 0.35, 4: 0.25}
"""Feature → standard deviations; the first is the strongest."""
ROWS = 500
REFERENCE_SEGMENTS = 200
CALM_SEGMENTS = 20
READ_AFTER = 20
SEGMENTS_PER_ALARM = 10_000.0
RUNS = 200


class Reading(NamedTuple):
    """named: all three; first: the strongest leads the features; topmost: it leads all causes; wrong: others named."""

    named: bool
    first: bool
    topmost: bool
    wrong: int


def cells(options: Options) -> list[Cell]:
    return [Cell("causes", "three of ten features", measure, (options,))]


def measure(options: Options) -> list[Figure]:
    random = np.random.default_rng(options.seed)
    pairs = [_run(random, options.size(REFERENCE_SEGMENTS, 60)) for _ in range(options.size(RUNS, 2))]
    penstock, adwin = ([pair[place] for pair in pairs] for place in (0, 1))
    chance = 1 / FEATURES

    def share(readings: list[Reading], *fields: str) -> float:
        return float(np.mean([all(getattr(one, field) for field in fields) for one in readings]))

    def figure(measure: str, goal: Goal | None, always: float, *fields: str) -> Figure:
        value = share(penstock, *fields)
        others = {
            "ADWIN on means": share(adwin, *fields), "always fire (all ten, any order)": always, "never fire": 0.0
        }  # fmt: skip
        return Figure(
            measure, "share of runs", value, goal, others, "not tried",
            error=float(np.sqrt(value * (1 - value) / len(pairs))),
        )  # fmt: skip

    return [
        figure("all three named, the strongest first", Goal("≥", 0.9), chance, "named", "first"),
        figure("all three named", None, 1.0, "named"),
        figure("the strongest first of the features", None, chance, "first"),
        figure("the strongest first of all causes", None, chance, "topmost"),
        Figure(
            "other features named", "per run", float(np.mean([one.wrong for one in penstock])), None,
            {"ADWIN on means": float(np.mean([one.wrong for one in adwin])), "always fire (all ten, any order)": 7.0},
        ),
    ]  # fmt: skip


def _run(random: np.random.Generator, reference_segments: int) -> tuple[Reading, Reading]:
    watched = Watched.fit(_rows(random, ROWS * reference_segments), ROWS)
    judge = Judge(
        DriftConfig(segment_rows=ROWS, false_alarms_per_week=1.0, segments_per_week=SEGMENTS_PER_ALARM),
        LabelsConfig(), AlertsConfig(), pipeline="benchmark", profile=lambda _: watched.profile,
    )  # fmt: skip
    change = CALM_SEGMENTS * ROWS + int(random.integers(0, ROWS))
    table = _rows(random, ROWS * (CALM_SEGMENTS + READ_AFTER))
    for feature, shift in SHIFTS.items():
        table[change:, feature] += shift
    for segment in range(len(table) // ROWS):
        rows = slice(segment * ROWS, (segment + 1) * ROWS)
        judge.apply(watched.summary(numbers(table[rows]), segment, START_MS + np.arange(rows.start, rows.stop) * 1_000))
    causes = [cause for alert in judge.open for cause in alert.causes]
    causes.sort(key=lambda cause: -cause.contribution)
    return _read([cause.signal for cause in causes]), _read(_adwin_order(table))


def _rows(random: np.random.Generator, rows: int) -> NDArray[np.float64]:
    common = random.standard_normal((rows, 1))
    own = random.standard_normal((rows, FEATURES))
    values: NDArray[np.float64] = np.sqrt(CORRELATION) * common + np.sqrt(1 - CORRELATION) * own
    return values


def _read(signals: list[str]) -> Reading:
    features = list(dict.fromkeys(name for name in signals if name.startswith("feature:")))
    drifting = [f"feature:f{place}" for place in SHIFTS]
    return Reading(
        named=set(drifting) <= set(features),
        first=features[:1] == drifting[:1],
        topmost=signals[:1] == drifting[:1],
        wrong=len(set(features) - set(drifting)),
    )


def _adwin_order(table: NDArray[np.float64]) -> list[str]:
    """Features in the order in which the ADWIN of their segments' means fires."""
    means = table.reshape(-1, ROWS, table.shape[1]).mean(axis=1)
    fired: list[tuple[int, str]] = []
    for place, column in enumerate(means.T.tolist()):
        detector = ADWIN(clock=1)
        for segment, value in enumerate(column):
            detector.update(value)
            if detector.drift_detected:
                fired.append((segment, f"feature:f{place}"))
                break
    return [name for _, name in sorted(fired)]
