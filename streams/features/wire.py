"""What goes over the wire to Redis and back: HMGETs packed for many keys at once, and replies as they arrive."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import hiredis
import numpy as np
from numpy.typing import NDArray

from penstock.streams.features.cells import Cells, find_cells

ProtocolError: type[Exception] = hiredis.HiredisError
_PENDING = object()
_USUAL_LENGTH = 256
"""Keys that are shorter, and ASCII, are packed with one addition."""

Replies = Cells | list[Any]
"""A batch's replies, in order: cells of hashes; or objects as hiredis makes them, errors among them as exceptions."""


class Batch(NamedTuple):
    """Commands in one run of bytes, and how many replies they have; where all are HMGETs, of how many `fields` each."""

    commands: bytes
    replies: int
    fields: int | None = None


class HmgetPacker:
    r"""Packs `HMGET <prefix>:<key> <fields>` for many keys.

    >>> HmgetPacker("w", ("visib",)).pack(["JFK"])
    b'*3\r\n$5\r\nHMGET\r\n$5\r\nw:JFK\r\n$5\r\nvisib\r\n'
    """

    def __init__(self, prefix: str, fields: Sequence[str]) -> None:
        self._prefix = prefix
        self._before = f"*{2 + len(fields)}\r\n$5\r\nHMGET\r\n$"
        self._after = "\r\n" + "".join(f"${len(field.encode())}\r\n{field}\r\n" for field in fields)
        # What stands before an ASCII key, by its length.
        extra = len(prefix.encode()) + 1
        self._heads = [f"{length + extra}\r\n{prefix}:" for length in range(_USUAL_LENGTH)]

    def pack(self, keys: Sequence[str]) -> bytes:
        before, after = self._before, self._after
        if max(map(len, keys), default=0) < _USUAL_LENGTH:
            named = map(operator.add, map(self._heads.__getitem__, map(len, keys)), keys)
            packed = f"{before}{(after + before).join(named)}{after}"
            if packed.isascii() or "".join(keys).isascii():
                return packed.encode()
        head, tail = before.encode(), after.encode()
        names = [key_bytes(self._prefix, key) for key in keys]
        return b"".join([b"%b%d\r\n%b%b" % (head, len(name), name, tail) for name in names])


def pack_command(parts: tuple[str | int | bytes, ...]) -> bytes:
    """One command of any kind."""
    packed: bytes = hiredis.pack_command(parts)
    return packed


def key_bytes(prefix: str, key: str) -> bytes:
    """A key as Redis stores it. Bytes that are no UTF-8 travel as surrogate escapes and come out as they were."""
    name = f"{prefix}:{key}"
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def errors(replies: Replies) -> list[tuple[int, Exception]]:
    """The errors among a batch's replies, after their places."""
    if isinstance(replies, Cells):
        return []
    return [(place, reply) for place, reply in enumerate(replies) if isinstance(reply, Exception)]


class ReplyReader:
    """Takes batches of replies off a stream of bytes.

    Replies to HMGETs become `Cells`, which costs a third of making an object per cell. From the first reply on that is
    no work for that parser, an error for example, hiredis reads the rest.
    """

    def __init__(self) -> None:
        self._hiredis: hiredis.Reader | None = None
        self._objects: list[Any] = []
        self._cells: list[Cells] = []
        # Received, and not yet in `_cells`; and where its lines end.
        self._received: list[bytes] = []
        self._ends: list[NDArray[np.int64]] = []
        self._size = self._lines = 0
        self._suspicious = False

    def feed(self, data: bytes) -> None:
        if self._hiredis is not None:
            self._hiredis.feed(data)
            return
        text = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(text == ord("\n"))
        ends += self._size
        self._received.append(data)
        self._ends.append(ends)
        self._size += len(data)
        self._lines += len(ends)
        self._suspicious = self._suspicious or _is_suspicious(text)

    def take(self, batch: Batch) -> Replies | None:
        """All replies to a batch, or None if more must be fed first. Batches are taken in the order they were sent."""
        if self._hiredis is None and batch.fields is not None:
            found = self._take_cells(batch.replies, batch.fields)
            if self._hiredis is None:
                return found
        return self._take_objects(batch.replies)

    def _take_cells(self, count: int, fields: int) -> Cells | None:
        if self._received and not self._received[0].startswith(b"*"):
            self._use_hiredis()  # an error
            return None
        wanted = count - sum(map(len, self._cells))
        if self._lines < wanted * (1 + 2 * fields) and not self._may_end_here():
            return None
        data, ends = b"".join(self._received), np.concatenate(self._ends) if len(self._ends) > 1 else self._ends[0]
        found = find_cells(data, ends, wanted, fields)
        if found is None:
            self._use_hiredis()
            return None
        cells, lines = found
        if len(cells):
            self._cells.append(cells)
        used = len(cells.data)
        self._received, self._ends = ([data[used:]], [ends[lines:] - used]) if used < len(data) else ([], [])
        self._size, self._lines = len(data) - used, len(ends) - lines
        self._suspicious &= self._size > 0
        if len(cells) < wanted:
            return None
        self._cells, taken = [], self._cells
        return Cells.concatenate(taken)

    def _may_end_here(self) -> bool:
        """Whether what was received may be a whole batch although it has too few lines for hashes with every field."""
        return self._suspicious and self._received[-1].endswith(b"\n")

    def _take_objects(self, count: int) -> list[Any] | None:
        reader = self._use_hiredis()
        self._objects.extend(islice(iter(reader.gets, _PENDING), count - len(self._objects)))
        if len(self._objects) < count:
            return None
        self._objects, taken = [], self._objects
        return taken

    def _use_hiredis(self) -> hiredis.Reader:
        """Hiredis reads from the batch's first reply on."""
        if self._hiredis is None:
            self._hiredis = hiredis.Reader(notEnoughData=_PENDING)
            for data in (*(cells.data for cells in self._cells), *self._received):
                self._hiredis.feed(data)
            self._cells, self._received, self._ends = [], [], []
        return self._hiredis


def _is_suspicious(text: NDArray[np.uint8]) -> bool:
    r"""Whether an error, `-ERR …`, or a field that is not there, `$-1`, may be in `text`.

    >>> texts = b"\r\n-5", b"1-2", b"\r\n-W", b"$-1", b"-1", b"$1-"
    >>> [_is_suspicious(np.frombuffer(text, np.uint8)) for text in texts]
    [False, False, True, True, True, True]
    """
    minus = np.flatnonzero(text == ord("-"))
    if not len(minus):
        return False
    if minus[0] == 0 or minus[-1] == len(text) - 1:
        return True  # its neighbours are in other bytes
    before, after = text[minus - 1], text[minus + 1]
    no_digit = (after < ord("0")) | (after > ord("9"))
    return bool(((before == ord("$")) | ((before == ord("\n")) & no_digit)).any())
