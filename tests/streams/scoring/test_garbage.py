"""A window is freed when it is done. What only a garbage collection could free would stay: workers collect rarely."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from answering import CHAMPION_1, Model

from penstock.models.row_failures import score_apart
from penstock.schemas.columns import Columns, Layout

ROWS = 64


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def numbered(rows: int) -> Columns:
    columns = Columns.missing(Layout(floats=("x",)), rows)
    columns.floats[:, 0] = np.arange(rows)
    return columns


def fails_on_three(x: Any) -> Any:
    if 3 in x:
        raise ValueError("three")
    return x


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("says", [np.zeros_like, fails_on_three], ids=["healthy", "failing"])
def test_what_a_model_was_asked_about_is_freed_when_it_has_answered(says: Any) -> None:
    window = numbered(ROWS)
    held = weakref.ref(window.floats)
    _, failures = score_apart(Model(CHAMPION_1, says), window)
    assert held() is not None
    del window
    assert held() is None, f"{failures} hold it"
    assert list(failures) == ([3] if says is fails_on_three else [])
