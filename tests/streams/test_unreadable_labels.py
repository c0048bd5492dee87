"""Whoever sends a million records that are no labels fills no log, and is counted."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.monitoring.config import LabelsConfig
from penstock.monitoring.metrics.watch import WatchMetrics
from penstock.streams.seldom import Seldom
from penstock.streams.watch import Watched, WatchRole
from penstock.streams.watching.config import WatchConfig
from penstock.streams.watching.partition import PartitionWatch


def test_unreadable_labels_are_counted_by_reason_and_named_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    role: Any = WatchRole.__new__(WatchRole)
    role.metrics, role._label_seen = WatchMetrics("flights"), None
    role._no_labels = Seldom(logging.getLogger("penstock.watch").warning, clock=lambda: now[0])
    config = WatchConfig(4, 60_000, 1_000, 5_000, LabelsConfig(), 1)
    watched = Watched(PartitionWatch(0, config, binning=None, clock=lambda: 0, state={}))  # type: ignore[arg-type]

    def comes(*values: bytes) -> None:
        records: Any = [
            SimpleNamespace(offset=offset, timestamp=0, key=None, value=value, headers=())
            for offset, value in enumerate(values)
        ]
        block: Any = SimpleNamespace(topic="flights.labels", partition=0, records=records)
        role._take_labels(watched, block)

    comes(b"% wrong", b"{}", b"{", b'{"id": "a", "label": 1, "time": 7}')
    now[0] = 59
    comes(b"{}")
    now[0] = 60
    comes(b"{}")

    first, second = caplog.messages
    assert first.startswith("flights.labels, partition 0, offset 0: no label, skipped. ")
    assert second.endswith("id is missing; a label has id, label and time. (3 more like it before)")
    counted = {
        reason: role.metrics.registry.get_sample_value(
            "penstock_unreadable_labels_total", {"pipeline": "flights", "reason": reason}
        )
        for reason in ("not_json", "missing_field")
    }
    assert counted == {"not_json": 2, "missing_field": 3}
