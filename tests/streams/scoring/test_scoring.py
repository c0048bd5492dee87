"""A window in, records out: every event ends in exactly one of a prediction and a dead letter, in order."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from answering import CANARY_2, SMALL, Model, control, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.models.features import Catalogue, Feature
from penstock.models.routing import Routing
from penstock.models.row_failures import score_apart
from penstock.models.runtime import Scores
from penstock.monitoring.metrics.score import ScoreMetrics
from penstock.schemas.columns import Columns, FeatureType
from penstock.schemas.dead_letters import DeadLetter
from penstock.schemas.json_events import JsonCodec
from penstock.schemas.keys import hash_keys
from penstock.schemas.records import ModelRef
from penstock.schemas.scored import decode
from penstock.schemas.sealing import SecretKey
from penstock.schemas.topics import Topics
from penstock.streams.clocks import SteadyClock
from penstock.streams.features.store import NoFeatures
from penstock.streams.scoring.answering import Answering
from penstock.streams.scoring.automation import FULL, Automation
from penstock.streams.scoring.inference import Inference
from penstock.streams.scoring.outputs import OutputEncoder, Records
from penstock.streams.scoring.scoring import Run, Scoring
from penstock.streams.scoring.serving import Serving

CATALOGUE = Catalogue((Feature("x", FeatureType("float")),))
TOPICS = Topics("test", "events")
MODEL = ModelRef("doubling", 2)


@dataclass(frozen=True)
class Record:
    value: bytes | None
    offset: int
    key: bytes | None = b"key"
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = 1_700_000_000_000


@dataclass
class Doubling:
    """A model that doubles x, gives NaN for negative x, and fails on 13."""

    model: ModelRef = MODEL
    features: tuple[str, ...] = ("x",)
    description: str = "test"
    bit_stable: bool = True
    calls: list[int] = field(default_factory=list)

    def score(self, columns: Columns) -> Scores:
        x = columns.floats[:, 0]
        self.calls.append(len(x))
        if (x == 13).any():
            raise ValueError("thirteen")
        score = np.where(x < 0, np.nan, 2 * x).astype(np.float32)
        return Scores(score, None, np.isfinite(score))

    def check(self) -> None: ...

    def close(self) -> None: ...


ALONE = serving(control(5, MODEL), Doubling())


async def scored(
    runs: Sequence[Run],
    records: Sequence[Record],
    *,
    log_scored: bool = True,
    metrics: ScoreMetrics | None = None,
    serving: Serving = ALONE,
    automation: Automation = FULL,
    letter_key: SecretKey | None = None,
) -> list[Records]:
    metrics = metrics or ScoreMetrics("test")
    codec = JsonCodec(CATALOGUE.event_schema(id="id"))
    scoring = Scoring(codec=codec, catalogue=CATALOGUE, store=NoFeatures(), metrics=metrics)
    inference = Inference()
    answering = Answering(inference, metrics, age_s=SteadyClock().age_s)
    window = await answering.answer(await scoring.prepare(runs, records), serving)
    inference.shutdown()
    encoder = OutputEncoder(
        CATALOGUE, TOPICS, metrics, log_scored=log_scored, automation=automation, letter_key=letter_key
    )
    made = encoder.encode(window)
    return [
        {
            TOPICS.predictions.name: [],
            **records,
            TOPICS.scored.name: encoder.log.records([rows]) if encoder.log and rows else [],
        }
        for records, rows in made
    ]


def event(number: int, x: float) -> Record:
    return Record(json.dumps({"id": f"e{number}", "x": x}).encode(), number)


def one_run(records: Sequence[Record]) -> list[Run]:
    return [Run("events", 3, 0, len(records))]


async def test_a_prediction_says_who_scored_what_and_where_it_came_from() -> None:
    trace = ("traceparent", b"00-1-2-01")
    record = Record(b'{"id": "e1", "x": 4}', 17, key=b"JFK", headers=[trace])
    [records] = await scored(one_run([record]), [record])
    [(key, value, headers)] = records["test.predictions"]
    assert key == b"JFK"
    assert headers == [trace, ("penstock-schema", b"prediction/1")]
    assert value is not None
    assert json.loads(value) == {
        "id": "e1", "score": 8.0, "variant": "champion", "model": "doubling", "version": 2, "routing_revision": 5,
        "event_time": 1_700_000_000_000, "source": {"partition": 3, "offset": 17}, "scores": None, "defaulted": [],
        "fallback": None,
    }  # fmt: skip


EVENTS = st.one_of(
    st.just(b"not JSON"),
    st.none(),
    st.builds(lambda x: json.dumps({"id": "e", "x": x}).encode(), st.sampled_from([1.0, 2.5, -1.0, 13.0])),
)


@given(st.lists(EVENTS, min_size=1, max_size=30), st.integers(0, 30))
@settings(deadline=None)
async def test_every_event_ends_in_one_topic_of_its_own_partition_in_order(
    values: list[bytes | None], cut: int
) -> None:
    cut = min(cut, len(values))
    if all(value is not None and b"13" in value for value in values):
        return  # then the model is at fault: see below
    records = [Record(value, 100 + position) for position, value in enumerate(values)]
    runs = [run for run in (Run("events", 0, 0, cut), Run("events", 1, cut, len(values))) if run.start < run.stop]
    if [v for v in values if v and b"x" in v] and all(b"13" in v for v in values if v and b"x" in v):
        return
    written = await scored(runs, records)
    for run, outputs in zip(runs, written, strict=True):
        predicted = [json.loads(p[1] or b"")["source"]["offset"] for p in outputs["test.predictions"]]
        letters = [DeadLetter.from_record(*d) for d in outputs["test.dead-letters"]]
        logged = [int(o) for s in outputs["test.scored"] for o in decode(s[1], s[2]).offsets]
        assert predicted == sorted(predicted) == logged
        assert [letter.offset for letter in letters] == sorted(letter.offset for letter in letters)
        assert sorted(predicted + [letter.offset for letter in letters]) == list(range(100 + run.start, 100 + run.stop))
        assert all(letter.partition == run.partition for letter in letters)
        assert all(letter.value == values[letter.offset - 100] for letter in letters)


async def test_a_row_on_which_the_model_fails_is_a_dead_letter_and_its_neighbours_are_scored() -> None:
    records = [event(0, 1), event(1, 13), event(2, -1), event(3, 2)]
    [outputs] = await scored(one_run(records), records)
    assert [json.loads(p[1] or b"")["score"] for p in outputs["test.predictions"]] == [2.0, 4.0]
    failed, not_finite = (DeadLetter.from_record(*d) for d in outputs["test.dead-letters"])
    assert (failed.offset, failed.stage, failed.error) == (1, "score", "model_failed")
    assert failed.message == "doubling@2 failed: ValueError: thirteen"
    assert (not_finite.offset, not_finite.stage, not_finite.error) == (2, "score", "not_finite")
    assert not_finite.model is not None


async def test_with_a_key_a_dead_letter_keeps_its_value_for_those_who_have_it() -> None:
    key, records = SecretKey(bytes(32)), [event(0, 1), Record(b'{"x": "DE02120300000000202051"}', 1)]
    [outputs] = await scored(one_run(records), records, letter_key=key)
    [record] = outputs["test.dead-letters"]
    assert b"DE02" not in (record[1] or b"")
    assert DeadLetter.from_record(*record).opened({key.id: key}).value == records[1].value


async def test_nor_does_a_models_own_error_give_it_away() -> None:
    records = [event(0, 1), event(1, 13)]
    [outputs] = await scored(one_run(records), records, letter_key=SecretKey(bytes(32)))
    [letter] = (DeadLetter.from_record(*d) for d in outputs["test.dead-letters"])
    assert letter.message == "doubling@2 failed: ValueError"


async def test_a_window_of_bad_rows_is_a_window_of_dead_letters() -> None:
    records = [event(0, 13), event(1, 13)]
    [outputs] = await scored(one_run(records), records)
    letters = [DeadLetter.from_record(*record) for record in outputs["test.dead-letters"]]
    assert [(letter.offset, letter.error) for letter in letters] == [(0, "model_failed"), (1, "model_failed")]


async def test_an_event_whose_headers_are_too_large_for_a_prediction_is_a_dead_letter() -> None:
    records = [event(0, 1), Record(b'{"id": "e", "x": 1}', 1, headers=[("h", b"x" * 1_048_000)]), event(2, 1)]
    [outputs] = await scored(one_run(records), records)
    assert len(outputs["test.predictions"]) == 2
    [letter] = (DeadLetter.from_record(*d) for d in outputs["test.dead-letters"])
    assert (letter.offset, letter.stage, letter.error) == (1, "encode", "too_large")


async def test_an_event_too_large_for_the_scored_log_is_a_dead_letter() -> None:
    long_id = random.Random(1).randbytes(475_000).hex().encode()  # does not compress
    records = [event(0, 1), Record(b'{"id": "%s", "x": 1}' % long_id, 1), event(2, 1)]
    [outputs] = await scored(one_run(records), records)
    assert [json.loads(p[1] or b"")["id"] for p in outputs["test.predictions"]] == ["e0", "e2"]
    [letter] = (DeadLetter.from_record(*d) for d in outputs["test.dead-letters"])
    assert (letter.offset, letter.error) == (1, "too_large")
    assert letter.value == records[1].value


async def test_a_window_of_several_partitions_is_counted_as_one_window() -> None:
    metrics = ScoreMetrics("test")
    records = [event(1, 1.0), event(2, -1.0), Record(b"not JSON", 3), event(4, 4.0)]
    await scored([Run("events", 0, 0, 1), Run("events", 1, 1, 4)], records, metrics=metrics)
    told = metrics.exposition().decode().splitlines()
    for line in (
        'penstock_window_rows_count{pipeline="test"} 1.0',
        'penstock_window_rows_sum{pipeline="test"} 4.0',
        'penstock_events_total{pipeline="test"} 4.0',
        'penstock_predictions_total{pipeline="test"} 2.0',
        'penstock_dead_letters_total{error="not_json",pipeline="test",stage="decode"} 1.0',
        'penstock_dead_letters_total{error="not_finite",pipeline="test",stage="score"} 1.0',
    ):
        assert line in told


async def test_without_the_log_predictions_are_the_same() -> None:
    records = [event(0, 1), event(1, 2)]
    [with_log] = await scored(one_run(records), records)
    [without] = await scored(one_run(records), records, log_scored=False)
    assert with_log["test.predictions"] == without["test.predictions"]
    assert without["test.scored"] == []


@given(st.lists(st.sampled_from([1.0, 13.0]), min_size=2, max_size=64).filter(lambda xs: 1.0 in xs))
def test_bad_rows_are_found_in_few_calls(xs: list[float]) -> None:
    model = Doubling()
    columns = Columns(CATALOGUE.layout, np.array(xs, np.float32)[:, None], np.empty((len(xs), 0), np.int64), (), ())
    scores, failures = score_apart(model, columns)
    assert sorted(failures) == [row for row, x in enumerate(xs) if x == 13]
    assert np.array_equal(scores.finite, np.array(xs) != 13)
    assert len(model.calls) <= 1 + 2 * len(failures) * (1 + len(xs).bit_length())


# Who answered, and who may act on it

NEGATING = Model(SMALL, lambda x: -x)


def predicted(records: Records, topic: str = "test.predictions") -> list[dict[str, Any]]:
    return [json.loads(value or b"") for _, value, _ in records[topic]]


@pytest.mark.parametrize("count", [9, 90])
async def test_predictions_and_the_log_say_which_variant_and_model_answered(count: int) -> None:
    record = control(6, MODEL, canary=CANARY_2, share=0.5, fallback=SMALL)
    models = Doubling(), Model(CANARY_2, lambda x: 3 * x), NEGATING
    events = [replace(event(n, n - 3), key=b"key-%d" % n) for n in range(count)]
    routing = Routing(record)
    codes = routing.route(hash_keys([one.key for one in events], count), Columns.missing(CATALOGUE.layout, count))
    expected: list[tuple[str, str, int, str | None, float]] = []
    for n, code in enumerate(codes):
        if routing.variants[code] == "canary":
            expected.append(("canary", "sum", 2, None, 3.0 * (n - 3)))
        elif n in (0, 1, 2, 16):
            expected.append(("fallback", "small", 1, "failed" if n == 16 else "not_finite", -(n - 3.0)))
        else:
            expected.append(("champion", "doubling", 2, None, 2.0 * (n - 3)))

    [records] = await scored(one_run(events), events, serving=serving(record, *models))

    assert [
        (one["variant"], one["model"], one["version"], one["fallback"], one["score"]) for one in predicted(records)
    ] == expected
    assert {one["routing_revision"] for one in predicted(records)} == {6}
    [(_, value, headers)] = records["test.scored"]
    block = decode(value, headers)
    assert block.variants.decoded() == [variant for variant, *_ in expected]
    assert block.models.decoded() == [f"{model}@{version}" for _, model, version, *_ in expected]
    assert len(set(block.variants.values)) == len(block.variants.values)
    assert block.took_us is not None


async def test_a_dead_letter_names_the_model_that_failed_and_the_fallback_that_did_no_better() -> None:
    record = control(6, MODEL, fallback=SMALL)
    models = Doubling(), Model(SMALL, fails=ValueError("nor I"))
    events = [event(0, 1), event(1, 13)]
    [records] = await scored(one_run(events), events, serving=serving(record, *models))
    [letter] = (DeadLetter.from_record(*d) for d in records["test.dead-letters"])
    assert letter.message == "doubling@2 failed: ValueError: thirteen; nor did the fallback small@1 score it"
    assert letter.model == "doubling@2"


EIGHT = [event(n, n) for n in range(8)]
"""Their scores are 0, 2, … 14."""


async def test_scores_in_the_abstain_band_go_to_people_and_nowhere_else() -> None:
    metrics = ScoreMetrics("test")
    automation = Automation("partial", (4.0, 8.0))
    [records] = await scored(one_run(EIGHT), EIGHT, automation=automation, metrics=metrics)
    assert [one["score"] for one in predicted(records)] == [0, 2, 10, 12, 14]
    assert [one["score"] for one in predicted(records, "test.review")] == [4, 6, 8]
    assert {dict(headers)["penstock-review"] for _, _, headers in records["test.review"]} == {b"abstain"}
    assert not any("penstock-review" in dict(headers) for _, _, headers in records["test.predictions"])
    [(_, value, headers)] = records["test.scored"]
    assert decode(value, headers).rows == 8
    told = metrics.exposition().decode()
    assert 'penstock_reviews_total{pipeline="test",reason="abstain"} 3.0' in told
    assert 'penstock_predictions_total{pipeline="test"} 8.0' in told


async def test_where_the_model_assists_people_review_everything() -> None:
    [records] = await scored(one_run(EIGHT), EIGHT, automation=Automation("assist"))
    assert predicted(records) == []
    assert [one["id"] for one in predicted(records, "test.review")] == [f"e{n}" for n in range(8)]
    assert {dict(headers)["penstock-review"] for _, _, headers in records["test.review"]} == {b"assist"}


async def test_a_shadow_of_people_tells_nobody_what_it_would_have_said_but_the_log() -> None:
    metrics = ScoreMetrics("test")
    events = [*EIGHT, event(8, 13)]
    [records] = await scored(one_run(events), events, automation=Automation("shadow_people"), metrics=metrics)
    assert predicted(records) == []
    assert "test.review" not in records
    assert len(records["test.dead-letters"]) == 1
    [(_, value, headers)] = records["test.scored"]
    assert decode(value, headers).score.tolist() == [2.0 * n for n in range(8)]
    told = metrics.exposition().decode()
    assert 'penstock_withheld_rows_total{pipeline="test"} 8.0' in told
    assert 'penstock_predictions_total{pipeline="test"} 0.0' in told
    assert 'penstock_events_total{pipeline="test"} 9.0' in told
