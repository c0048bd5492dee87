"""Events from NDJSON and CSV: bytes of a file or a pipe to the values of records."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from penstock.schemas.errors import PenstockError

Format = Literal["ndjson", "csv"]

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""A number as JSON writes it (RFC 8259, section 6): `007`, `+1` and `.5` are text."""
_WORDS = {"": None, "true": True, "false": False}
_BLOCK_BYTES = 1 << 18


class Event(NamedTuple):
    """One event to send. `line` is where it stands in its source, from 1; without `partition` its key chooses one."""

    key: bytes | None
    value: bytes
    line: int
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None


class Chunk(NamedTuple):
    """Events that were read together, and how far into the source they reach."""

    events: list[Event]
    read_bytes: int


class ByteSource(Protocol):
    def read1(self, size: int, /) -> bytes: ...


class UnusableRow(PenstockError):
    """A row of a CSV file does not fit its header.

    >>> print(UnusableRow("flights.csv", 7, found="3 values", expected="4, as the header has"))
    flights.csv, line 7: 3 values; expected 4, as the header has. Nothing after it was sent.
    """

    exit_code = 2

    def __init__(self, place: str, line: int, *, found: str, expected: str) -> None:
        self.place, self.line, self.found, self.expected = place, line, found, expected
        super().__init__(f"{place}, line {line}: {found}; expected {expected}. Nothing after it was sent.")


def key_reader(path: str) -> Callable[[bytes], bytes | None]:
    """Finds the key in an event's JSON: text as it is, numbers in decimal; None where there is none.

    >>> read = key_reader("plane.tail")
    >>> read(b'{"plane": {"tail": "N14228", "seats": 149}}'), read(b'{"plane": {"tail": 7}}'), read(b"no JSON")
    (b'N14228', b'7', None)
    """
    parts = path.split(".")
    type_: Any = str | int | float | None
    for part in reversed(parts):
        type_ = msgspec.defstruct("Level", [("inner", type_ | None, None)], rename={"inner": part}) | None
    decode = msgspec.json.Decoder(type_).decode

    def read(value: bytes) -> bytes | None:
        try:
            found = decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        for _ in parts:
            if found is None:
                return None
            found = found.inner
        return None if found is None else str(found).encode()

    return read


def cell(text: str) -> Any:
    """A CSV cell as JSON: numbers keep their digits, `true` and `false` are bools, an empty cell is null.

    >>> msgspec.json.encode([cell(text) for text in ("1.50", "-3", "1e5", "007", "JFK", "", "true", "NaN")])
    b'[1.50,-3,1e5,"007","JFK",null,true,"NaN"]'
    """
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text) and ("e" not in text.lower() or math.isfinite(float(text))):
        return msgspec.Raw(text.encode())
    return text


def csv_values(lines: Iterable[str], place: str) -> Iterator[tuple[bytes, int]]:
    """One JSON object per row, with the columns' names from the first row, nothing for a blank one; and the line on
    which each row ends.

    >>> list(csv_values(["origin,distance", "JFK,1400"], "example"))
    [(b'{"origin":"JFK","distance":1400}', 2)]
    """
    rows = csv.reader(lines, strict=True)
    encode = msgspec.json.Encoder().encode
    try:
        names = next(rows, None)
        if names is None:
            return
        if len(set(names)) < len(names) or "" in names:
            raise UnusableRow(place, 1, found=f"the header {','.join(names)}", expected="a name of its own per column")
        for row in rows:
            if not row:
                yield b"", rows.line_num
            elif len(row) != len(names):
                raise UnusableRow(
                    place, rows.line_num, found=f"{len(row)} values", expected=f"{len(names)}, as the header has"
                )
            else:
                yield encode(dict(zip(names, map(cell, row), strict=True))), rows.line_num
    except csv.Error as error:
        raise UnusableRow(place, rows.line_num, found=str(error), expected="CSV as RFC 4180 has it") from error


def ndjson_values(lines: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Each line as it is, nothing for a blank one: whether it is an event is for the pipeline to say."""
    for number, line in enumerate(lines, 1):
        yield line.strip(), number


def chunks(
    source: ByteSource, format: Format, *, place: str, key: Callable[[bytes], bytes | None] | None = None
) -> Iterator[Chunk]:
    """Runs of events; whatever was read is handed out before waiting for more, so that a slow pipe flows.

    Raises UnusableRow at a CSV row that does not fit the header.
    """
    pending: list[Event] = []
    blocks = _Blocks(source)
    lines = blocks.lines()
    values = csv_values(_decoded(lines, place), place) if format == "csv" else ndjson_values(lines)
    while True:
        try:
            value, number = next(values)
        except StopIteration:
            break
        except UnusableRow:
            if pending:
                yield Chunk(pending, blocks.read_bytes)
            raise
        if value:
            pending.append(Event(key(value) if key else None, value, number))
        if blocks.drained and pending:
            yield Chunk(pending, blocks.read_bytes)
            pending = []
    if pending:
        yield Chunk(pending, blocks.read_bytes)


class _Blocks:
    """Lines out of blocks of bytes. `drained`: the last line handed out was the last whole one of its block."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self.read_bytes = 0
        self.drained = False

    def lines(self) -> Iterator[bytes]:
        rest = b""
        while block := self._source.read1(_BLOCK_BYTES):
            self.read_bytes += len(block)
            *whole, rest = (rest + block).split(b"\n")
            last = len(whole) - 1
            for position, line in enumerate(whole):
                self.drained = position == last
                yield line + b"\n"
        self.drained = False
        if rest:
            yield rest


def _decoded(lines: Iterable[bytes], place: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UnusableRow(
                place, number, found=f"bytes that are not UTF-8 ({error.reason})", expected="UTF-8"
            ) from error
