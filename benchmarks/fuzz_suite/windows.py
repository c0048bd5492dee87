"""Readers of many records at a time: events and labels. What is wrong with one must leave its neighbours alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from fuzz_suite.inputs import Case, Message, Wrong
from fuzz_suite.mutators import in_json

from penstock.models.key_templates import KeyTemplate
from penstock.schemas.columns import FeatureType, Layout
from penstock.schemas.dead_letters import DeadLetter
from penstock.schemas.events import EventFeature, EventSchema, KeyPart, Rejection
from penstock.schemas.json_events import JsonCodec
from penstock.schemas.keys import routing_keys
from penstock.schemas.labels import decode_labels, encode_label, encode_watermark
from penstock.schemas.records import Label, Source

NEIGHBOURS = 4
GOOD = "good"
"""The topic of the good neighbours in a window."""


class Window:
    """Mutated records between good ones."""

    width = 8

    def __init__(self, name: str, share: float, good: Sequence[bytes]) -> None:
        self.name, self.share, self.good = name, share, good

    def case(self, rng: random.Random) -> Case:
        case = [Message(self._mutated(rng), key=rng.randbytes(rng.randrange(3))) for _ in range(self.width)]
        case += [Message(rng.choice(self.good), topic=GOOD) for _ in range(NEIGHBOURS)]
        rng.shuffle(case)
        return [msgspec.structs.replace(message, offset=offset) for offset, message in enumerate(case)]

    def _mutated(self, rng: random.Random) -> bytes | None:
        return None if rng.random() < 0.005 else in_json(rng, rng.choice(self.good), self.good)

    def read(self, case: Case) -> int:
        accepted, rejected, rows = self.decode(case)
        if sorted([*accepted, *(bad.position for bad in rejected)]) != list(range(len(case))):
            raise Wrong("records were lost, doubled or moved")
        good = [position for position, message in enumerate(case) if message.topic == GOOD]
        alone = self.decode([case[position] for position in good])
        if alone[1] or [rows[accepted.index(position)] for position in good if position in accepted] != alone[2]:
            raise Wrong("a good record was rejected, or gave other values than without its neighbours")
        for bad in rejected:
            letter = DeadLetter.of(case[bad.position], "events", 0, bad.stage, bad.error, bad.message)  # type: ignore[arg-type]
            if DeadLetter.from_record(*letter.to_record()) != letter:
                raise Wrong("its dead letter reads back as another")
        return len(accepted) - len(good)

    def decode(self, case: Case) -> tuple[list[int], list[Rejection], list[Any]]:
        """Positions of what was accepted, what was rejected, and what each accepted record gave."""
        raise NotImplementedError


class Events(Window):
    """`JsonCodec`, and the rendering of look-up keys from what it took out of the events."""

    def __init__(
        self, name: str, share: float, schema: EventSchema, templates: Sequence[str], good: Sequence[bytes]
    ) -> None:
        super().__init__(name, share, good)
        self._codec = JsonCodec(schema)
        self._templates = [KeyTemplate.parse(template) for template in templates]

    def decode(self, case: Case) -> tuple[list[int], list[Rejection], list[Any]]:
        events = self._codec.decode(case, [0] * len(case))  # type: ignore[arg-type]
        columns = events.columns
        if np.isinf(columns.floats).any() or any(np.isinf(vector).any() for vector in columns.vectors):
            raise Wrong("a feature is infinite")
        matrices: list[Any] = [columns.floats, columns.integers, *columns.vectors]
        parts: list[Any] = [
            events.ids, events.times.tolist(), events.keys, routing_keys(events.keys, events.ids, events.rows).tolist(),
            *([row.tobytes() for row in matrix] for matrix in matrices),
            *(category.decoded() for category in columns.categories),
            *(list(part) for part in events.key_parts.values()),
            *(template.render(events) for template in self._templates),
        ]  # fmt: skip
        return events.accepted.tolist(), events.rejected, list(zip(*parts, strict=True))


class Labels(Window):
    """`decode_labels`."""

    def decode(self, case: Case) -> tuple[list[int], list[Rejection], list[Any]]:
        batch = decode_labels(case)
        if not np.isfinite(batch.values.astype(np.float32)).all() or sum(batch.origins.values()) != batch.rows:
            raise Wrong("a label is not finite, or an origin is not counted")
        rejected = {bad.position for bad in batch.rejected}
        watermarks = [
            position for position in range(len(case)) if position not in rejected.union(batch.positions.tolist())
        ]
        if (batch.watermark is None) == bool(watermarks):
            raise Wrong("a watermark was lost, or came from nowhere")
        rows = list(
            zip(batch.hashes.tolist(), batch.values.tolist(), batch.times.tolist(), batch.sources.tolist(), strict=True)
        )
        return [*batch.positions.tolist(), *watermarks], batch.rejected, [*rows, *(None for _ in watermarks)]


def events() -> list[Window]:
    """A flat schema, one of nested and optional objects, and one that takes next to nothing from the event."""
    flat = EventSchema(
        Layout(("distance", "wind"), ("seats", "holiday"), ("origin",), (("legs", 2),)),
        (
            EventFeature("distance", "distance", FeatureType("float"), required=True),
            EventFeature("wind", "wind", FeatureType("float"), required=False),
            EventFeature("seats", "seats", FeatureType("int"), required=False),
            EventFeature("holiday", "holiday", FeatureType("bool"), required=False),
            EventFeature("origin", "origin", FeatureType("category"), required=False),
            EventFeature("legs", "legs", FeatureType("vector", 2), required=False),
        ),
        id="flight", time="time", key="plane", key_parts=(KeyPart("origin", "string"), KeyPart("due", "time")),
    )  # fmt: skip
    nested = EventSchema(
        Layout(("wind", "looked_up"), ("seats",), ("origin",)),
        (
            EventFeature("wind", "weather.wind", FeatureType("float"), required=False),
            EventFeature("seats", "leg.plane.seats", FeatureType("int"), required=False),
            EventFeature("origin", "leg.origin", FeatureType("category"), required=False),
        ),
        id="flight", time="at", time_unit="iso", key="leg.plane.tail",
        key_parts=(KeyPart("leg.origin", "string"), KeyPart("weather.at", "time")),
    )  # fmt: skip
    bare = EventSchema(
        Layout(("wind",)),
        (EventFeature("wind", "wind", FeatureType("float"), required=False),),
        time="t",
        time_unit="s",
    )
    return [
        Events("events, flat", 0.2, flat, ["{origin}:{due:hour-1}:{key}", "{time:month+7}", "{id}{time}"], _FLAT),
        Events("events, nested", 0.15, nested, ["{leg.origin}/{weather.at:day}", "{weather.at}{key}"], _NESTED),
        Events("events, bare", 0.05, bare, ["{id}:{time:minute}"], _BARE),
    ]


def labels() -> Labels:
    """Labels, with and without all that they may have, and a watermark among the mutated."""
    written = [
        Label("UA1545", 1.0, 1_357_034_400_000),
        Label("naïve ✈", 0.25, 7, key="N14228", source=Source(3, 2**62), origin="manual"),
    ]
    return _LabelsAndWatermarks("labels", 0.1, [encode_label(label)[0] for label in written])


class _LabelsAndWatermarks(Labels):
    def _mutated(self, rng: random.Random) -> bytes | None:
        if rng.random() < 0.1:
            return in_json(rng, encode_watermark(rng.randrange(2**40))[0], self.good)
        return super()._mutated(rng)


_FLAT = (
    b'{"flight":"UA1545","time":1357034400000,"plane":"N14228","distance":1400,"wind":-0.5,"seats":149,"holiday":true,'
    b'"origin":"JFK","legs":[1,2.5],"due":1357034400000.0,"more":{"a":[1,{"b":null}]}}',
    b'{"flight":7,"time":-1.5,"plane":12,"distance":1e-40,"origin":"na\\u00efve \\ud83d\\ude00"}',
    b'{"flight":"x","time":0,"distance":0,"wind":null,"seats":null,"holiday":null,"origin":null,"legs":null,"due":null}',
)
_NESTED = (
    b'{"flight":"UA1545","at":"2013-03-01T05:00:00+02:00","weather":{"wind":12.5,"at":"2013-03-01"},'
    b'"leg":{"origin":"JFK","plane":{"seats":9,"tail":"N14228"}}}',
    b'{"flight":9007199254740993,"at":"1970-01-01","weather":null,"leg":{"plane":null,"origin":null}}',
    b'{"flight":"x","at":"2013-12-31T23:59:59.999Z"}',
)
_BARE = (b'{"t":1357034400.123,"wind":1}', b'{"t":0}')
