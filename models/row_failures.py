"""The rows on which a model fails, told apart from those that it can score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.models.runtime import Runtime, Scores
from penstock.schemas.columns import Columns

DOUBTED = 16
"""A model that failed on so many rows and scored none is asked about its golden rows before it is asked about more."""


def score_apart(
    runtime: Runtime, columns: Columns, *, patience: int | None = None
) -> tuple[Scores, dict[int, Exception]]:
    """The model's scores, and the rows on which it fails, found by halving: one bad row never fails its neighbours.

    Raises what the model raised when it fails on all of them and on its golden rows, too: then the model is at fault,
    not the rows. With `patience`, for callers who have another model to ask, the halving ends as soon as the model has
    failed on so many rows and scored none, or has run out of memory: then it counts as having failed on all.
    """
    halving = _Halving(runtime, columns, patience)
    try:
        parts = halving.attempt(0, columns.rows)
        failures, cleared = halving.failures, halving.cleared
    except _GivenUpError as given_up:
        parts, failures = [_nothing(columns.rows)], dict.fromkeys(range(columns.rows), given_up.error)
        cleared = False
    if columns.rows and len(failures) == columns.rows and not cleared:
        _check(runtime, failures[0])
    for error in failures.values():
        error.__traceback__ = None  # its frames hold the columns as long as somebody holds the error
    return (parts[0] if len(parts) == 1 else _joined(parts)), failures


class _Halving:
    """Asks about ever smaller halves.

    No function within a function: one that calls itself is garbage of the kind that only a collection finds, and until
    then it would hold the columns of every window.
    """

    def __init__(self, runtime: Runtime, columns: Columns, patience: int | None) -> None:
        self._runtime, self._columns, self._patience = runtime, columns, patience
        self.failures: dict[int, Exception] = {}
        self.cleared = False
        """The model was asked about its golden rows, and scored them."""

    def attempt(self, start: int, stop: int) -> list[Scores]:
        failures, patience = self.failures, self._patience
        try:
            return [self._runtime.score(self._columns.take(slice(start, stop)))]
        except Exception as error:
            if patience is not None and isinstance(error, MemoryError):
                raise _GivenUpError(error) from None
            if stop - start == 1:
                failures[start] = error
                if len(failures) == start + 1 == DOUBTED:
                    _check(self._runtime, failures[0])
                    self.cleared = True
                if len(failures) == start + 1 == patience:
                    raise _GivenUpError(failures[0]) from None
                return [_nothing(1)]
        middle = (start + stop) // 2
        return self.attempt(start, middle) + self.attempt(middle, stop)


class _GivenUpError(Exception):
    """Ends the halving."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _check(runtime: Runtime, error: Exception) -> None:
    """Raises `error`, which the model raised on a row, when it fails on its golden rows, too."""
    try:
        runtime.check()
    except Exception:
        raise error from None  # not once for every halving


def _nothing(rows: int) -> Scores:
    return Scores(np.full(rows, np.nan, np.float32), None, np.zeros(rows, np.bool_))


def _joined(parts: Sequence[Scores]) -> Scores:
    width = max((part.scores.shape[1] for part in parts if part.scores is not None), default=0)
    vectors = [
        np.full((len(part.score), width), np.nan, np.float32) if part.scores is None else part.scores for part in parts
    ]
    return Scores(
        np.concatenate([part.score for part in parts]),
        np.concatenate(vectors) if width else None,
        np.concatenate([part.finite for part in parts]),
    )
