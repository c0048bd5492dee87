"""A summary always fits into a record: a broker that refuses it would end the worker."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from paired_rows import candidate, paired_rows

from penstock.monitoring.comparison.compare import compare, compare_labelled
from penstock.monitoring.config import LabelsConfig, RolloutConfig
from penstock.schemas.comparison_wire import decode_comparison
from penstock.streams.watching.outputs import record_of

LABELS = LabelsConfig(slices=("origin", "tail"))
BLOCK = paired_rows(
    [0.2] * 4, candidate([0.9] * 4), slices={"origin": ["JFK", "LGA"] * 2, "tail": ["N1", "N2", "N3", "N4"]}
)


def test_a_comparison_that_is_too_large_goes_without_its_slices(caplog: pytest.LogCaptureFixture) -> None:
    once = compare(BLOCK, LABELS, segment=7, part=0, complete=True, watermark=0)
    _, whole, _ = record_of(once)
    with caplog.at_level(logging.WARNING):
        key, value, headers = record_of(once, limit=len(whole or b"") - 1)
    assert key == b"2-7"
    assert {group[-1] for group in decode_comparison(value, headers).pairs} == {""}
    assert "labels.slices" in caplog.text


def test_the_gates_keep_theirs() -> None:
    mature = compare_labelled(
        BLOCK, np.ones(4), BLOCK.event_times, LABELS, RolloutConfig(slices=("origin",)),
        segment=7, part=0, complete=True, watermark=0,
    )  # fmt: skip
    _, value, headers = record_of(mature, limit=1)
    smaller = decode_comparison(value, headers)
    assert {group[-1] for group in smaller.labelled} == {""}
    assert smaller.cells.keys() == mature.cells.keys()
