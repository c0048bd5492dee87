"""Concept drift on the error stream of a Hoeffding tree that starts anew on each alarm: interchanging_rbf.

66 abrupt changes, one every 3,000 rows, growing in strength; the features' distribution hardly moves, so only the
errors show them. Row by row as the offline door reads a file, and through the service's segments of 512 rows.
"""

from __future__ import annotations

from collections.abc import Callable

from drift_suite.baselines import AdwinRises, Every, Never, RowDetector
from drift_suite.figures import Cell, Figure, Goal, Options, data_file
from drift_suite.row_streams import LabelledRows, read_csv
from drift_suite.scoring import Score, score
from river.drift.binary import HDDMA
from river.tree import HoeffdingTreeClassifier

from penstock.monitoring.detectors.errors import BernoulliCUSUM

FILE = "interchanging_rbf.csv.gz"
CHANGE_EVERY = 3_000
WINDOW = 1_500
SEGMENT_ROWS = 512
FALSE_ALARM_EVERY = 1e6
"""Rows: the budget of the figures with a goal; the others make the curve."""
BUDGETS = (1e5, 1e7)


def cells(options: Options) -> list[Cell]:
    return [
        Cell("errors", "row by row", row_by_row, (options,)),
        Cell("errors", "in segments, and the curve", in_segments, (options,)),
    ]


def row_by_row(options: Options) -> list[Figure]:
    data = _data(options)
    contenders: dict[str, Callable[[], RowDetector]] = {
        "always fire (every 1,000 rows)": lambda: Every(1_000),
        "never fire": Never,
        "ADWIN, rises": AdwinRises,
        "HDDM_A": HDDMA,
    }
    penstock = prequential(data, lambda: BernoulliCUSUM(FALSE_ALARM_EVERY))
    others = {name: prequential(data, make) for name, make in contenders.items()}
    return [
        Figure(
            "changes found, row by row", f"of {penstock.changes}", penstock.found,
            None if options.quick else Goal("=", 66), _of(others, lambda one: one.found), "66",
        ),
        Figure(
            "delay, row by row", "rows", penstock.delay, Goal("≤", 12), _of(others, lambda one: one.delay), "8.6–17"
        ),
        Figure("false alarms, row by row", "", penstock.false, Goal("=", 0), _of(others, lambda one: one.false), "0"),
    ]  # fmt: skip


def in_segments(options: Options) -> list[Figure]:
    data = _data(options)
    segments = prequential_segments(data)
    figures = [
        Figure("changes found, in segments of 512", f"of {segments.changes}", segments.found),
        Figure("delay, in segments of 512", "rows", segments.delay, note="to the end of the segment that alarmed"),
        Figure("false alarms, in segments of 512", "", segments.false),
    ]
    for budget in BUDGETS:
        at = prequential(data, lambda every=budget: BernoulliCUSUM(every))  # type: ignore[misc]
        figures.append(
            Figure(
                f"delay, one false alarm in {budget:,.0f} rows", "rows", at.delay,
                note=f"found {at.found}, false {at.false}",
            )
        )  # fmt: skip
    return figures


def prequential(data: LabelledRows, make: Callable[[], RowDetector]) -> Score:
    """Predict, compare, learn; on an alarm tree and detector start anew."""
    model, detector, alarms = HoeffdingTreeClassifier(), make(), []
    for number, (row, label) in enumerate(zip(_dictionaries(data), data.labels.tolist(), strict=True)):
        detector.update(int(model.predict_one(row) != label))
        if detector.drift_detected:
            alarms.append(number)
            model, detector = HoeffdingTreeClassifier(), make()
        model.learn_one(row, label)
    return score(alarms, _changes(data), WINDOW)


def prequential_segments(data: LabelledRows) -> Score:
    """As `prequential`, but the detector sees the errors of a whole segment at once, and the tree learns of it then."""
    model, detector, alarms = HoeffdingTreeClassifier(), BernoulliCUSUM(FALSE_ALARM_EVERY), []
    rows = errors = 0
    for number, (row, label) in enumerate(zip(_dictionaries(data), data.labels.tolist(), strict=True)):
        errors += model.predict_one(row) != label
        rows += 1
        if rows == SEGMENT_ROWS:
            detector.update_counts(rows, errors)
            rows = errors = 0
            if detector.drift_detected:
                alarms.append(number)
                model, detector = HoeffdingTreeClassifier(), BernoulliCUSUM(FALSE_ALARM_EVERY)
        model.learn_one(row, label)
    return score(alarms, _changes(data), CHANGE_EVERY)


def _data(options: Options) -> LabelledRows:
    data = read_csv(data_file(options, FILE), "class")
    rows = options.size(len(data.rows), 4_500)
    return LabelledRows(data.rows[:rows], data.labels[:rows], data.names)


def _dictionaries(data: LabelledRows) -> list[dict[str, float]]:
    return [dict(zip(data.names, row, strict=True)) for row in data.rows.tolist()]


def _changes(data: LabelledRows) -> list[int]:
    return list(range(CHANGE_EVERY, len(data.rows) - 1_000, CHANGE_EVERY))


def _of(scores: dict[str, Score], figure: Callable[[Score], float]) -> dict[str, float]:
    return {name: figure(one) for name, one in scores.items()}
