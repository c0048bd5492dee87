"""What a decoder takes and gives: the fields wanted from an event, and a window of events as columns.

A `Codec` turns the bytes of a window into columns, event by event: a bad event becomes a `Rejection` beside the good
ones and never touches its neighbours. JSON is in `penstock.schemas.json_events`; Avro and Protobuf can join behind the
same protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from penstock.schemas.layout import FeatureType, Layout
from penstock.schemas.records import Stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from penstock.schemas.columns import Columns

TimeUnit = Literal["ms", "s", "iso"]
"""How an event writes its time: Unix milliseconds, Unix seconds (or fractions), or ISO 8601 (UTC without a zone)."""


class ConsumedRecord(Protocol):
    """A record as the transport hands it over; aiokafka's compiled records have this shape."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class EventFeature(NamedTuple):
    """A feature that comes with the event. `path` is dotted: `payload.plane.seats`."""

    name: str
    path: str
    type: FeatureType
    required: bool
    """True: an event without it, or with null, is rejected. False: it is missing."""


class KeyPart(NamedTuple):
    """An event field that a look-up's key is made of: a string, or a time in Unix milliseconds."""

    path: str
    type: Literal["string", "time"]


@dataclass(frozen=True)
class EventSchema:
    """What the pipeline reads from an event; everything else in it is ignored.

    id        path of the event's id (string or whole number); None: `<partition>-<offset>`
    time      path of the event's time, in `time_unit`; None: the broker's timestamp
    key       path of the key that routing and sampling use; None: the record's own key
    features  those of the catalogue that come with the event
    key_parts fields that look-up keys are made of, beside the reserved names `id`, `key` and `time`; a missing or null
              part leaves the look-up without a key: its features are missing
    layout    of the whole catalogue: event features stand first in each group, in the order of `features`
    """

    layout: Layout
    features: tuple[EventFeature, ...]
    id: str | None = None
    time: str | None = None
    time_unit: TimeUnit = "ms"
    key: str | None = None
    key_parts: tuple[KeyPart, ...] = ()


class Rejection(NamedTuple):
    """One event that ends as a dead letter: its position in the window, where it failed and why."""

    position: int
    stage: Stage
    error: str
    """A short stable name, for counting: `not_json`, `wrong_type`, `missing_field`, `not_finite`, `tombstone`…"""
    message: str
    """One sentence for a person, naming the field where one is at fault."""


@dataclass(slots=True)
class DecodedEvents:
    """The good events of a window, row by row in the order of its records, and the bad ones beside them.

    accepted   [rows] positions in the window's records, ascending
    ids        [rows]
    times      [rows] event times, Unix ms
    keys       [rows] the keys for routing and sampling
    columns    event features filled in, looked-up features missing
    key_parts  path → [rows] strings (None: missing), or int64 Unix ms with MISSING_INTEGER for times
    """

    accepted: NDArray[np.intp]
    ids: list[str]
    times: NDArray[np.int64]
    keys: list[bytes | None]
    columns: Columns
    key_parts: Mapping[str, list[str | None] | NDArray[np.int64]]
    rejected: list[Rejection]

    @property
    def rows(self) -> int:
        return len(self.ids)


class Codec(Protocol):
    """Bytes to columns."""

    def decode(self, records: Sequence[ConsumedRecord], partitions: Sequence[int]) -> DecodedEvents:
        """Never raises for what an event contains: a bad event is a Rejection.

        `partitions` [records] says where each record was read; events without an id are named by it.
        """
        ...
