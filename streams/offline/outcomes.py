"""What a table's label and prediction columns say about the model: an error per row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from penstock.monitoring.config import Task
from penstock.streams.offline.table_columns import numbers_of

_MOST_CLASSES = 100


class Outcomes(NamedTuple):
    """How the model did, row by row.

    task     what the label is
    errors   [rows] float64: 1 where a class was wrong, for values the absolute error; NaN without label or prediction
    scores   [rows] float64 the prediction where it is a probability or a value, to be watched as the service watches
             scores; None where it is a class
    """

    task: Task
    errors: NDArray[np.float64]
    scores: NDArray[np.float64] | None


def outcomes_of(label: Any, prediction: Any, threshold: float = 0.5) -> Outcomes:
    """From two Arrow columns; what they hold decides the task.

    | label | prediction | task |
    |---|---|---|
    | 0 and 1, false and true | 0 and 1, or a probability: at least `threshold` decides for 1 | binary |
    | strings, or at most 100 whole numbers | the same | multiclass |
    | numbers | numbers | regression |

    Raises ValueError when the two do not fit together.

    >>> outcomes_of(pa.array([0, 1, 1, None]), pa.array([0.2, 0.9, 0.4, 0.1])).errors
    array([ 0.,  0.,  1., nan])
    >>> outcomes_of(pa.array(["a", "b"]), pa.array(["a", "c"])).task
    'multiclass'
    """
    texts = [_is_text(column) for column in (label, prediction)]
    if any(texts):
        if not all(texts):
            raise ValueError("one holds text and the other numbers")
        wrong = pc.cast(pc.not_equal(_plain(label), _plain(prediction)), pa.float64())
        return Outcomes("multiclass", numbers_of(wrong), None)
    try:
        truth, answer = numbers_of(label), numbers_of(prediction)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"of types {label.type} and {prediction.type}, which are no outcomes") from error
    missing = ~(np.isfinite(truth) & np.isfinite(answer))
    classes, answers = np.unique(truth[~missing]), np.unique(answer[~missing])
    whole = bool((classes == classes.round()).all())
    if np.isin(classes, (0, 1)).all() and len(answers) and answers[0] >= 0 and answers[-1] <= 1:
        wrong = (answer >= threshold) != (truth == 1)
        probability = not np.isin(answers, (0, 1)).all()
        return Outcomes("binary", np.where(missing, np.nan, wrong), answer if probability else None)
    if whole and len(classes) <= _MOST_CLASSES and bool((answers == answers.round()).all()):
        return Outcomes("multiclass", np.where(missing, np.nan, truth != answer), None)
    return Outcomes("regression", np.where(missing, np.nan, np.abs(truth - answer)), answer)


def _plain(column: Any) -> Any:
    return pc.cast(column, pa.string())


def _is_text(column: Any) -> bool:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
