"""What a record of the control topic holds, and what a reader says where it holds something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiokafka import ConsumerRecord

from penstock.models.control_checks import InvalidControl, check
from penstock.schemas.control import Control
from penstock.schemas.errors import PenstockError, UnreachableError
from penstock.schemas.records import CONTROL_SCHEMA, SCHEMA_HEADER

if TYPE_CHECKING:
    from penstock.streams.settings import KafkaSettings

READING = {"fetch_max_wait_ms": 100}
"""For consumers of small topics that are read to their end: nobody wants to wait half a second for nothing."""


class UnreadableControl(PenstockError):
    """A record of the control topic is not a control record that this version knows.

    `newer` says that it names a later schema: then only a later version of Penstock may write over it.
    """

    def __init__(self, topic: str, offset: int, reason: str, *, newer: bool = False) -> None:
        self.topic, self.offset, self.reason, self.newer = topic, offset, reason, newer
        fix = (
            "Upgrade Penstock."
            if newer
            else "The next change writes a good one after it, `penstock models use NAME@VERSION` for example."
        )
        super().__init__(f"Record {offset} of {topic} is not a control record that can be used: {reason}. {fix}")


def read_control_record(record: ConsumerRecord, pipeline: str) -> Control | None:
    """The state that a record of the control topic holds; None for another pipeline's.

    Raises UnreadableControl, never anything else, for what a record may contain.
    """
    if record.key != pipeline.encode():
        return None
    schema = dict(record.headers).get(SCHEMA_HEADER)
    if schema != CONTROL_SCHEMA[1]:
        newer = schema is not None and schema.startswith(b"control/")
        found = "no schema" if schema is None else f"schema {schema.decode(errors='replace')}"
        raise UnreadableControl(
            record.topic, record.offset, f"it names {found}, not {CONTROL_SCHEMA[1].decode()}", newer=newer
        )
    if record.value is None:
        raise UnreadableControl(record.topic, record.offset, "it has no value")
    try:
        control = msgspec.json.decode(record.value, type=Control)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableControl(record.topic, record.offset, str(error).rstrip(".")) from error
    if control.pipeline != pipeline:
        raise UnreadableControl(record.topic, record.offset, f"it is of pipeline {control.pipeline!r}")
    try:
        check(control)
    except InvalidControl as error:
        raise UnreadableControl(record.topic, record.offset, str(error).rstrip(".")) from error
    return control


def silent(kafka: KafkaSettings, deadline_s: float) -> UnreachableError:
    return UnreachableError(
        "Kafka", kafka.address, f"no answer within {deadline_s:g} s", fix="`penstock doctor` tells more."
    )
