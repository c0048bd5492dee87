r"""Where the cells of HMGETs' replies lie in the bytes received: found for a whole batch at once, no object per cell.

    *2\r\n  $3\r\n8.5\r\n  $-1\r\n          one reply: 8.5, and a field that is not there

The lines of replies to the same fields repeat with a fixed period, so numpy finds their ends. A value that holds line
ends itself is not taken for several: each must be as long as its header says. The first header is one, and where a
value is as long as its header says, the next header is one too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Cell = bytes | None
"""One field of a hash; None where it is not there."""

Reply = list[Cell] | Exception
"""The answer to one HMGET: a cell per field; or an error (the key holds no hash)."""

_MOST_DIGITS = 10
"""Redis's longest value has as many in its length."""


class Hashes(Protocol):
    """Replies to HMGETs of the same fields, none an error."""

    def __len__(self) -> int: ...

    def rows(self, fields: int) -> Sequence[list[Cell]]:
        """The first `fields` cells of each row."""
        ...

    def column(self, field: int) -> list[Cell]: ...

    def distinct(self, field: int) -> tuple[NDArray[np.intp], list[bytes]]:
        """The different texts of one field, after each row's place among them: -1 where not there."""
        ...

    def floats(self, fields: int) -> NDArray[np.float64] | None:
        """The first `fields` cells of each row as numbers, NaN where not there; None unless all are finite decimals
        that this kind of hashes reads faster than `texts.floats`.
        """
        ...


class ListedHashes:
    """Replies as lists of bytes."""

    def __init__(self, replies: Sequence[list[Cell]]) -> None:
        self._replies = replies

    def __len__(self) -> int:
        return len(self._replies)

    def rows(self, fields: int) -> Sequence[list[Cell]]:
        if not self._replies or fields == len(self._replies[0]):
            return self._replies
        return [cells[:fields] for cells in self._replies]

    def column(self, field: int) -> list[Cell]:
        return [cells[field] for cells in self._replies]

    def distinct(self, field: int) -> tuple[NDArray[np.intp], list[bytes]]:
        return distinct(self.column(field))

    def floats(self, fields: int) -> None:
        return None


def distinct(cells: Sequence[Cell]) -> tuple[NDArray[np.intp], list[bytes]]:
    """The different texts among `cells`, after each cell's place among them: -1 where not there."""
    texts = [text for text in set(cells) if text is not None]
    places: dict[Cell, int] = {text: place for place, text in enumerate(texts)}
    places[None] = -1
    return np.fromiter(map(places.__getitem__, cells), np.intp, len(cells)), texts


@dataclass(slots=True)
class Cells:
    """Replies as places in the bytes received (a kind of `Hashes`).

    data    the bytes received, all of the replies and nothing else
    bounds  [rows, fields, 2] where each cell begins and ends in `data`
    there   [rows, fields] False where the field is not there; None where all are
    """

    data: bytes
    bounds: NDArray[np.int64]
    there: NDArray[np.bool_] | None

    def __len__(self) -> int:
        return len(self.bounds)

    def rows(self, fields: int) -> list[list[Cell]]:
        there = None if self.there is None else self.there[:, :fields]
        cells = self._objects(self.bounds[:, :fields], there)
        return [cells[start : start + fields] for start in range(0, len(cells), fields)]

    def column(self, field: int) -> list[Cell]:
        return self._objects(self.bounds[:, field], None if self.there is None else self.there[:, field])

    def _objects(self, bounds: NDArray[np.int64], there: NDArray[np.bool_] | None) -> list[Cell]:
        data = self.data
        begins, ends = bounds.reshape(-1, 2).T.tolist()
        cells: list[Cell] = [data[begin:end] for begin, end in zip(begins, ends, strict=True)]
        if there is not None:
            for place in np.flatnonzero(~there).tolist():
                cells[place] = None
        return cells

    def distinct(self, field: int) -> tuple[NDArray[np.intp], list[bytes]]:
        there = None if self.there is None else self.there[:, field]
        encoded = _strings(self.data, self.bounds[:, field].ravel(), there).cast(pa.large_binary()).dictionary_encode()
        return encoded.indices.fill_null(-1).to_numpy()[::2].astype(np.intp), encoded.dictionary.to_pylist()

    def floats(self, fields: int) -> NDArray[np.float64] | None:
        bounds = self.bounds[:, :fields].ravel()
        there = None
        if self.there is not None and not self.there[:, :fields].all():
            there = self.there[:, :fields].ravel()
        texts = _strings(self.data, bounds, there)
        try:
            numbers = texts.cast(pa.float64())
        except ValueError:  # pa.ArrowInvalid, or UnicodeDecodeError where that would quote the text
            return None
        values: NDArray[np.float64] = np.frombuffer(numbers.buffers()[1], np.float64, len(bounds) - 1)[::2]
        if there is not None:
            values = np.where(there, values, 0.0)
        if not np.isfinite(values).all():
            return None
        if there is not None:
            values[~there] = np.nan
        return values.reshape(len(self), fields)

    @staticmethod
    def concatenate(parts: Sequence[Cells]) -> Cells:
        if len(parts) == 1:
            return parts[0]
        starts = np.cumsum([0, *(len(part.data) for part in parts[:-1])])
        there = None
        if any(part.there is not None for part in parts):
            there = np.concatenate(
                [np.ones(part.bounds.shape[:2], np.bool_) if part.there is None else part.there for part in parts]
            )
        return Cells(
            b"".join([part.data for part in parts]),
            np.concatenate([part.bounds + start for part, start in zip(parts, starts, strict=True)]),
            there,
        )


def _strings(data: bytes, bounds: NDArray[np.int64], there: NDArray[np.bool_] | None) -> pa.Array[Any]:
    """Arrow's view of cells: every second string is one, those between are null, so that nothing looks at them."""
    if there is None:
        valid = b"\x55" * -(-len(bounds) // 8)
    else:
        mask = np.zeros((len(bounds) // 2, 2), np.bool_)
        mask[:, 0] = there
        valid = np.packbits(mask, bitorder="little").tobytes()
    buffers = [pa.py_buffer(valid), pa.py_buffer(bounds), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(bounds) - 1, buffers)


def find_cells(data: bytes, ends: NDArray[np.int64], rows: int, fields: int) -> tuple[Cells, int] | None:
    r"""The cells of the replies that are complete in `data`, at most `rows`, and how many lines they take.

    `ends` are the places of all b"\n" in `data`. None: this is no work for this parser, since there is an error among
    the replies or a line end in a value.

    >>> data = b"*2\r\n$3\r\n8.5\r\n$-1\r\n" b"*2\r\n$1\r\n9\r\n"
    >>> cells, lines = find_cells(data, np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")), 2, 2)
    >>> cells.rows(2), cells.floats(2), lines
    ([[b'8.5', None]], array([[8.5, nan]]), 4)
    """
    text = np.frombuffer(data, np.uint8)
    period = 1 + 2 * fields
    wanted = rows * period
    if len(ends) >= wanted:  # as usual: all has come, and every field is there
        bounds = _bounds(text, ends[:wanted].reshape(rows, period))
        if bounds is not None:
            return Cells(data[: ends[wanted - 1] + 1], bounds, None), wanted
    # A cell that is not there has no line for a value: its header's end stands for one.
    begins = np.append(0, ends[:-1] + 1)[: len(ends)]
    empty = (text[begins] == ord("$")) & (text[np.minimum(begins + 1, len(text) - 1)] == ord("-"))
    lines = np.repeat(ends, 1 + empty)
    added = np.zeros(len(lines), np.bool_)
    added[np.cumsum(1 + empty)[empty] - 1] = True
    rows = min(rows, len(lines) // period)
    wanted = rows * period
    absent = added[:wanted].reshape(rows, period)
    if absent[:, 0].any() or absent[:, 1::2].any():
        return None  # a value that looks like such a header
    taken = wanted - int(np.count_nonzero(absent))
    bounds = _bounds(text, lines[:wanted].reshape(rows, period), absent[:, 2::2])
    if bounds is None or (taken < len(ends) and text[begins[taken]] != ord("*")):
        return None
    return Cells(data[: begins[taken] if taken < len(ends) else len(data)], bounds, ~absent[:, 2::2]), taken


def _bounds(
    text: NDArray[np.uint8], lines: NDArray[np.int64], absent: NDArray[np.bool_] | None = None
) -> NDArray[np.int64] | None:
    """[rows, fields, 2] where cells begin and end; None unless each is as long as its header says.

    lines   [rows, 1 + 2 * fields] where the lines end: the array's header, then each cell's header and its value
    absent  [rows, fields] True where a cell is not there, and its value's line is none
    """
    if not lines.size:
        return np.zeros((len(lines), lines.shape[1] // 2, 2), np.int64)
    if text[0] != ord("*") or (text[lines[:-1, -1] + 1] != ord("*")).any():
        return None
    # Flat, so that numpy's loops are long: header, value, header, value …
    bounds = lines[:, 1:].flatten()
    before = lines[:, :-1].ravel()[::2]
    digits = bounds[::2] - before - 3  # without $, \r and \n
    most = int(digits.max())
    if most > _MOST_DIGITS or digits.min() < 1:
        return None
    before = before + 2
    length = text[before].astype(np.int64)
    length -= ord("0")
    for digit in range(1, most):
        longer = np.flatnonzero(digits > digit)
        length[longer] = 10 * length[longer] + text[before[longer] + digit] - ord("0")
    bounds[::2] += 1
    bounds[1::2] -= 1
    wrong = bounds[1::2] - bounds[::2] != length
    if absent is not None:
        wrong &= ~absent.ravel()
        np.maximum(bounds[::2], bounds[1::2], out=bounds[1::2])
    return None if wrong.any() else bounds.reshape(len(lines), -1, 2)
