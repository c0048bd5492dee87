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


def columns(rows: int) -> Columns:
    return Columns.missing(Layout(floats=("x",)), rows)


def fails_on_some(x: Any) -> Any:
    if len(x) > 1:
        raise ValueError("one of them")
    return x


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("says", [np.zeros_like, fails_on_some], ids=["healthy", "failing"])
def test_what_a_model_was_asked_about_is_freed_when_it_has_answered(says: Any) -> None:
    window = columns(ROWS)
    held = weakref.ref(window.floats)
    _, failures = score_apart(Model(CHAMPION_1, says), window)
    assert held() is not None
    del window
    assert held() is None, f"{len(failures)} failures hold nothing of it"
