"""Alerts on the topic: what a subscriber reads, and what a reader says of anything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas.alerts import (
    ACKNOWLEDGEMENT_SCHEMA,
    ALERT_SCHEMA,
    Acknowledgement,
    Alert,
    Cause,
    UnreadableAlert,
    Whereabouts,
    decode_acknowledgement,
    decode_alert,
    encode_acknowledgement,
    encode_alert,
)
from penstock.schemas.records import SCHEMA_HEADER

ALERT = Alert(
    id="drift-5f0c2ab917",
    state="raised",
    severity="warning",
    title="distance: mean 1,040 → 1,620 (location)",
    pipeline="flights",
    family="data_drift",
    first_seen=1357034400000,
    last_seen=1357034400000,
    time=1357034400000,
    count=1,
    causes=[Cause("feature:distance", "data_drift", "location", "ecusum", 9.0, {"mean": 1040.0}, {"mean": 1620.0})],
    model="delay@3",
    routing_revision=7,
    evidence=Whereabouts(0, 1024, 1535, ["AA1", "UA2"]),
)


def test_a_subscriber_reads_what_matters_first() -> None:
    key, value, headers = encode_alert(ALERT)
    assert key == b"drift-5f0c2ab917"
    assert headers == [(SCHEMA_HEADER, b"alert/1")]
    document = json.loads(value)
    assert list(document)[:4] == ["id", "state", "severity", "title"]
    assert document["causes"] == [
        {
            "signal": "feature:distance",
            "family": "data_drift",
            "aspect": "location",
            "detector": "ecusum",
            "contribution": 9.0,
            "before": {"mean": 1040.0},
            "after": {"mean": 1620.0},
        }
    ]
    assert document["evidence"] == {"partition": 0, "first_offset": 1024, "last_offset": 1535, "ids": ["AA1", "UA2"]}
    assert "suppressed" not in document


def test_a_later_field_does_not_trouble_an_earlier_reader() -> None:
    _, value, headers = encode_alert(ALERT)
    assert decode_alert(value[:-1] + b',"later": {"a": 1}}', headers, "here") == ALERT


@given(st.builds(Acknowledgement, st.text(), st.text(), st.integers(0, 2**53), st.none() | st.text()))
def test_an_acknowledgement_comes_back_as_it_was(acknowledgement: Acknowledgement) -> None:
    key, value, headers = encode_acknowledgement(acknowledgement)
    assert key == acknowledgement.alert.encode()
    assert decode_acknowledgement(value, headers, "here") == acknowledgement


@given(
    st.none()
    | st.binary()
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
)
def test_what_is_no_alert_is_refused_in_a_sentence(value: bytes | None) -> None:
    for headers in ([ALERT_SCHEMA], [], [ACKNOWLEDGEMENT_SCHEMA]):
        with pytest.raises(UnreadableAlert, match=r"^flights\.alerts, offset 7: the record is no alert"):
            decode_alert(value, headers, "flights.alerts, offset 7")


def test_a_later_schema_asks_for_an_upgrade() -> None:
    with pytest.raises(UnreadableAlert, match=r"alert/2, not alert/1\. Upgrade Penstock") as refused:
        decode_alert(b"{}", [(SCHEMA_HEADER, b"alert/2")], "here")
    assert refused.value.newer
