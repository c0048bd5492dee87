"""Records that nobody meant: nested too deeply to be read, or not UTF-8. Each reader refuses them in its own words."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.schemas.alerts import ALERT_SCHEMA, UnreadableAlert, decode_alert
from penstock.schemas.checksums import seal
from penstock.schemas.comparison_wire import COMPARISON_SCHEMA, CorruptComparison, decode_comparison
from penstock.schemas.label_runs import CorruptLabels, decode_manifest
from penstock.schemas.operations import OPERATIONS_SCHEMA, CorruptReading, decode_reading
from penstock.schemas.profile import UnreadableProfile, decode_profile
from penstock.schemas.quality import QUALITY_SCHEMA, CorruptQuality, decode_quality
from penstock.schemas.quality_sums import decode_groups
from penstock.schemas.records import CONTROL_SCHEMA, DECISION_SCHEMA
from penstock.schemas.summaries import SUMMARY_SCHEMA, CorruptSummary, decode_summary
from penstock.streams.control.records import UnreadableControl, read_control_record
from penstock.streams.control.trail import UnreadableDecision, decision_of

DEEP_JSON = b'{"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
NO_UTF8_JSON = b'{"\xff":1,"role":"\xff","id":"\xff","pipeline":"\xff"}'
DEEP_MSGPACK = b"\x81\xa7unknown" + b"\x91" * 100_000 + b"\xc0"


def record(value: bytes, schema: tuple[str, bytes]) -> Any:
    return SimpleNamespace(topic="flights.fuzz", offset=7, key=b"flights", value=value, headers=[schema])


JSON: list[tuple[type[Exception], Callable[[bytes], object]]] = [
    (UnreadableControl, lambda value: read_control_record(record(value, CONTROL_SCHEMA), "flights")),
    (UnreadableDecision, lambda value: decision_of(record(value, DECISION_SCHEMA), "flights")),
    (UnreadableAlert, lambda value: decode_alert(value, [ALERT_SCHEMA], "flights.alerts")),
    (CorruptReading, lambda value: decode_reading(value, [OPERATIONS_SCHEMA])),
]
MSGPACK: list[tuple[type[Exception], Callable[[bytes], object]]] = [
    (CorruptSummary, lambda value: decode_summary(value, seal(value, SUMMARY_SCHEMA))),
    (CorruptQuality, lambda value: decode_quality(value, [QUALITY_SCHEMA])),
    (CorruptQuality, decode_groups),
    (CorruptComparison, lambda value: decode_comparison(value, seal(value, COMPARISON_SCHEMA))),
    (CorruptLabels, lambda value: decode_manifest("manifest", struct.pack("<I", zlib.crc32(value)) + value)),
    (UnreadableProfile, decode_profile),
]


@pytest.mark.parametrize("value", [DEEP_JSON, NO_UTF8_JSON])
@pytest.mark.parametrize(("refusal", "read"), JSON)
def test_json(value: bytes, refusal: type[Exception], read: Callable[[bytes], object]) -> None:
    with pytest.raises(refusal):
        read(value)


@pytest.mark.parametrize("stage", [-1, 1, 2**70])
def test_a_rollout_at_a_stage_that_there_is_not(stage: int) -> None:
    model = {"name": "delay", "version": 1}
    rollout = {"id": "r", "candidate": model, "champion": model, "stages": [0.1], "stage": stage}
    told = {"pipeline": "flights", "revision": 1, "author": "", "reason": "", "time": 0}
    control = {**told, "champion": model, "rollout": rollout}

    with pytest.raises(UnreadableControl):
        read_control_record(record(json.dumps(control).encode(), CONTROL_SCHEMA), "flights")
    with pytest.raises(UnreadableDecision):
        decision_of(record(json.dumps({**told, "command": "", "after": control}).encode(), DECISION_SCHEMA), "flights")


@pytest.mark.parametrize(("refusal", "read"), MSGPACK)
def test_msgpack(refusal: type[Exception], read: Callable[[bytes], object]) -> None:
    with pytest.raises(refusal):
        read(DEEP_MSGPACK)
