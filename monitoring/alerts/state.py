"""What an alert book remembers between two segments: plain data, so that a snapshot is exact."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from penstock.schemas.alerts import Cause, Severity, Whereabouts
from penstock.schemas.errors import PenstockError

SNAPSHOT_VERSION = 1
PACE = 5
"""Segments between two tellings of the same alert, for a start."""

Kind = Literal["summary", "quality", "operations"]


class Position(msgspec.Struct, frozen=True):
    """Where in the stream the judge stands when it observes. Operations have no rows: their offsets are 0.

    time    Unix ms: event time of the newest row; of operations, when the worker took its figures
    model   NAME@VERSION that answered most of the segment's rows
    ids     of a few of its events
    kind    what has been observed: a segment's rows, a segment's labelled rows, or the service itself
    """

    partition: int
    segment: int
    first_offset: int
    last_offset: int
    time: int
    model: str | None = None
    routing_revision: int | None = None
    ids: tuple[str, ...] = ()
    kind: Kind = "summary"


def content_id(pipeline: str, story: str, position: Position) -> str:
    """An id derived from what raised the alert: the same whenever the same stream is judged."""
    where = (position.kind, position.partition, position.segment, position.first_offset, position.time)
    content = msgspec.json.encode((pipeline, story, position.model, *where))
    return f"{story}-{hashlib.blake2b(content, digest_size=5).hexdigest()}"


class UnreadableBook(PenstockError):
    """The bytes are no snapshot of an alert book, or one of another version.

    >>> print(UnreadableBook("version 2, not 1"))
    The snapshot of the alerts cannot be restored: version 2, not 1. Start the judge without it, or use the Penstock \
that wrote it.
    """

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(
            f"The snapshot of the alerts cannot be restored: {cause}. "
            "Start the judge without it, or use the Penstock that wrote it."
        )


class OpenAlert(msgspec.Struct):
    """An alert that is not cleared.

    last_*      segment of its kind, counted from 1, that alarmed last, and the time then
    told_*      of the state that was told last
    wait        segments until more causes are told
    urgent      to be told now: it is new, or worse
    raised      it has been told as raised; a silent alert that is raised after all is told so once more
    grown       it has causes that have not been told
    """

    id: str
    story: str
    model: str | None
    kind: Kind
    routing_revision: int | None
    evidence: Whereabouts | None
    severity: Severity
    suppressed: str | None
    first_seen: int
    last_seen: int
    last_step: int
    last_time: int
    causes: list[Cause] = []
    count: int = 0
    told_step: int = 0
    told_time: int = 0
    told_count: int = 0
    wait: int = PACE
    urgent: bool = True
    raised: bool = False
    grown: bool = False
    acknowledged_by: str | None = None
    note: str | None = None


class PendingCause(msgspec.Struct):
    """A cause that is not confirmed yet, with the segments of its alarms among the last T."""

    story: str
    model: str | None
    kind: Kind
    cause: Cause
    severity: Severity
    first_seen: int
    count: int = 0
    steps: list[int] = []


class CoolDown(msgspec.Struct):
    """After the clearance of alert `id`: its signals wake nobody until then, unless worse than it was."""

    id: str
    story: str
    model: str | None
    kind: Kind
    until: int
    signals: list[str]
    severity: Severity


class Suppression(msgspec.Struct):
    """Alarms of these families wake nobody, for a reason that people read; `until` a time of summaries."""

    reason: str
    until: int | None
    families: list[str]


class BookState(msgspec.Struct):
    """Everything: `steps` counts the segments of each kind, `times` are the latest that each has named."""

    version: int = SNAPSHOT_VERSION
    steps: dict[Kind, int] = {}
    times: dict[Kind, int] = {}
    open: list[OpenAlert] = []
    pending: list[PendingCause] = []
    cool_downs: list[CoolDown] = []
    suppression: Suppression | None = None

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, snapshot: bytes) -> BookState:
        """Raises UnreadableBook."""
        try:
            version = msgspec.msgpack.decode(snapshot, type=_Versioned).version
            if version != SNAPSHOT_VERSION:
                raise UnreadableBook(f"version {version}, not {SNAPSHOT_VERSION}")
            return msgspec.msgpack.decode(snapshot, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnreadableBook(str(error).rstrip(".")) from error


class _Versioned(msgspec.Struct):
    version: int
