"""The JSON records of the bus, and the headers that name their schema.

Times are Unix milliseconds, UTC. Every record carries its schema's name and version in the header `penstock-schema`;
a reader ignores fields it does not know, so a version changes only when the meaning of a field does.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Stage = Literal["decode", "validate", "features", "score", "encode"]
"""Where an event went wrong."""

SCHEMA_HEADER = "penstock-schema"
TRACEPARENT_HEADER = "traceparent"
"""W3C trace context, carried from the event to its prediction and its dead letter."""

PREDICTION_SCHEMA = (SCHEMA_HEADER, b"prediction/1")
LABEL_SCHEMA = (SCHEMA_HEADER, b"label/1")
CONTROL_SCHEMA = (SCHEMA_HEADER, b"control/1")
DECISION_SCHEMA = (SCHEMA_HEADER, b"decision/1")
DEAD_LETTER_SCHEMA = (SCHEMA_HEADER, b"dead-letter/1")
SCORED_SCHEMA = (SCHEMA_HEADER, b"scored/1")
PAIRED_SCHEMA = (SCHEMA_HEADER, b"shadow/1")

REVIEW_HEADER = "penstock-review"
"""Why a prediction waits for a person on the review topic: `assist` (all do), `abstain` (its score is in the band)."""

CHECKSUM_HEADER = "penstock-crc32"
"""The CRC-32 of a binary record's value, eight hexadecimal digits."""


class Source(msgspec.Struct, frozen=True):
    """Where an event stands in the events topic."""

    partition: int
    offset: int


class Prediction(msgspec.Struct, frozen=True, omit_defaults=False):
    """One event's prediction, for consumers. `penstock.schemas.predictions` writes these bytes without such objects.

    `score` is the model's single number (a probability or a value); `scores` the whole vector where the model has one.
    `defaulted` names the features that were missing, stale or malformed and were given their default.
    """

    id: str
    score: float
    variant: str
    model: str
    version: int
    routing_revision: int
    event_time: int
    source: Source
    scores: list[float] | None = None
    defaulted: list[str] = []
    fallback: str | None = None


class Label(msgspec.Struct, frozen=True, omit_defaults=True):
    """The true outcome of an event, arriving later. `penstock.schemas.labels` reads and writes it.

    id      the event's
    label   0 or 1, false or true; the number of a class; a value
    time    when the outcome became known, Unix ms: of two labels of one event the later counts
    key     the event's, so that the label comes to the partition of its prediction
    source  the event's, echoed from the prediction: the label goes to that partition whatever its key
    origin  where it was found out, for labels beside the usual ones: `manual`
    """

    id: str
    label: float
    time: int
    key: str | None = None
    source: Source | None = None
    origin: str | None = None


class ModelRef(msgspec.Struct, frozen=True, order=True):
    """A version of a model, written NAME@VERSION.

    >>> str(ModelRef.parse("delay@3"))
    'delay@3'
    """

    name: str
    version: int

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Raises ValueError unless `text` is NAME@VERSION with a whole version of at least 1."""
        name, _, version = text.partition("@")
        if not name or not version.isascii() or not version.isdigit() or int(version) < 1:
            raise ValueError(f"{text!r} is not NAME@VERSION, for example delay@3")
        return cls(name, int(version))

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"
