"""Changes injected into elec2, after Cerqueira et al., KDD 2026 (arXiv 2606.07789).

Rows are shuffled; the first half is for training, and one change begins at a place drawn from 60 to 90 % of the rows:

| change | what happens to a row |
|---|---|
| permuted features | all values go to other columns, by one permutation |
| filtered feature | it is left out if one feature is above its median |
| class prior | it is left out with probability .75 if it is of one class |
| label swap | if it is of one class, it is given the other |

An abrupt change touches every row from there on; a gradual one touches rows with a probability that grows from 0 to 1
over 2,500 rows. An alarm is right from the change's beginning to 2,500 rows after its end. As there, a Hoeffding tree
goes on learning all the time, also from the rows that changed: its errors rise but briefly, the filtered feature
hardly touches them, and the class prior as often as not lets them fall. Penstock counts rises alone, as a person who
answers for a model does; beside it stand two of its detectors that share the budget, one on the errors and one on the
hits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from drift_suite.baselines import AdwinRises, Every, Never, RowDetector
from drift_suite.figures import Cell, Figure, Goal, Options, data_file
from drift_suite.row_streams import LabelledRows, read_csv
from drift_suite.scoring import f1
from drift_suite.segments import Watched, alarms_over
from numpy.typing import NDArray
from river.drift import ADWIN
from river.tree import HoeffdingTreeClassifier

from penstock.monitoring.detectors.errors import BernoulliCUSUM

FILE = "elec2.csv.gz"
Change = Literal["permuted features", "filtered feature", "class prior", "label swap"]
CHANGES: tuple[Change, ...] = ("permuted features", "filtered feature", "class prior", "label swap")
MAX_DELAY = 2_500
GRADUAL_ROWS = 2_500
SKIPPED = 0.75
SEGMENT_ROWS = 50
SEGMENTS_PER_ALARM = 10_000.0
ERROR_ALARM_EVERY = 100_000.0
"""Rows."""

FEATURES_AND_LABELS = "features and labels"
RISES = "errors alone, rises"
BOTH_WAYS = "errors alone, rises and falls"
PROTOTYPE = {FEATURES_AND_LABELS: ("1.00", ".96"), RISES: (".54", ".27"), BOTH_WAYS: (".54", ".27")}
"""Abrupt and gradual."""

Episode = tuple[list[int], tuple[int, int]]


def cells(options: Options) -> list[Cell]:
    return [
        Cell("injected", f"{what}, {'gradual' if width else 'abrupt'}", run, (options, width))
        for what, run in ((FEATURES_AND_LABELS, features_and_labels), ("errors", errors_alone))
        for width in (0, GRADUAL_ROWS)
    ]


class BothWays:
    """Rises and falls of the errors: a detector for each, with half of the budget."""

    def __init__(self) -> None:
        self._rises, self._falls = BernoulliCUSUM(2 * ERROR_ALARM_EVERY), BernoulliCUSUM(2 * ERROR_ALARM_EVERY)

    def update(self, x: float) -> None:
        self._rises.update(x)
        self._falls.update(1 - x)

    @property
    def drift_detected(self) -> bool:
        return bool(self._rises.drift_detected or self._falls.drift_detected)


class Injected(NamedTuple):
    """Rows in their order, from the change on; places [rows]: their numbers in the stream before any was left out."""

    places: NDArray[np.int64]
    rows: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """One shuffle: `onset` is the first row that may change; the stream is read to the end of the window for alarms."""

    rows: NDArray[np.float64]
    labels: NDArray[np.int64]
    half: int
    onset: int
    width: int
    random: np.random.Generator

    @property
    def window(self) -> tuple[int, int]:
        return self.onset, self.onset + self.width + MAX_DELAY

    def inject(self, change: Change) -> Injected:
        places = np.arange(self.onset, min(self.window[1] + 1, len(self.rows)))
        rows, labels = self.rows[places].copy(), self.labels[places].copy()
        progress = np.clip((places - self.onset) / self.width, 0, 1) if self.width else np.ones(len(places))
        touched = self.random.random(len(places)) < progress
        chosen = self.random.integers(0, 2)
        kept = np.ones(len(places), np.bool_)
        match change:
            case "permuted features":
                rows[touched] = rows[touched][:, self.random.permutation(rows.shape[1])]
            case "filtered feature":
                feature = self.random.integers(0, rows.shape[1])
                kept = ~(touched & (rows[:, feature] > np.median(self.rows[:, feature])))
            case "class prior":
                kept = ~(touched & (labels == chosen) & (self.random.random(len(places)) < SKIPPED))
            case "label swap":
                labels[touched & (labels == chosen)] = 1 - chosen
        return Injected(places[kept], rows[kept], labels[kept])


def trials(options: Options, width: int, count: int) -> Iterator[Trial]:
    data: LabelledRows = read_csv(data_file(options, FILE), "class")
    random = np.random.default_rng(options.seed)
    size = options.size(len(data.rows), 6_000)
    for _ in range(count):
        order = random.permutation(len(data.rows))[:size]
        onset = int(size * random.uniform(0.6, 0.9))
        yield Trial(data.rows[order], data.labels[order], size // 2, onset, width, random)


def features_and_labels(options: Options, width: int) -> list[Figure]:
    """Segments of 50 rows; each feature and the label are signals with the first half as their reference."""
    penstock: dict[str, list[Episode]] = {change: [] for change in CHANGES}
    adwin: dict[str, list[Episode]] = {change: [] for change in CHANGES}
    for trial in trials(options, width, options.size(40, 1)):
        table = np.column_stack([trial.rows, trial.labels])
        watched = Watched.fit(table[: trial.half], SEGMENT_ROWS)
        before = table[trial.half : trial.onset]
        for change in CHANGES:
            after = trial.inject(change)
            rows = np.concatenate([before, np.column_stack([after.rows, after.labels])])
            places = np.concatenate([np.arange(trial.half, trial.onset), after.places])
            alarms = [
                int(places[(number + 1) * SEGMENT_ROWS - 1])
                for number, alarmed in enumerate(alarms_over(watched, rows, SEGMENTS_PER_ALARM))
                if alarmed
            ]
            penstock[change].append((alarms, trial.window))
            adwin[change].append(([int(places[row]) for row in adwin_any_column(rows)], trial.window))
    return _figures(FEATURES_AND_LABELS, width, penstock, {"ADWIN": adwin}, Goal("≥", 0.9 if width else 0.95))


def adwin_any_column(rows: NDArray[np.float64]) -> list[int]:
    """Rows at which the ADWIN of any column fires."""
    fired = set()
    for column in rows.T.tolist():
        detector = ADWIN()
        for number, value in enumerate(column):
            detector.update(value)
            if detector.drift_detected:
                fired.add(number)
    return sorted(fired)


def errors_alone(options: Options, width: int) -> list[Figure]:
    contenders: dict[str, Callable[[], RowDetector]] = {
        RISES: lambda: BernoulliCUSUM(ERROR_ALARM_EVERY),
        BOTH_WAYS: BothWays,
        "ADWIN": ADWIN,
        "ADWIN, rises": AdwinRises,
        "always fire (every 1,000 rows)": lambda: Every(1_000),
        "never fire": Never,
    }
    episodes: dict[str, dict[str, list[Episode]]] = {name: {change: [] for change in CHANGES} for name in contenders}
    for trial in trials(options, width, options.size(30, 1)):
        model = HoeffdingTreeClassifier()
        _prequential(model, trial.rows[: trial.half], trial.labels[: trial.half])
        calm = _prequential(model, trial.rows[trial.half : trial.onset], trial.labels[trial.half : trial.onset])
        for change in CHANGES:
            after = trial.inject(change)
            errors = calm + _prequential(copy.deepcopy(model), after.rows, after.labels)
            places = [*range(trial.half, trial.onset), *after.places.tolist()]
            for name, make in contenders.items():
                alarms = [places[row] for row in _fired(make(), errors)]
                episodes[name][change].append((alarms, trial.window))
    goal = Goal("≥", 0.35 if width else 0.6)
    mine = {name: episodes.pop(name) for name in (RISES, BOTH_WAYS)}
    return [figure for name, found in mine.items() for figure in _figures(name, width, found, episodes, goal)]


def _prequential(model: HoeffdingTreeClassifier, rows: NDArray[np.float64], labels: NDArray[np.int64]) -> list[int]:
    errors = []
    for values, label in zip(rows.tolist(), labels.tolist(), strict=True):
        row = dict(enumerate(values))
        errors.append(int(model.predict_one(row) != label))
        model.learn_one(row, label)
    return errors


def _fired(detector: RowDetector, values: list[int]) -> list[int]:
    fired = []
    for number, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            fired.append(number)
    return fired


def _figures(
    what: str, width: int, penstock: dict[str, list[Episode]], others: dict[str, dict[str, list[Episode]]], goal: Goal
) -> list[Figure]:
    mode = "gradual" if width else "abrupt"
    prototype = PROTOTYPE[what][width > 0]
    figures = [
        Figure(
            f"F1, {what}, {mode}", "", f1([one for found in penstock.values() for one in found]), goal,
            {name: f1([one for found in by.values() for one in found]) for name, by in others.items()}, prototype,
        )
    ]  # fmt: skip
    figures += [
        Figure(
            f"F1, {what}, {mode}: {change}", "", f1(found), None,
            {name: f1(by[change]) for name, by in others.items()},
        )
        for change, found in penstock.items()
    ]  # fmt: skip
    return figures
