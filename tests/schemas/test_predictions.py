"""Predictions: the bytes mean what `Prediction` means, for any ids, scores and masks."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.schemas.predictions import Answered, PredictionEncoder
from penstock.schemas.records import ModelRef, Prediction, Source

FEATURES = ("distance", 'odd "name"\n', "wind", *(f"f{i}" for i in range(10)))
FLOAT = st.floats(width=32, allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PREDICTIONS = st.integers(0, 3).flatmap(
    lambda outputs: st.lists(
        st.builds(
            Prediction,
            id=TEXT,
            score=FLOAT,
            variant=st.just("champion"),
            model=st.just('delay "é"'),
            version=st.just(3),
            routing_revision=st.just(7),
            event_time=st.integers(-(2**53), 2**53),
            source=st.builds(Source, partition=st.just(5), offset=st.integers(0, 2**63 - 1)),
            scores=st.lists(FLOAT, min_size=outputs, max_size=outputs) if outputs else st.none(),
            defaulted=st.sets(st.sampled_from(FEATURES)).map(lambda names: sorted(names, key=FEATURES.index)),
            fallback=st.just("queueing delay"),
        ),
        max_size=6,
    )
)


def arguments(predictions: list[Prediction]) -> dict[str, Any]:
    """Columns of what differs from row to row."""
    scores = [prediction.scores for prediction in predictions if prediction.scores is not None]
    return {
        "ids": [prediction.id for prediction in predictions],
        "score": np.array([prediction.score for prediction in predictions], np.float32),
        "scores": np.array(scores, np.float32) if scores else None,
        "event_times": np.array([prediction.event_time for prediction in predictions], np.int64),
        "partition": 5,
        "offsets": np.array([prediction.source.offset for prediction in predictions], np.int64),
        "defaulted": np.array([[name in p.defaulted for name in FEATURES] for p in predictions], bool),
    }


def encode(predictions: list[Prediction], *, encoder: PredictionEncoder) -> list[bytes]:
    return encoder.encode(ModelRef('delay "é"', 3), "champion", 7, **arguments(predictions), fallback="queueing delay")


def as_float32(prediction: Prediction) -> Prediction:
    """Its numbers as a consumer that keeps float32 sees them."""
    score, *scores = np.array([prediction.score, *(prediction.scores or [])], np.float32).tolist()
    return msgspec.structs.replace(prediction, score=score, scores=None if prediction.scores is None else scores)


@given(PREDICTIONS)
@settings(max_examples=200, deadline=None)
def test_the_bytes_mean_what_the_record_means(predictions: list[Prediction]) -> None:
    values = encode(predictions, encoder=PredictionEncoder(FEATURES))
    assert [as_float32(msgspec.json.decode(value, type=Prediction)) for value in values] == predictions
    for value, prediction in zip(values, predictions, strict=True):
        assert json.loads(value).keys() == json.loads(msgspec.json.encode(prediction)).keys()


@given(PREDICTIONS, st.data(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_rows_of_several_models_are_those_of_each(
    predictions: list[Prediction], data: st.DataObject, many: bool
) -> None:
    predictions = predictions * (8 if many else 1)
    origins = (
        Answered("champion", ModelRef('delay "é"', 3), "queueing delay"),
        Answered("canary", ModelRef("delay", 4)),
        Answered("fallback", ModelRef("small", 1), "failed"),
    )
    codes = data.draw(st.lists(st.integers(0, 2), min_size=len(predictions), max_size=len(predictions)))
    encoder = PredictionEncoder(FEATURES)
    columns = arguments(predictions)

    mixed = encoder.encode_mixed(origins, np.array(codes, np.int32), 7, **columns)

    for code, origin in enumerate(origins):
        alone = encoder.encode(origin.model, origin.variant, 7, **columns, fallback=origin.fallback)
        rows = [row for row, other in enumerate(codes) if other == code]
        assert [mixed[row] for row in rows] == [alone[row] for row in rows]


@pytest.mark.parametrize("repeat", [1, 20])
def test_rows_of_several_partitions_are_those_of_each(repeat: int) -> None:
    partitions = [0, 7, 7, 12] * repeat
    rows = len(partitions)
    columns: dict[str, Any] = {
        "ids": [f"e{row}" for row in range(rows)],
        "score": np.linspace(0, 1, rows, dtype=np.float32),
        "scores": None,
        "event_times": np.arange(rows),
        "offsets": np.arange(rows),
    }
    encoder, answered = PredictionEncoder(()), (Answered("champion", ModelRef("m", 1)),)
    together = encoder.encode_mixed(answered, None, 1, **columns, partition=partitions)
    for row, partition in enumerate(partitions):
        assert together[row] == encoder.encode_mixed(answered, None, 1, **columns, partition=partition)[row]


def one(score: float, id: str = "a") -> bytes:
    [value] = PredictionEncoder(()).encode(
        ModelRef("m", 1), "champion", 1, ids=[id], score=np.array([score], np.float32), scores=None,
        event_times=np.array([0]), partition=0, offsets=np.array([0]),
    )  # fmt: skip
    return value


@pytest.mark.parametrize(("score", "text"), [(0.7312, b"0.7312"), (1.0, b"1"), (1e-7, b"1e-7"), (-0.0, b"-0")])
def test_a_score_has_the_fewest_digits_that_read_back_as_the_same_float32(score: float, text: bytes) -> None:
    assert b'"score":' + text + b"," in one(score)


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_no_prediction(score: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        one(score)


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 ids"):
        PredictionEncoder(()).encode(
            ModelRef("m", 1), "champion", 1, ids=["a", "b"], score=np.zeros(1, np.float32), scores=None,
            event_times=np.zeros(2, np.int64), partition=0, offsets=np.zeros(2, np.int64),
        )  # fmt: skip


def test_masks_are_remembered_only_so_far() -> None:
    """Every mask of 13 features: more than are kept; all are written right, before and after the memory is emptied."""
    features = FEATURES[:13]
    masks = np.array([[row >> bit & 1 for bit in range(13)] for row in range(2**13)], bool)
    encoder = PredictionEncoder(features)
    for _ in range(2):
        values = encoder.encode(
            ModelRef("m", 1), "champion", 1, ids=["a"] * len(masks), score=np.zeros(len(masks), np.float32),
            scores=None, event_times=np.zeros(len(masks), np.int64), partition=0,
            offsets=np.arange(len(masks)), defaulted=masks,
        )  # fmt: skip
        named = [json.loads(value)["defaulted"] for value in values]
        assert named == [[f for f, bit in zip(features, mask, strict=True) if bit] for mask in masks.tolist()]
        assert len(encoder._masks) <= 4096
