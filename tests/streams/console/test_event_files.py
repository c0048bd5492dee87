"""Files to events: nothing lost, nothing bent."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.streams.console.event_files import Chunk, UnusableRow, cell, chunks, csv_values, key_reader

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
names = st.lists(text.filter(bool), min_size=1, max_size=5, unique=True)


class Dribble:
    """A pipe that gives its bytes in pieces of the given sizes, and records what had been handed out before each."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = iter(pieces)

    def read1(self, size: int, /) -> bytes:
        return next(self._pieces, b"")


def pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size
    yield data[start:]


def values(found: Iterator[Chunk]) -> list[bytes]:
    return [event.value for chunk in found for event in chunk.events]


@given(st.lists(st.binary().filter(lambda line: b"\n" not in line)), st.lists(st.integers(1, 20)))
def test_every_line_of_ndjson_is_an_event_however_it_arrives(lines: list[bytes], sizes: list[int]) -> None:
    data = b"\n".join(lines)
    source = Dribble([piece for piece in pieces(data, sizes) if piece])
    assert values(chunks(source, "ndjson", place="test")) == [line.strip() for line in lines if line.strip()]


def test_lines_count_blank_ones_too() -> None:
    [chunk] = chunks(io.BytesIO(b"{}\n\n\r\n{}\n"), "ndjson", place="test")
    assert [event.line for event in chunk.events] == [1, 4]


def test_what_a_slow_pipe_has_said_is_handed_out_before_it_says_more() -> None:
    said: list[str] = []

    class Pipe:
        answers = iter([b'{"a":1}\n{"b"', b":2}\n\n", b'{"c":3}'])

        def read1(self, size: int, /) -> bytes:
            said.append("read")
            return next(self.answers, b"")

    for chunk in chunks(Pipe(), "ndjson", place="test"):
        said += [event.value.decode() for event in chunk.events]
    assert said == ["read", '{"a":1}', "read", '{"b":2}', "read", "read", '{"c":3}']


@given(names, st.data())
def test_csv_becomes_the_json_of_its_cells(columns: list[str], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.lists(text, min_size=len(columns), max_size=len(columns)), min_size=1))
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([columns, *rows])
    found = values(chunks(io.BytesIO(file.getvalue().encode()), "csv", place="test"))
    assert [json.loads(value) for value in found] == [
        {name: expected(cell_text) for name, cell_text in zip(columns, row, strict=True)} for row in rows
    ]


def expected(cell_text: str) -> object:
    """By another route: what Python's own JSON reader takes for a finite number, a bool or nothing; else text."""
    if cell_text == "":
        return None
    try:
        value = json.loads(cell_text) if cell_text == cell_text.strip() else cell_text
    except ValueError:
        return cell_text
    if value is None or not isinstance(value, int | float) or not math.isfinite(value):
        return cell_text
    return value


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_number_stays_the_number_it_was(number: float) -> None:
    [(value, _)] = csv_values(["x", json.dumps(number)], "test")
    assert json.loads(value) == {"x": number}


@pytest.mark.parametrize(
    "word", ["007", "+1", ".5", "5.", "NaN", "Infinity", "1e999", "0x10", "1_000", " 1", "True", "null"]
)
def test_what_only_looks_like_a_number_stays_text(word: str) -> None:
    assert cell(word) == word


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        (b"a,b\n1,2\n3\n", 3, "1 values; expected 2"),
        (b"a,b\n1,2,3\n", 2, "3 values; expected 2"),
        (b"a,a\n1,2\n", 1, "a name of its own"),
        (b"a,b\n1,\xff\n", 2, "not UTF-8"),
        (b'a,b\n1,"x"y\n', 2, "RFC 4180"),
    ],
)
def test_a_row_that_does_not_fit_is_named_and_those_before_it_are_events(file: bytes, line: int, said: str) -> None:
    found = chunks(io.BytesIO(file), "csv", place="flights.csv")
    before = [next(found)] if line > 2 else []
    with pytest.raises(UnusableRow, match=said) as error:
        next(found)
    assert error.value.line == line
    assert values(iter(before)) == [b'{"a":1,"b":2}'] * len(before)


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    assert values(chunks(io.BytesIO(b"\xef\xbb\xbfa\n1\n"), "csv", place="test")) == [b'{"a":1}']


@given(st.dictionaries(text, st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | text))
def test_the_key_is_the_fields_text(event: dict[str, object]) -> None:
    read = key_reader("nested.key")
    for value in event.values():
        key = read(json.dumps({**event, "nested": {"key": value}}).encode())
        usable = isinstance(value, str | int) and not isinstance(value, bool)
        assert key == (str(value).encode() if usable else None)


@given(st.binary())
def test_an_event_that_is_no_json_has_no_key(value: bytes) -> None:
    assert key_reader("nested.key")(b"\xff" + value) is None
