from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from penstock.models.key_templates import KeyTemplate, TemplatePart, Unit
from penstock.schemas.columns import MISSING_INTEGER, Columns, Layout
from penstock.schemas.events import DecodedEvents

FORMATS: dict[Unit, str] = {"minute": "%Y-%m-%dT%H:%M", "hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

units = st.sampled_from(sorted(FORMATS))
times_ms = st.datetimes(datetime(1901, 1, 1), datetime(2199, 12, 31)).map(
    lambda moment: int((moment.replace(tzinfo=UTC) - EPOCH) / timedelta(milliseconds=1))
)


def by_datetime(time_ms: int, unit: Unit, shift: int) -> str:
    moment = EPOCH + timedelta(milliseconds=time_ms)
    if unit == "month":
        months = moment.year * 12 + moment.month - 1 + shift
        moment = datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
    else:
        moment += timedelta(**{f"{unit}s": shift})
    return moment.strftime(FORMATS[unit])


@given(st.lists(times_ms, min_size=1, max_size=30), units, st.integers(-800, 800))
def test_times_are_truncated_and_shifted_like_datetimes(times: list[int], unit: Unit, shift: int) -> None:
    keys = KeyTemplate.parse(f"at {{time:{unit}{shift:+}}}").render_columns(
        {"time": np.array(times, np.int64)}, len(times)
    )

    assert keys == [f"at {by_datetime(time, unit, shift)}" for time in times]


@given(st.lists(st.tuples(st.none() | st.text(max_size=5), st.none() | times_ms), max_size=30), units)
def test_a_row_with_any_missing_part_has_no_key(rows: list[tuple[str | None, int | None]], unit: Unit) -> None:
    columns: dict[str, list[str | None] | NDArray[np.int64]] = {
        "plane.tail": [tail for tail, _ in rows],
        "at": np.array([MISSING_INTEGER if at is None else at for _, at in rows], np.int64),
    }

    keys = KeyTemplate.parse(f"<{{plane.tail}}|{{at:{unit}}}>").render_columns(columns, len(rows))

    assert keys == [None if tail is None or at is None else f"<{tail}|{by_datetime(at, unit, 0)}>" for tail, at in rows]


def test_times_that_lie_far_apart_are_rendered_too() -> None:
    times = np.array([0, 4102444800000, MISSING_INTEGER, 0], np.int64)

    assert KeyTemplate.parse("{time:day}").render_columns({"time": times}, 4) == [
        "1970-01-01", "2100-01-01", None, "1970-01-01",
    ]  # fmt: skip


def test_reserved_names_are_the_events_own() -> None:
    events = DecodedEvents(
        accepted=np.arange(3),
        ids=["a", "b", "c"],
        times=np.array([1, 2, 3], np.int64),
        keys=[b"JFK", None, b"\xff"],
        columns=Columns.missing(Layout(), 3),
        key_parts={"origin": ["x", "y", "z"]},
        rejected=[],
    )
    template = KeyTemplate.parse("{id}/{key}/{time}/{origin}")

    assert template.render(events) == ["a/JFK/1/x", None, "c/\udcff/3/z"]
    assert template.render(events, 1) == [None, "c/\udcff/3/z"]
    assert template.render(events, 0, 1) == ["a/JFK/1/x"]


def test_an_empty_string_is_a_key_and_not_a_missing_one() -> None:
    assert KeyTemplate.parse("{origin}").render_columns({"origin": ["", None]}, 2) == ["", None]


def test_a_template_without_fields_gives_every_row_the_same_key() -> None:
    assert KeyTemplate.parse("all").render_columns({}, 2) == ["all", "all"]


def test_doubled_braces_belong_to_the_key() -> None:
    template = KeyTemplate.parse("{{{origin}}}")

    assert template.parts == (TemplatePart("origin"),)
    assert template.render_columns({"origin": ["JFK"]}, 1) == ["{JFK}"]


@pytest.mark.parametrize(
    ("text", "character", "problem"),
    [
        ("{origin", 1, "'{' has no partner"),
        ("origin}", 7, "'}' has no partner"),
        ("a{}", 2, "names no field"),
        ("{a..b}", 1, "names no field"),
        ("{:hour}", 1, "names no field"),
        ("{ a}", 1, "names no field"),
        ("{a}{time:week}", 4, "'week' is no unit"),
        ("{time:}", 1, "'' is no unit"),
        ("{time:hour*2}", 1, "is no field"),
        ("{time:hour-}", 1, "is no field"),
        ("{id:hour}", 1, "id is text and takes no unit"),
    ],
)
def test_what_is_no_template_is_refused_with_its_place(text: str, character: int, problem: str) -> None:
    with pytest.raises(ValueError, match="key template") as refusal:
        KeyTemplate.parse(text)

    assert f"{text!r}, character {character}: " in str(refusal.value)
    assert problem in str(refusal.value)


def test_an_empty_template_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        KeyTemplate.parse("")
