"""Joint drift, of how columns move together: WaveformDrift2 and SineClusters, a change every 5,000 rows."""

from __future__ import annotations

from collections.abc import Sequence

from drift_suite.baselines import adwin_rows
from drift_suite.figures import Cell, Figure, Goal, Options
from drift_suite.row_streams import (
    CHANGE_EVERY,
    SCORED_ROWS,
    SINE_SEED,
    WAVE_SEED,
    Stream,
    sine_clusters,
    waveform_drift_2,
)
from drift_suite.scoring import Score, score

from penstock.monitoring.detectors.joint import ConformalDistance

FALSE_ALARM_EVERY = 1e6
"""Rows."""
SINE_SEEDS = (SINE_SEED, 1, 2, 3)
PERIOD = 500
"""Of SineClusters; always firing means once in a period."""


def cells(options: Options) -> list[Cell]:
    rows = options.size(SCORED_ROWS, 6_000)
    return [
        Cell("joint", "WaveformDrift2", wave, (rows,)),
        Cell("joint", "SineClusters", sine, (rows,)),
    ]


def wave(rows: int) -> list[Figure]:
    return figures("WaveformDrift2", [waveform_drift_2(rows, WAVE_SEED)], Goal("≤", 5), "3.7 rows, 29 found, 0 false")


def sine(rows: int) -> list[Figure]:
    streams = [sine_clusters(rows, seed, PERIOD) for seed in SINE_SEEDS]
    return figures("SineClusters, four seeds", streams, Goal("≤", 15), "11.7–17.8 rows, 29 found, 0 false")


def figures(name: str, streams: Sequence[Stream], goal: Goal, prototype: str) -> list[Figure]:
    penstock = _all([score(_penstock(stream), stream.changes, CHANGE_EVERY) for stream in streams])
    others = {
        "always fire (every 500 rows)": _all(
            [score(range(PERIOD - 1, len(one.rows), PERIOD), one.changes, CHANGE_EVERY) for one in streams]
        ),
        "never fire": _all([score([], one.changes, CHANGE_EVERY) for one in streams]),
        "ADWIN": _all([score(adwin_rows(one.rows), one.changes, CHANGE_EVERY) for one in streams]),
    }
    changes = penstock.changes
    return [
        Figure(
            f"{name}: found", f"of {changes}", penstock.found, Goal("=", changes),
            {other: one.found for other, one in others.items()}, prototype,
        ),
        Figure(f"{name}: delay", "rows", penstock.delay, goal, {other: one.delay for other, one in others.items()}),
        Figure(
            f"{name}: false alarms", "", penstock.false, Goal("=", 0),
            {other: one.false for other, one in others.items()},
        ),
    ]  # fmt: skip


def _penstock(stream: Stream) -> list[int]:
    detector = ConformalDistance(FALSE_ALARM_EVERY)
    alarms = []
    for number, row in enumerate(stream.rows):
        detector.update(row)
        if detector.drift_detected:
            alarms.append(number)
    return alarms


def _all(scores: Sequence[Score]) -> Score:
    found = sum(one.found for one in scores)
    delay = sum(one.delay * one.found for one in scores if one.found) / found if found else float("inf")
    return Score(found, sum(one.changes for one in scores), delay, sum(one.false for one in scores))
