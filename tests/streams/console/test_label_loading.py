"""Loading labels on a real broker: each comes to the partition of its event, and bad rows are told by their line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from penstock.schemas.errors import ConfigurationError
from penstock.schemas.labels import decode_labels
from penstock.schemas.records import LABEL_SCHEMA, Label, Source
from penstock.streams.console.label_loading import BadLabelFile, LabelPlan, label_of, load_labels
from penstock.streams.features.files import Row
from penstock.streams.reading import records
from penstock.streams.settings import KafkaSettings

if TYPE_CHECKING:
    from penstock.streams.embedded.testing import Kafka, MakeTopics


@pytest.fixture
def settings(kafka: Kafka) -> KafkaSettings:
    return KafkaSettings(servers=tuple(kafka.servers))


def label(**values: Any) -> Label:
    return label_of(Row(2, values), LabelPlan(), 3, now_ms=99)


@pytest.mark.kafka
async def test_labels_come_to_the_partition_of_their_event(
    settings: KafkaSettings, make_topics: MakeTopics, tmp_path: Path
) -> None:
    [topic] = await make_topics("labels", partitions=3)
    lines = ["id,label,time,key,partition,offset"]
    lines += [f"by-key-{n},{n % 2},2013-03-01T05:00:00Z,EWR{n % 7}," + "," for n in range(5000)]
    lines += [f"by-place-{n},0.5,1362114000000,EWR1,{n % 3},{n}" for n in range(30)]
    lines += ["bad,late,1362114000000,EWR1,,", ",1,1362114000000,EWR1,,", "far,1,1362114000000,,3,7"]
    file = tmp_path / "outcomes.csv"
    file.write_text("\n".join(lines))
    report = await load_labels(settings, topic, file, LabelPlan())
    assert (report.rows, report.sent.confirmed, report.bad) == (5033, 5030, 3)
    assert [(row.line, row.reason) for row in report.first_bad] == [
        (5032, "has label 'late'; expected a finite number, true or false: a class goes by its number"),
        (5033, "has no id"),
        (5034, "has partition 3; the topic has partitions 0 to 2"),
    ]
    found = [record async for record in records(settings, topic)]
    for record in found:
        one = msgspec.json.decode(record.value, type=Label)
        place = one.source.partition if one.source else DefaultPartitioner()(record.key, [0, 1, 2], [0, 1, 2])
        assert record.partition == place
        assert record.key == (one.key or "").encode()
        assert list(record.headers) == [LABEL_SCHEMA]
    batch = decode_labels(found)
    assert (batch.rows, batch.rejected, batch.origins) == (5030, [], {"manual": 5030})
    assert set(batch.times.tolist()) == {1362114000000}


@pytest.mark.kafka
async def test_a_strict_load_stops_at_the_first_bad_row_and_says_what_is_sent(
    settings: KafkaSettings, make_topics: MakeTopics, tmp_path: Path
) -> None:
    [topic] = await make_topics("labels")
    file = tmp_path / "outcomes.ndjson"
    rows = [{"id": "a", "label": True, "key": "k"}, {"id": "b", "key": "k"}, {"id": "c", "label": 1, "key": "k"}]
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(BadLabelFile, match="line 2 has no label") as caught:
        await load_labels(settings, topic, file, LabelPlan(strict=True))
    assert caught.value.row.line == 2
    assert [json.loads(record.value)["id"] async for record in records(settings, topic)] == ["a"]


@pytest.mark.kafka
async def test_parquet_is_read_with_its_types(settings: KafkaSettings, make_topics: MakeTopics, tmp_path: Path) -> None:
    [topic] = await make_topics("labels")
    file = tmp_path / "outcomes.parquet"
    parquet.write_table(pa.table({"flight": [7, 8], "late": [True, None], "key": ["a", "b"]}), file)
    report = await load_labels(
        settings, topic, file, LabelPlan(id="flight", label="late", origin="audit"), now=lambda: 5
    )
    assert (report.sent.confirmed, report.first_bad[0].reason) == (1, "has no late")
    [record] = [record async for record in records(settings, topic)]
    assert json.loads(record.value) == {"id": "7", "label": 1.0, "time": 5000, "key": "a", "origin": "audit"}


def test_the_id_of_an_event_without_one_says_where_it_is() -> None:
    found = label_of(Row(2, {"id": "1-42", "label": 0}), LabelPlan(id_is_place=True), 3, now_ms=99)
    assert found.source == Source(1, 42)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"id": "a", "label": "nan", "key": "k"}, "expected a finite number"),
        ({"id": "a", "label": 10**400, "key": "k"}, "expected a finite number"),
        ({"id": "a", "label": "1e39", "key": "k"}, "expected a finite number"),
        ({"id": "a", "label": [1], "key": "k"}, "expected a finite number"),
        ({"id": 1.5, "label": 1, "key": "k"}, "expected text or a whole number"),
        ({"id": "a\udcff", "label": 1, "key": "k"}, "not UTF-8"),
        ({"id": "a", "label": 1, "key": "k", "time": "noon"}, "has no time"),
        ({"id": "a", "label": 1, "partition": 1}, "has only one of"),
        ({"id": "a", "label": 1, "partition": -1, "offset": 3}, "expected a whole number"),
        ({"id": "a", "label": 1}, "neither key nor partition"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        label(**values)


CELL = st.one_of(st.none(), st.text(max_size=5), st.integers(), st.floats(), st.booleans(), st.lists(st.integers()))


@given(st.dictionaries(st.sampled_from(["id", "label", "time", "key", "partition", "offset"]), CELL))
def test_any_row_is_a_label_or_a_sentence(values: dict[str, Any]) -> None:
    try:
        found = label(**values)
    except ValueError as error:
        assert str(error).startswith("has ")  # noqa: PT017  (a label is as good)
        return
    assert found.id
    assert abs(found.label) < 4e38


async def test_a_file_without_the_columns_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "outcomes.csv"
    nowhere = KafkaSettings(servers=("localhost:1",))
    file.write_text("id,label\na,1\n")
    with pytest.raises(ConfigurationError, match="it needs the event's key"):
        await load_labels(nowhere, "labels", file, LabelPlan())
    file.write_text("id,outcome,key\na,1,k\n")
    with pytest.raises(ConfigurationError, match="--label is 'label'; expected a column"):
        await load_labels(nowhere, "labels", file, LabelPlan())
