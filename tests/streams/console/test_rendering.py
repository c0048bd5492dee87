"""What the terminal shows is readable and harmless, whatever the bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import paired_blocks
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas import paired_wire
from penstock.schemas.columns import Category, Columns, Layout
from penstock.schemas.operations import OperationalReading, encode_reading
from penstock.schemas.scored import ScoredBlock, encode
from penstock.schemas.summaries import Summary, encode_summary
from penstock.streams.console.rendering import documents, hexdump, json_of, lines, text_of, time_text, to_json

Headers = list[tuple[str, bytes]]
ROLES = ["events", "predictions", "labels", "control", "decisions", "alerts", "dead-letters", "scored"]
ROLES += ["review", "summaries", "shadow-scores"]


@dataclass
class Record:
    value: bytes | None
    headers: Headers
    key: bytes | None = None
    topic: str = "flights.scored"
    partition: int = 0
    offset: int = 7
    timestamp: int = 1_357_034_400_000


def scored_record() -> Record:
    layout = Layout(("distance", "score"), ("seats",), ("origin",), ())
    block = ScoredBlock(
        ids=["a", "b\x1b[2J"],
        keys=[b"JFK", None],
        offsets=np.array([1, 2]),
        event_times=np.array([0, 60_000]),
        timestamps=np.array([0, 60_000]),
        columns=Columns(
            layout,
            np.array([[1400.5, 0.5], [np.nan, 0.75]], np.float32),
            np.array([[149], [2]]),
            (Category(np.array([0, -1], np.int32), ("JFK",)),),
            (),
        ),
        aged=("seats",),
        ages=np.array([[1.5], [np.nan]], np.float32),
        defaulted=np.zeros((2, 4), np.bool_),
        score=np.array([0.25, 0.125], np.float32),
        scores=None,
        variants=Category(np.zeros(2, np.int32), ("champion",)),
        models=Category(np.zeros(2, np.int32), ("delay@3",)),
        routing_revisions=np.array([1, 1]),
        partition=3,
        scored_at=0,
        runtime="test",
    )
    [encoded] = encode(block)
    return Record(encoded.value, encoded.headers)


def test_a_scored_record_is_opened_row_by_row() -> None:
    first, second = lines("scored", scored_record())
    assert first.startswith("2013-01-01 10:00:00.000  0-7")
    assert first.endswith("a  0.250000  delay@3  distance=1400.5  score=0.5  seats=149  origin=JFK")
    assert "b\\x1b[2J  0.125000" in second


def test_a_program_gets_every_row_of_a_scored_record() -> None:
    first, second = (json.loads(to_json(document)) for document in documents("scored", scored_record()))
    assert (first["score"], first["key"], first["record"]) == (0.25, "JFK", [0, 7])
    assert first["features"] == {"distance": 1400.5, "score": 0.5, "seats": 149, "origin": "JFK"}
    assert second["features"]["distance"] is None
    assert (first["age_s"], second["age_s"]) == ({"seats": 1.5}, {"seats": None})


def test_shadow_scores_are_opened_row_by_row_with_what_each_candidate_says() -> None:
    rows = paired_blocks.block(3, candidates={"delay@5": 1.0, "delay@6": 0.0}, first_offset=40)
    rows.candidates[0].score[:] = 0.25
    [(value, headers)] = paired_wire.encode(rows)
    record = Record(value, headers, topic="flights.shadow-scores")

    first, *_ = lines("shadow-scores", record)
    document, *others = (json.loads(to_json(each)) for each in documents("shadow-scores", record))

    assert len(others) == 2
    assert document["offset"] == int(rows.offsets[0])
    assert document["candidates"].keys() == {"delay@5"}, "the other one was not asked"
    assert f"{document['partition']}-{document['offset']}  {document['variant']}: {document['model']}" in first
    assert (document["candidates"]["delay@5"], first.endswith("delay@5 0.250000")) == (0.25, True)


def test_summaries_say_what_they_are_about() -> None:
    summary = Summary(
        partition=3, segment=7, part=0, complete=True, first_offset=3584, last_offset=4095, rows=1510,
        reference="delay@3", signals={}, event_times=(0, 60_000), timestamps=(0, 60_000), watermark=45_500,
        late_rows=2, bad_time=1, served={},
    )  # fmt: skip
    reading = OperationalReading("score", "host:7", 1357034400000, 10_000, partitions=(0, 1), events=7)
    records = [Record(*encode_summary(summary)), Record(*encode_reading(reading))]

    shown = [line.partition("0-7")[2].strip() for record in records for line in lines("summaries", record)]
    told = [json.loads(to_json(each)) for record in records for each in documents("summaries", record)]

    assert shown[0] == "summary  partition 3, segment 7: 1,510 rows, 0 signals, against delay@3"
    assert shown[1].startswith("operations  role score  worker host:7  time 1357034400000")
    assert shown[1].endswith("partitions 0, 1  events 7")
    assert (told[0]["kind"], told[0]["rows"], told[0]["late_rows"]) == ("summary", 1510, 2)
    assert (told[1]["kind"], told[1]["worker"], told[1]["events"]) == ("operations", "host:7", 7)


def test_a_record_for_review_says_why() -> None:
    value = b'{"id":"e7","score":0.5,"variant":"champion","model":"delay","version":3}'

    [line] = lines("review", Record(value, [("penstock-review", b"abstain")]))

    assert line.endswith("e7  0.500000  delay@3  champion  for review: abstain")


@pytest.mark.parametrize("role", ROLES)
@given(
    value=st.none() | st.binary() | st.sampled_from([b"[]", b"{}", b'{"id": 1}', b'{"champion": 3, "revision": []}'])
)
def test_no_record_breaks_the_screen_or_the_program(role: str, value: bytes | None) -> None:
    record = Record(value, [("any", b"\xff\x1b")], key=value)
    for line in lines(role, record):
        assert line.isprintable()
    for document in documents(role, record):
        json.loads(to_json(document))


@given(st.binary(), st.integers(1, 40))
def test_text_is_printable_and_cut(value: bytes, limit: int) -> None:
    assert text_of(value, limit).isprintable()


@given(st.binary(max_size=200))
def test_a_hexdump_can_be_read_back(value: bytes) -> None:
    assert bytes.fromhex("".join(line[10:60] for line in hexdump(value))) == value


def test_a_long_hexdump_says_what_it_leaves_out() -> None:
    *_, last = hexdump(b"x" * 5000)
    assert last == "… 904 bytes more"


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_timestamp_has_a_text(unix_ms: int) -> None:
    assert time_text(unix_ms)


@given(st.binary())
def test_bytes_inside_json_are_json_text_or_base64(value: bytes) -> None:
    json.dumps(json_of(value))
