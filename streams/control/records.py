"""What a record of the control topic holds, and what a reader says where it holds something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiokafka import ConsumerRecord

from penstock.models.control_checks import InvalidControl, check
from penstock.schemas.control import Control
from penstock.schemas.errors import PenstockError, UnreachableError
from penstock.schemas.records import CONTROL_SCHEMA, SCHEMA_HEADER
from penstock.schemas.signing import ANYBODY, TrustedKeys
from penstock.streams.control.signatures import SIGNATURE_HEADER, doubts

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
        super().__init__(f"Record {offset} of {topic} is not a control record that can be used: {reason}. {self._fix}")

    @property
    def _fix(self) -> str:
        if self.newer:
            return "Upgrade Penstock."
        return "The next change writes a good one after it, `penstock models use NAME@VERSION` for example."


class UntrustedControl(UnreadableControl):
    """A record of the control topic that no key of `security.control_keys` signed.

    >>> print(UntrustedControl("flights.control", 7, "it is not signed"))
    Record 7 of flights.control is not a control record that can be used: it is not signed. Where it is what should \
serve, sign it: `penstock keys sign-control`; where it is not, find out who may write to the topic.
    """

    @property
    def _fix(self) -> str:
        return (
            "Where it is what should serve, sign it: `penstock keys sign-control`; where it is not, find out who may "
            "write to the topic."
        )


def read_control_record(record: ConsumerRecord, pipeline: str, trusted: TrustedKeys = ANYBODY) -> Control | None:
    """The state that a record of the control topic holds; None for another pipeline's.

    Raises UnreadableControl, never anything else, for what a record may contain; UntrustedControl, whatever it
    contains, where keys are `trusted` and none of them signed it.
    """
    if record.key != pipeline.encode():
        return None
    headers = dict(record.headers)
    schema = headers.get(SCHEMA_HEADER)
    signature = headers.get(SIGNATURE_HEADER) or b""
    doubt = doubts(trusted, record.topic, pipeline, schema or b"", record.value or b"", signature)
    if doubt is not None:
        raise UntrustedControl(record.topic, record.offset, doubt)
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
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
