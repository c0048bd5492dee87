from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from penstock.schemas.errors import ConfigurationError
from penstock.streams.demo import tables
from penstock.streams.demo.flights import NEVER, NOTICE_MS, Flights, utc


def test_the_year_is_complete(year: Flights) -> None:
    assert len(year) == 336_776
    assert int((~year.labelled).sum()) == 9_430
    assert len(set(year.id)) == len(year)


def test_predictions_are_asked_for_in_order_and_before_departure(year: Flights) -> None:
    assert (np.diff(year.time) >= 0).all()
    assert (year.departure - year.time == NOTICE_MS).all()


def test_scheduled_durations_show_that_every_time_zone_was_met(year: Flights) -> None:
    minutes = (year.arrival - year.departure) // 60_000
    assert minutes.min() == 50
    assert minutes.max() == 700
    honolulu = minutes[year.dest == "HNL"]
    assert honolulu.min() > 600


def test_a_flight_lands_at_its_scheduled_arrival_plus_its_delay(year: Flights) -> None:
    landed = year.labelled
    assert (year.landed[landed] - year.arrival[landed] == year.delay[landed].astype(np.int64) * 60_000).all()
    assert (year.landed[landed] > year.departure[landed]).all()
    assert (year.landed[~landed] == NEVER).all()


def test_an_event_nests_what_belongs_together(year: Flights) -> None:
    [first] = year.take(slice(0, 1)).events()
    assert json.loads(first) == {
        "id": "UA1545-2013-01-01T10:15Z",
        "time": 1_357_031_700_000,
        "flight": {"code": "UA1545", "carrier": "UA", "number": 1545, "tailnum": "N14228"},
        "origin": "EWR",
        "dest": "IAH",
        "distance": 1400,
        "schedule": {
            "departure": 1_357_035_300_000,
            "arrival": 1_357_049_940_000,  # 08:19 in Houston
            "minutes": 244,
            "hour": 5,
            "weekday": "Tue",
        },
    }


def test_no_event_tells_what_happened(year: Flights) -> None:
    [event] = year.take(np.flatnonzero(year.delay == 1272)).events()
    assert b"1272" not in event


def test_labels_come_in_the_order_of_arrival_and_carry_the_key_of_their_event(year: Flights) -> None:
    march = year.months(3, 3)
    labels = march.labels()
    assert len(labels) == int(march.labelled.sum())
    assert all(earlier.time <= later.time for earlier, later in itertools.pairwise(labels))
    keys = dict(zip(march.id, march.keys(), strict=True))
    assert all(label.key is not None and label.key.encode() == keys[label.id] for label in labels)
    late = dict(zip(march.id, march.late, strict=True))
    assert all(label.label == late[label.id] for label in labels)


def test_thinning_spans_every_month(year: Flights) -> None:
    few = year.months(3, 12).thinned(1_000)
    assert len(few) == 1_000
    assert set(few.month.tolist()) == set(range(3, 13))
    assert len(year.thinned(None)) == len(year)


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("2013-03-10T01:59", "2013-03-10T06:59"),  # the last minute of winter time
        ("2013-03-10T03:00", "2013-03-10T07:00"),  # the first of summer time
        ("2013-11-03T01:30", "2013-11-03T05:30"),  # shown twice: the first
        ("2013-11-03T02:00", "2013-11-03T07:00"),
    ],
)
def test_clocks_change_in_new_york(local: str, expected: str) -> None:
    minutes = np.array([np.datetime64(local, "m").astype(np.int64)])
    assert utc(minutes, "America/New_York").astype("datetime64[ms]") == np.datetime64(expected, "ms")


def test_a_missing_package_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install"):
        tables.read_table("flights")
