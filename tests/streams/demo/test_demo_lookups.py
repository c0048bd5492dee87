from __future__ import annotations

import random

import numpy as np

from penstock.streams.demo.flights import HOUR_MS, Flights
from penstock.streams.demo.history import feature_columns
from penstock.streams.demo.lookups import LAST_FROM_ORIGIN, LAST_OF_CARRIER, Lookups
from penstock.streams.settings import Settings


def test_nothing_that_an_event_finds_was_known_after_it(year: Flights, lookups: Lookups) -> None:
    for table, rows in lookups.found(year).values():
        there = rows >= 0
        assert (table.written[rows[there]] <= year.time[there]).all()


def test_every_key_is_written_once(lookups: Lookups) -> None:
    for table in lookups.tables():
        assert len(table.positions) == len(table)
        assert (np.diff(table.written) >= 0).all()


def test_trailing_delays_are_the_last_arrivals_before_the_hour_and_no_others(year: Flights, lookups: Lookups) -> None:
    found = lookups.found(year)
    groups = {
        "origin_delays": (year.origin, LAST_FROM_ORIGIN),
        "carrier_delays": (year.carrier, LAST_OF_CARRIER),
    }
    for row in random.Random(3).sample(range(len(year)), 40):
        hour = year.time[row] // HOUR_MS * HOUR_MS
        for entity, (group, last) in groups.items():
            arrived = np.flatnonzero((group == group[row]) & (year.landed < hour))
            table, positions = found[entity]
            if len(arrived) == 0:
                assert positions[row] == -1
                continue
            latest = arrived[np.argsort(year.landed[arrived], kind="stable")][-last:]
            expected = np.clip(year.delay[latest], -60, 240).mean()
            assert table.written[positions[row]] == hour
            assert abs(table.fields["delay"][positions[row]] - expected) < 0.006


def test_the_future_does_not_change_what_was_looked_up(year: Flights, lookups: Lookups) -> None:
    """Cut off the year at the end of March: what events of March find stays the same."""
    known = year.take(year.time < year.months(4, 12).time[0])
    march = known.months(3, 3)
    for entity, (table, rows) in Lookups.of(known).found(march).items():
        whole_table, whole_rows = lookups.found(march)[entity]
        # Flights that were in the air at the cut land in the whole year only.
        before = march.time < march.time[-1] - 24 * HOUR_MS
        for name, values in table.fields.items():
            if values.dtype == np.float64:
                np.testing.assert_array_equal(
                    np.append(values, np.nan)[rows[before]],
                    np.append(whole_table.fields[name], np.nan)[whole_rows[before]],
                )


def test_what_becomes_known_in_two_steps_is_what_becomes_known_in_one(lookups: Lookups) -> None:
    start = int(lookups.weather.written[0]) - 1
    middle, end = start + 5 * HOUR_MS, start + 9 * HOUR_MS
    whole = lookups.weather.known(start, end).keys.tolist()
    parts = [*lookups.weather.known(start, middle).keys, *lookups.weather.known(middle, end).keys]
    assert whole == parts
    assert len(whole) == 27  # three airports, nine hours


def test_what_a_few_flights_ask_for_is_all_they_find(year: Flights, lookups: Lookups) -> None:
    few = year.months(3, 12).thinned(500)
    asked = lookups.asked_by(few)
    assert len(asked.carrier_delays) <= 500
    for entity, (table, rows) in asked.found(few).items():
        whole, whole_rows = lookups.found(few)[entity]
        assert (np.append(table.keys, "none")[rows] == np.append(whole.keys, "none")[whole_rows]).all()


def test_the_share_of_missing_values_is_that_of_the_data(year: Flights, lookups: Lookups, settings: Settings) -> None:
    columns = feature_columns(settings.catalogue, year, lookups)
    missing = dict(zip(columns.layout.floats, np.isnan(columns.floats).mean(0), strict=True))
    assert missing["temperature"] < 0.005
    assert 0.15 < missing["plane_seats"] < 0.16
    assert 0.7 < missing["wind_gust"] < 0.85
    assert missing["distance"] == 0
    assert missing["carrier_delay"] < 0.001
