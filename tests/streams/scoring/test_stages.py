"""Whatever stage an event fails in, its dead letter holds it byte for byte, and its neighbours are scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from answering import CHAMPION_1, Model, control, serving

from penstock.models.features import Catalogue, Feature
from penstock.models.key_templates import KeyTemplate
from penstock.monitoring.metrics.score import ScoreMetrics
from penstock.schemas.columns import FeatureType as Type
from penstock.schemas.columns import Floats
from penstock.schemas.dead_letters import DeadLetter
from penstock.schemas.events import DecodedEvents
from penstock.schemas.json_events import JsonCodec
from penstock.schemas.topics import Topics
from penstock.streams.clocks import SteadyClock
from penstock.streams.features.store import LookedUp, LookUpCounts
from penstock.streams.scoring.answering import Answering
from penstock.streams.scoring.inference import Inference
from penstock.streams.scoring.outputs import OutputEncoder
from penstock.streams.scoring.scoring import Run, Scoring

NOW = 1_700_000_000_000
CATALOGUE = Catalogue(
    (Feature("x", Type("float")), Feature("seats", Type("float"), entity="plane", max_age_s=60)),
    {"plane": ("plane", KeyTemplate.parse("{id}"))},
)
TOPICS = Topics("test", "events")


@dataclass(frozen=True)
class Record:
    value: bytes | None
    offset: int
    headers: Sequence[tuple[str, bytes]] = (("trace", b"\x00\xff"), ("trace", b"again"))
    key: bytes | None = b"\xff\x00key"
    timestamp: int = NOW


class Planes:
    """A store that holds 100 seats, but of the planes that are named for what is wrong with them."""

    counts = LookUpCounts()

    async def look_up(self, events: DecodedEvents) -> LookedUp:
        named = {
            name: np.array([who == name for who in events.ids], np.bool_) for name in (*LOST, "stale", "malformed")
        }
        place = events.columns.layout.floats.index("seats")
        events.columns.floats[:, place] = np.where(np.logical_or.reduce([named[name] for name in LOST]), np.nan, 100)
        written = np.where(named["stale"], NOW - 61_000, NOW)[:, None]
        return LookedUp(written, named["malformed"][:, None], unanswered=named["unanswered"][:, None])

    async def close(self) -> None: ...


LOST = ("missing", "unanswered")
WRONG = (*LOST, "stale", "malformed")


def doubled(x: Floats) -> Floats:
    if (x == 13).any():
        raise ValueError("thirteen")
    return np.where(x < 0, np.nan, 2 * x)


BAD = [
    (b"{", "decode", "not_json"),
    (b"", "decode", "empty"),
    (None, "decode", "tombstone"),
    (b'{"id": "a", "x": "text"}', "validate", "wrong_type"),
    (b'{"x": 1}', "validate", "missing_field"),
    (b'{"id": "a", "x": 1e999}', "validate", "not_finite"),
    (b'{"id": "missing", "x": 1}', "features", "missing_feature"),
    (b'{"id": "stale", "x": 1}', "features", "stale_feature"),
    (b'{"id": "malformed", "x": 1}', "features", "malformed_feature"),
    (b'{"id": "unanswered", "x": 1}', "features", "unanswered_feature"),
    (b'{"id": "a", "x": 13}', "score", "model_failed"),
    (b'{"id": "a", "x": -1}', "score", "not_finite"),
]


@pytest.mark.parametrize(("value", "stage", "error"), BAD, ids=[error for _, _, error in BAD])
async def test_an_event_that_fails_is_kept_as_it_came(value: bytes | None, stage: str, error: str) -> None:
    await check(Record(value, 101), stage, error)


async def test_an_event_whose_prediction_no_record_holds_is_kept_as_it_came() -> None:
    await check(Record(b'{"id": "a", "x": 1}', 101, headers=[("h", b"x" * 1_048_000)]), "encode", "too_large")


@pytest.mark.parametrize("wrong", [b'{"id": "c", "x": 4}', b'{"id": "c", "x": 13}'], ids=["all good", "one fails"])
@pytest.mark.parametrize("large", [False, True])
async def test_a_window_of_several_partitions_becomes_what_each_alone_does(
    wrong: bytes, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [b'{"id": "a", "x": 1}', b'{"id": "b", "x": 2}', wrong, b'{"id": "d", "x": 3}']
    headers = [[("h", b"x" * 1_048_000)] if large and offset == 3 else [] for offset in range(4)]
    records = [Record(value, offset, headers=headers[offset]) for offset, value in enumerate(values)]
    metrics, inference = ScoreMetrics("test"), Inference()
    scoring = Scoring(
        codec=JsonCodec(CATALOGUE.event_schema(id="id")), catalogue=CATALOGUE, store=Planes(), metrics=metrics
    )
    answering = Answering(inference, metrics, age_s=SteadyClock().age_s)
    window = await scoring.prepare([Run("events", 3, 0, 1), Run("events", 5, 1, 3), Run("events", 6, 3, 4)], records)
    window = await answering.answer(window, serving(control(1), Model(CHAMPION_1, doubled)))
    inference.shutdown()

    together = OutputEncoder(CATALOGUE, TOPICS, metrics).encode(window)
    monkeypatch.setattr("penstock.streams.scoring.outputs.FEW_ROWS", 0)
    alone = OutputEncoder(CATALOGUE, TOPICS, metrics).encode(window)
    name = TOPICS.predictions.name
    assert [made.records.get(name) for made in together] == [made.records.get(name) for made in alone]
    sources = [json.loads(value or b"")["source"] for made in together for _, value, _ in made.records.get(name, [])]
    assert {"partition": 3, "offset": 0} in sources
    assert {"partition": 5, "offset": 1} in sources
    assert [len(made.records[TOPICS.dead_letters.name]) for made in together] == [0, int(b"13" in wrong), int(large)]


async def check(bad: Record, stage: str, error: str) -> None:
    good = [Record(b'{"id": "b", "x": 1}', offset) for offset in (100, 102)]
    metrics, inference = ScoreMetrics("test"), Inference()
    scoring = Scoring(
        codec=JsonCodec(CATALOGUE.event_schema(id="id")), catalogue=CATALOGUE, store=Planes(), metrics=metrics
    )
    answering = Answering(inference, metrics, age_s=SteadyClock().age_s)
    window = await scoring.prepare([Run("events", 3, 0, 3)], [good[0], bad, good[1]])
    window = await answering.answer(window, serving(control(1), Model(CHAMPION_1, doubled)))
    inference.shutdown()
    [made] = OutputEncoder(CATALOGUE, TOPICS, metrics).encode(window)

    [letter] = (DeadLetter.from_record(*record) for record in made.records[TOPICS.dead_letters.name])
    assert (letter.stage, letter.error) == (stage, error)
    assert (letter.key, letter.value, letter.headers) == (bad.key, bad.value, tuple(bad.headers))
    assert (letter.topic, letter.partition, letter.offset, letter.timestamp) == ("events", 3, 101, NOW)
    assert len(made.records[TOPICS.predictions.name]) == 2
    assert made.scored is not None
    assert made.scored.offsets.tolist() == [100, 102]
