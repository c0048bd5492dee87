"""What watching costs per event and feature: segments of 512 rows with 30 numbers each, one thread, best of many runs.

Counting makes the whole summary of a segment: slots, missing values, moments and extremes of every feature, and beside
them event times, lag, scores, the joint distance and evidence; its cost is divided by the 30 features alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from drift_suite.figures import Cell, Figure, Goal, Options
from drift_suite.segments import Watched, block_of, numbers, summarise
from river.drift import ADWIN

FEATURES = 30
ROWS = 512
REFERENCE_SEGMENTS = 200
SEGMENTS_PER_ALARM = 10_000.0
GOAL_NS = 30.0


def cells(options: Options) -> list[Cell]:
    return [Cell("cost", "per event and feature", measure, (options,))]


def measure(options: Options) -> list[Figure]:
    random = np.random.default_rng(options.seed)
    watched = Watched.fit(random.standard_normal((ROWS * options.size(REFERENCE_SEGMENTS, 60), FEATURES)), ROWS)
    blocks = [block_of(numbers(random.standard_normal((ROWS, FEATURES))), ROWS * place) for place in range(20)]
    summaries = [summarise(block, watched.binning, ROWS) for block in blocks]
    features = [{name: one.signals[name] for name in watched.signals} for one in summaries]
    monitor = watched.monitor(SEGMENTS_PER_ALARM)
    rows = np.concatenate([block.columns.floats for block in blocks[:2]]).T.tolist()

    def river() -> None:
        for column in rows:
            detector = ADWIN()
            for value in column:
                detector.update(value)

    seconds = options.size(4, 1) / 2
    counting = best(lambda: [summarise(block, watched.binning, ROWS) for block in blocks], seconds) / len(blocks)
    judging = best(
        lambda: [monitor.update(counts, rows=ROWS, time_ms=0) for counts in features], seconds
    ) / len(blocks)  # fmt: skip
    adwin = best(river, seconds) / 2
    always = best(lambda: [True for _ in range(ROWS)], seconds / 4)
    values = ROWS * FEATURES / 1e9
    figures = {"counting": counting / values, "detectors": judging / values}
    return [
        Figure(
            "counting and detectors together", "ns", sum(figures.values()), Goal("≤", GOAL_NS),
            {"ADWIN": adwin / values, "always fire": always / values, "never fire": 0.0}, "11–31",
        ),
        *(Figure(f"of it {name}", "ns", value) for name, value in figures.items()),
    ]  # fmt: skip


def best(run: Callable[[], object], seconds: float) -> float:
    """Seconds of the fastest run within about so many."""
    run()
    fastest, end = float("inf"), time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        run()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest
