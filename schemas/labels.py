"""Labels on the bus: true outcomes as JSON, many records at a time.

A record's value is a `Label`, or `{"watermark": time}`, which says that all labels up to then have been sent. A record
that is neither is a `Rejection` among its neighbours, which are read all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.schemas.events import Rejection
from penstock.schemas.json_errors import rejection
from penstock.schemas.keys import hash_keys
from penstock.schemas.records import LABEL_SCHEMA, Label

LARGEST = float(np.finfo(np.float32).max)
"""Labels are kept as float32, as scores are."""
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999: a time outside was written in another unit."""


class Valued(Protocol):
    """A record, as far as it matters here."""

    @property
    def value(self) -> bytes | None: ...


class Dated(Valued, Protocol):
    """A record that the brokers dated."""

    @property
    def timestamp(self) -> int:
        """Unix ms."""
        ...


@dataclass(frozen=True, slots=True)
class LabelBatch:
    """The labels of a run of records, in their order; n of them.

    hashes     [n] uint64 of the events' ids, as `penstock.schemas.keys` hashes
    values     [n] float64, finite and within float32
    times      [n] int64 Unix ms
    sources    [n, 2] int64 partition and offset that the label echoes; -1, -1 where it echoes none
    positions  [n] int64 of the label's record in the run
    watermark  the largest that was sent, Unix ms; None: none was
    origins    how many labels name which origin; "" is none
    rejected   the records that are no labels, with the reason
    """

    hashes: NDArray[np.uint64]
    values: NDArray[np.float64]
    times: NDArray[np.int64]
    sources: NDArray[np.int64]
    positions: NDArray[np.int64]
    watermark: int | None
    origins: dict[str, int]
    rejected: list[Rejection]

    @property
    def rows(self) -> int:
        return len(self.hashes)


class _Place(msgspec.Struct):
    """`Source`, within the numbers that Kafka has."""

    partition: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    offset: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Wire(msgspec.Struct):
    """A label or a watermark; what must be there is checked afterwards, for one sentence about it."""

    id: Annotated[str, msgspec.Meta(min_length=1)] | int | None = None
    label: float | bool | None = None
    time: Annotated[int, msgspec.Meta(ge=_FIRST_MS, le=_LAST_MS)] | None = None
    source: _Place | None = None
    origin: str | None = None
    watermark: Annotated[int, msgspec.Meta(ge=_FIRST_MS, le=_LAST_MS)] | None = None


_TOO_LARGE = "label is too large for a float32: it would become infinite."

_decode = msgspec.json.Decoder(_Wire).decode
_encode = msgspec.json.Encoder().encode


def encode_label(label: Label) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Value and headers of a label's record.

    >>> encode_label(Label("UA1545", 1.0, 1357034400000))
    (b'{"id":"UA1545","label":1.0,"time":1357034400000}', [('penstock-schema', b'label/1')])
    """
    return _encode(label), [LABEL_SCHEMA]


def encode_watermark(time_ms: int) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Value and headers of the record that says: all labels up to then have been sent.

    >>> encode_watermark(1357034400000)[0]
    b'{"watermark":1357034400000}'
    """
    return _encode({"watermark": time_ms}), [LABEL_SCHEMA]


def decode_credible_labels(records: Sequence[Dated], *, max_future_ms: int) -> LabelBatch:
    """As `decode_labels`, without watermarks of the future: nobody can have sent all labels up to then.

    One such watermark, from a sender whose clock is ahead, would make every event's outcome due at once, for as long as
    the clock was wrong. It is in `rejected` when it is more than `max_future_ms` after its record.

    >>> from types import SimpleNamespace as Record
    >>> ahead = Record(value=encode_watermark(90_000_000)[0], timestamp=5_000)
    >>> batch = decode_credible_labels([Record(value=encode_watermark(4_000)[0], timestamp=5_000), ahead],
    ...                                max_future_ms=1_000)
    >>> batch.watermark, batch.rejected[0].message
    (4000, 'watermark is 89995.0 s after its record: nobody has sent all labels up to then.')
    """
    batch = decode_labels(records)
    if batch.watermark is None or batch.watermark <= min(record.timestamp for record in records) + max_future_ms:
        return batch
    credible: int | None = None
    rejected = list(batch.rejected)
    for position, record in enumerate(records):
        if (watermark := decode_labels([record]).watermark) is None:
            continue
        if watermark <= record.timestamp + max_future_ms:
            credible = watermark if credible is None else max(credible, watermark)
        else:
            ahead_s = (watermark - record.timestamp) / 1000
            message = f"watermark is {ahead_s:.1f} s after its record: nobody has sent all labels up to then."
            rejected.append(Rejection(position, "validate", "wrong_type", message))
    return replace(batch, watermark=credible, rejected=sorted(rejected, key=lambda bad: bad.position))


def decode_labels(records: Sequence[Valued]) -> LabelBatch:
    """Read the records of the label topic. A bad one is never fatal: it is in `rejected`, by its position.

    >>> from types import SimpleNamespace as Record
    >>> batch = decode_labels([Record(value=b'{"id": "UA1", "label": true, "time": 7}'), Record(value=b"7"),
    ...                        Record(value=b'{"id": "UA2", "label": "late", "time": 7}'),
    ...                        Record(value=b'{"watermark": 9}')])
    >>> batch.values.tolist(), batch.watermark
    ([1.0], 9)
    >>> for bad in batch.rejected:
    ...     print(bad.position, bad.message)
    1 The value has the wrong type: expected object, got int.
    2 label is a string; expected a number, true or false: a class goes by its number.
    """
    ids: list[bytes] = []
    values: list[float] = []
    times: list[int] = []
    sources: list[tuple[int, int]] = []
    positions: list[int] = []
    rejected: list[Rejection] = []
    origins: Counter[str] = Counter()
    watermark: int | None = None
    for position, record in enumerate(records):
        value = record.value
        try:
            wire = _decode(value)  # type: ignore[arg-type]  # None raises TypeError
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            rejected.append(_rejection(position, value, error))
            continue
        label = wire.label
        if wire.watermark is not None and wire.id is None:
            watermark = wire.watermark if watermark is None else max(watermark, wire.watermark)
        elif wire.id is None or label is None or wire.time is None:
            rejected.append(_incomplete(position, wire))
        elif not -LARGEST <= label <= LARGEST:
            rejected.append(Rejection(position, "validate", "not_finite", _TOO_LARGE))
        else:
            ids.append(str(wire.id).encode())
            values.append(label)
            times.append(wire.time)
            sources.append((-1, -1) if wire.source is None else (wire.source.partition, wire.source.offset))
            positions.append(position)
            origins[wire.origin or ""] += 1
    return LabelBatch(
        hash_keys(ids, len(ids)),
        np.array(values, np.float64),
        np.array(times, np.int64),
        np.array(sources, np.int64).reshape(-1, 2),
        np.array(positions, np.int64),
        watermark,
        dict(origins),
        rejected,
    )


def _rejection(position: int, value: bytes | None, error: Exception) -> Rejection:
    text = str(error)
    if isinstance(error, msgspec.ValidationError) and text.endswith(" - at `$.label`"):
        if "out of range" in text:
            return Rejection(position, "validate", "not_finite", _TOO_LARGE)
        kind = "a string" if "got `str`" in text else "no single number"
        message = f"label is {kind}; expected a number, true or false: a class goes by its number."
        return Rejection(position, "validate", "wrong_type", message)
    if isinstance(error, msgspec.ValidationError) and text.endswith(("at `$.time`", "at `$.watermark`")):
        field = text.rpartition("$.")[2].removesuffix("`")
        message = f"{field} is no time in Unix milliseconds of the years 1 to 9999."
        return Rejection(position, "validate", "wrong_type", message)
    return rejection(position, value, error, {})


def _incomplete(position: int, wire: _Wire) -> Rejection:
    field = next(name for name in ("id", "label", "time") if getattr(wire, name) is None)
    return Rejection(position, "validate", "missing_field", f"{field} is missing; a label has id, label and time.")
