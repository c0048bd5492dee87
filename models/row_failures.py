"""The rows on which a model fails, told apart from those that it can score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.models.runtime import Runtime, Scores
from penstock.schemas.columns import Columns


def score_apart(
    runtime: Runtime, columns: Columns, *, patience: int | None = None
) -> tuple[Scores, dict[int, Exception]]:
    """The model's scores, and the rows on which it fails, found by halving: one bad row never fails its neighbours.

    Raises what the model raised when it fails on every one of several rows: then the model is at fault, not the rows.
    With `patience`, for callers who have another model to ask, the same as soon as it has failed on so many rows and
    scored none, or has run out of memory.
    """
    failures: dict[int, Exception] = {}

    def attempt(start: int, stop: int) -> list[Scores]:
        try:
            return [runtime.score(columns.take(slice(start, stop)))]
        except Exception as error:
            if patience is not None and isinstance(error, MemoryError):
                raise _AtFaultError(error) from None
            if stop - start == 1:
                failures[start] = error
                if len(failures) == start + 1 == patience:
                    raise _AtFaultError(failures[0]) from None
                nothing = np.full(1, np.nan, np.float32)
                return [Scores(nothing, None, np.zeros(1, np.bool_))]
        middle = (start + stop) // 2
        return attempt(start, middle) + attempt(middle, stop)

    try:
        parts = attempt(0, columns.rows)
    except _AtFaultError as found:
        raise found.error from None
    if len(failures) == columns.rows > 1:
        raise failures[0] from None  # not once for every halving
    return (parts[0] if len(parts) == 1 else _joined(parts)), failures


class _AtFaultError(Exception):
    """Ends the halving: the model is at fault."""

    def __init__(self, error: Exception) -> None:
        self.error = error


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
