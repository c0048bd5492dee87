"""A window is freed when it is done. What only a garbage collection could free would stay: workers collect rarely."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from answering import CHAMPION_1, Model

from penstock.models.row_failures import score_apart
from penstock.schemas.columns import Columns, Layout

ROWS = 64


@contextmanager
def garbage() -> Iterator[list[Any]]:
    """What was left behind within the block, once it has ended."""
    left: list[Any] = []
    gc.collect()
    gc.disable()
    try:
        yield left
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def columns(rows: int) -> Columns:
    return Columns.missing(Layout(floats=("x",)), rows)


def fails_on_some(x: Any) -> Any:
    if len(x) > 1:
        raise ValueError("one of them")
    return x


@pytest.mark.parametrize("says", [np.zeros_like, fails_on_some], ids=["healthy", "failing"])
def test_what_a_model_was_asked_about_is_freed_when_it_has_answered(says: Any) -> None:
    window = columns(ROWS)
    with garbage() as left:
        score_apart(Model(CHAMPION_1, says), window)
    assert [type(one) for one in left] == []
