"""Replies read from bytes that arrive in any pieces: what hiredis reads, only cheaper."""

from __future__ import annotations

from itertools import pairwise

import hiredis
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.streams.features.cells import Cell, Cells, ListedHashes, Reply
from penstock.streams.features.texts import floats
from penstock.streams.features.wire import Batch, HmgetPacker, Replies, ReplyReader, errors, key_bytes

numbers = st.floats().map(lambda value: repr(value).encode()) | st.integers().map(lambda n: str(n).encode())
texts = st.sampled_from(
    [
        b"",
        b"\n",
        b"\r\n",
        b"a\nb",
        b"$-1",
        b"$-1\r\n",
        b"*2\r\n$1",
        b"-5",
        b"\n\n",
        b"-ERR x",
        b"$3\r\nabc",
        b"x" * 1234,
    ]
) | st.binary(max_size=12)
Row = list[Cell] | bytes
usual: st.SearchStrategy[Row] = st.lists(numbers, min_size=2, max_size=2).map(list[Cell])
some_missing: st.SearchStrategy[Row] = st.lists(numbers | st.none(), min_size=2, max_size=2)
anything: st.SearchStrategy[Row] = st.lists(numbers | st.none() | texts, min_size=2, max_size=2)
error: st.SearchStrategy[Row] = st.sampled_from([b"WRONGTYPE Operation", b"MASTERDOWN link", b"no upstream host"])


def batches(*kinds: st.SearchStrategy[Row]) -> st.SearchStrategy[list[list[Row]]]:
    """Batches, each of rows of one of the kinds."""
    return st.lists(st.one_of(*(st.lists(kind, min_size=1, max_size=12) for kind in kinds)), min_size=1, max_size=4)


def encoded(row: Row) -> bytes:
    if isinstance(row, bytes):
        return b"-%b\r\n" % row
    cells = (b"$-1\r\n" if cell is None else b"$%d\r\n%b\r\n" % (len(cell), cell) for cell in row)
    return b"*%d\r\n%b" % (len(row), b"".join(cells))


def listed(replies: Replies) -> list[Reply | str]:
    rows = replies.rows(replies.bounds.shape[1]) if isinstance(replies, Cells) else replies
    return [str(row) if isinstance(row, Exception) else row for row in rows]


def read(sent: list[list[Row]], cuts: list[int], fields: int = 2) -> list[Replies]:
    """Each batch as soon as it can be taken, and no sooner than its last byte is there."""
    data = b"".join(encoded(row) for rows in sent for row in rows)
    ends = np.cumsum([sum(len(encoded(row)) for row in rows) for rows in sent]).tolist()
    reader, taken = ReplyReader(), list[Replies]()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for begin, end in pairwise(places):
        reader.feed(data[begin:end])
        while len(taken) < len(sent):
            replies = reader.take(Batch(b"", len(sent[len(taken)]), fields))
            if replies is None:
                break
            taken.append(replies)
            assert end >= ends[len(taken) - 1]
    assert len(taken) == len(sent), "the last byte has come, and nothing more will"
    return taken


@given(batches(usual, some_missing, usual | anything | error), st.lists(st.integers(0, 10_000), max_size=8))
@example([[[b"1", None], b"WRONGTYPE Operation"]], [])
@example([[b"WRONGTYPE Operation"], [[b"1", b"-2"]]], [5])
@example([[[b"$-1", b"1"], [None, b"$-1"], [b"1", b"2"]]], [12])
@example([[[b"1", b"2"], [b"3", b"a\nb"]]], [20])
@example([[[b"1", b"\n"], [None, None]]], [14])
def test_replies_are_what_hiredis_reads_wherever_the_bytes_are_cut(sent: list[list[Row]], cuts: list[int]) -> None:
    reader = hiredis.Reader()
    for rows in sent:
        for row in rows:
            reader.feed(encoded(row))

    taken = read(sent, cuts)

    for rows, replies in zip(sent, taken, strict=True):
        assert listed(replies) == listed([reader.gets() for _ in rows])
        wrong = [place for place, row in enumerate(rows) if isinstance(row, bytes)]
        assert [place for place, _ in errors(replies)] == wrong


@given(batches(usual, some_missing), st.lists(st.integers(0, 10_000)))
def test_hashes_without_line_ends_never_become_objects(sent: list[list[Row]], cuts: list[int]) -> None:
    assert all(isinstance(replies, Cells) for replies in read(sent, cuts))


@given(st.lists(st.lists(numbers | st.none() | texts, min_size=2, max_size=2), min_size=1, max_size=12))
def test_cells_read_as_lists_do(rows: list[list[Cell]]) -> None:
    (cells,) = read([[*rows]], [])
    if not isinstance(cells, Cells):
        return
    lists = ListedHashes(rows)

    for field in range(2):
        assert cells.column(field) == lists.column(field)
        for hashes in (cells, lists):
            places, different = hashes.distinct(field)
            assert len(set(different)) == len(different)
            assert [different[place] if place >= 0 else None for place in places] == [row[field] for row in rows]
    for fields in (1, 2):
        assert cells.rows(fields) == lists.rows(fields)
        values = cells.floats(fields)
        expected, malformed = floats(lists.rows(fields), fields)
        if values is not None:
            np.testing.assert_array_equal(values, expected)
            assert not malformed.any()


@given(st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2), min_size=1))
def test_finite_floats_come_back_bit_by_bit(rows: list[list[float]]) -> None:
    (cells,) = read([[[repr(value).encode() for value in row] for row in rows]], [])

    assert isinstance(cells, Cells)
    values = cells.floats(2)
    assert values is not None
    assert values.tobytes() == np.array(rows).tobytes()


@pytest.mark.parametrize("text", [b"nan", b"inf", b"1e400", b"", b"1_0", b"0x10", b"\xff", b"null", b"1,2"])
def test_what_is_no_finite_decimal_is_left_to_the_careful_reader(text: bytes) -> None:
    (cells,) = read([[[b"1", b"2"], [b"3", text]]], [])

    assert isinstance(cells, Cells)
    assert cells.floats(2) is None
    assert cells.floats(1) is not None


def test_batches_of_hashes_of_other_fields_and_of_other_commands_follow_each_other() -> None:
    reader = ReplyReader()
    reader.feed(b"*1\r\n$1\r\n7\r\n*2\r\n$1\r\n8\r\n$-1\r\n:1\r\n:0\r\n*1\r\n$1\r\n9\r\n")

    taken = [reader.take(Batch(b"", *batch)) for batch in ((1, 1), (1, 2), (2, None), (1, 1))]

    assert [listed(replies) for replies in taken if replies is not None] == [[[b"7"]], [[b"8", None]], [1, 0], [[b"9"]]]
    assert reader.take(Batch(b"", 1, 1)) is None


def test_a_reply_that_breaks_the_protocol_is_an_error() -> None:
    reader = ReplyReader()
    reader.feed(b"what?\r\n")

    with pytest.raises(hiredis.ProtocolError):
        reader.take(Batch(b"", 1, 1))


@given(st.lists(st.text(max_size=300) | st.text(st.characters(max_codepoint=127)), min_size=1, max_size=5))
@example(["k" * 255, "k" * 256])
@example(["\udcff", "Zürich"])
def test_packed_commands_are_what_hiredis_packs(keys: list[str]) -> None:
    for prefix, field in (("plane", "seats"), ("Flüge", "größe")):
        expected = b"".join(hiredis.pack_command(("HMGET", key_bytes(prefix, key), field)) for key in keys)

        assert HmgetPacker(prefix, (field,)).pack(keys) == expected
