"""Readings: what the workers say about themselves, every few seconds, on the topic of the summaries.

They travel there so that the judge has one ordered input: what it concludes depends on that topic alone, never on a
clock or a server of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.schemas.errors import PenstockError
from penstock.schemas.records import SCHEMA_HEADER

OPERATIONS_SCHEMA = (SCHEMA_HEADER, b"operations/1")


class CorruptReading(PenstockError):
    """A record that claims to be a reading and is not.

    >>> print(CorruptReading("flights.summaries, offset 7", "it is truncated"))
    flights.summaries, offset 7: the worker's reading cannot be read: it is truncated.
    """

    def __init__(self, place: str, cause: str) -> None:
        self.place, self.cause = place, cause
        super().__init__(f"{place}: the worker's reading cannot be read: {cause}.")


class VariantReading(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the model behind one variant did over the interval.

    model       NAME@VERSION
    rows        that were routed to it
    non_finite  of those, for which it gave NaN or an infinity, and
    failed      on which it failed; whether or not a fallback then answered
    calls       of the model, and
    took_us     microseconds that they took
    """

    model: str
    rows: int
    non_finite: int = 0
    failed: int = 0
    calls: int = 0
    took_us: int = 0


class OperationalReading(msgspec.Struct, frozen=True, omit_defaults=True):
    """One worker's figures over the interval that ends at `time`.

    role, worker   score, watch, …; which of its workers, the same name through restarts where there is one
    time           Unix ms, the worker's clock; the judge takes the brokers', which dated the record
    interval_ms    since its reading before this one
    partitions     of the events topic that it owns
    events         taken from its input
    dead_letters   of those, by stage
    non_finite     of those, for which the model gave NaN or an infinity
    latency_ms     99 % of the events were done within so many ms of their broker timestamp; None: there was no event
    behind_ms      age of the newest event done while others wait; 0 when none waits
    windows        inference calls, and
    redis_failures of those, the ones for which Redis did not answer in time
    label_age_ms   since a label was last read; None: this worker reads none
    variants       variant → how its model did; of the score role
    """

    role: str
    worker: str
    time: int
    interval_ms: int
    partitions: tuple[int, ...] = ()
    events: int = 0
    dead_letters: dict[str, int] = {}
    non_finite: int = 0
    latency_ms: float | None = None
    behind_ms: int = 0
    windows: int = 0
    redis_failures: int = 0
    label_age_ms: int | None = None
    variants: dict[str, VariantReading] = {}


def encode_reading(reading: OperationalReading) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A record's value and headers.

    >>> value, headers = encode_reading(OperationalReading("score", "a", 1357034400000, 10_000, events=7))
    >>> decode_reading(value, headers).events
    7
    """
    return _encoder.encode(reading), [OPERATIONS_SCHEMA]


def decode_reading(
    value: bytes | None, headers: Sequence[tuple[str, bytes]], *, place: str = "the summaries"
) -> OperationalReading:
    """Raises CorruptReading, which names `place`."""
    schema = dict(headers).get(SCHEMA_HEADER)
    if schema != OPERATIONS_SCHEMA[1]:
        raise CorruptReading(place, f"its schema is {schema!r}, not {OPERATIONS_SCHEMA[1]!r}")
    try:
        return _decoder.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptReading(place, str(error)) from error


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(OperationalReading)
