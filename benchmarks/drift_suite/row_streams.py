"""Row streams with known changes: the error stream's data, and the two generated streams of joint drift."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from river.datasets.synth.waveform import Waveform

ROWS = 154_987
SCORED_ROWS = 150_000
"""Both generated streams have a change at row 150,000 that their authors do not list."""
CHANGE_EVERY = 5_000
WAVE_SEED = 2_401_137
SINE_SEED = 531_874


class Stream(NamedTuple):
    """rows [n, columns]; changes: the first row of each new distribution."""

    rows: NDArray[np.float64]
    changes: list[int]


class LabelledRows(NamedTuple):
    """rows [n, columns], labels [n], column names."""

    rows: NDArray[np.float64]
    labels: NDArray[np.int64]
    names: tuple[str, ...]


def read_csv(path: Path, label: str) -> LabelledRows:
    """A gzipped CSV file of numbers with a header; every column but the label is a feature."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        header = next(csv.reader(file))
        values = np.loadtxt(file, delimiter=",", dtype=np.float64, ndmin=2)
    place = header.index(label)
    names = tuple(name for name in header if name != label)
    return LabelledRows(np.delete(values, place, axis=1), values[:, place].astype(np.int64), names)


def waveform_drift_2(rows: int = SCORED_ROWS, seed: int = WAVE_SEED) -> Stream:
    """River's Waveform whose base waves change every 5,000 rows, after Lukats et al. (10.1007/s41060-024-00620-y).

    Four sets of base waves: as they are, raised by 6, 6 minus them, and negated; the next one is always another one.
    """
    generator = Waveform(seed=seed, has_noise=False)
    base = np.array(generator._H_FUNCTION)
    sets = [base + 0, base + 6, 6 - base, base * -1]
    draw = np.random.default_rng(seed)
    current = sets[0]
    values = np.empty((rows, 21))
    generator._H_FUNCTION = current  # the generator reads it anew for each row
    for number, (features, _) in enumerate(generator):
        if number == rows:
            break
        if number % CHANGE_EVERY == 0:
            following = draw.choice(sets, 1)[0]
            while np.array_equal(following, current):
                following = draw.choice(sets, 1)[0]
            generator._H_FUNCTION = current = following
        values[number] = list(features.values())
    return Stream(values, _changes(rows))


def sine_clusters(rows: int = SCORED_ROWS, seed: int = SINE_SEED, period: int = 500) -> Stream:
    """Four noisy sine waves whose signs and phases change together every 5,000 rows (Lukats et al., as above).

    What changes is how the columns move together: each column alone keeps its distribution over a period.
    """
    draw = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, period + 1)[np.arange(rows) % period]
    sine, cosine = np.sin(angles), np.cos(angles)
    shapes = {
        "1": np.stack([sine, cosine, sine, cosine], axis=1),
        "2": np.stack([-sine, cosine, sine, cosine], axis=1),
        "3": np.stack([-cosine, -cosine, sine, cosine], axis=1),
    }
    values = np.empty((rows, 4))
    current = ""
    for start in range(0, rows, CHANGE_EVERY):
        draw.uniform(
            low=-1, high=1, size=(6, 2)
        )  # cluster centres that these shapes do not use; they keep the draws in step
        following = current
        while following == current:
            following = str(draw.choice(["1", "2", "3"], 1)[0])
        current = following
        end = min(start + CHANGE_EVERY, rows)
        values[start:end] = shapes[current][start:end] + draw.normal(0, 0.25, (end - start, 4))
    return Stream(values, _changes(rows))


def _changes(rows: int) -> list[int]:
    return list(range(CHANGE_EVERY, rows, CHANGE_EVERY))
