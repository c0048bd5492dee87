"""The texts in the fields of Redis hashes, as numbers, strings and vectors: a column at a time.

Floats and ints are decimal text; bools `0`, `1`, `true`, `false`; categories UTF-8; vectors a JSON array, `[0.1,2]`.
`null` is missing, like a field that is not there. Everything else is malformed: other text, NaN and infinities, what
overflows float32 or int64, a vector of another length. A text reads the same whatever stands beside it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.schemas.columns import MISSING_INTEGER, FeatureType
from penstock.streams.features.cells import Cell, distinct

LARGEST_EXACT = 2.0**53
"""Whole numbers up to here are exact in float64."""

_NOT_PARSED = (msgspec.MsgspecError, ValueError, RecursionError)
_MISSING_INTEGER_TEXT = str(MISSING_INTEGER).encode()
_BOOLS = {b"0": 0, b"1": 1, b"true": 1, b"false": 0, b"null": MISSING_INTEGER}
_decode_floats = msgspec.json.Decoder(list[float | None]).decode
_decode_integers = msgspec.json.Decoder(list[int]).decode
_decode_vector = msgspec.json.Decoder(list[float] | None).decode
_decode_vectors = msgspec.json.Decoder(list[list[float] | None]).decode


def malformed_texts(cells: list[Cell], type: FeatureType) -> NDArray[np.bool_]:
    """Which cells [rows] hold something that is no value of `type`.

    >>> malformed_texts([b"1.5", b"x", None], FeatureType("float")).tolist()
    [False, True, False]
    """
    match type.kind:
        case "float":
            values, malformed = floats([[cell] for cell in cells], 1)
            with np.errstate(over="ignore"):
                return malformed[:, 0] | np.isinf(values[:, 0].astype(np.float32))
        case "int":
            return integers(cells)[1]
        case "bool":
            return bools(cells)[1]
        case "category":
            return strings(cells)[1]
        case "vector":
            return vectors(cells, type.width)[1]


def floats(rows: Sequence[list[Cell]], width: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values [rows, width], NaN where missing or malformed, and which of them are malformed."""
    malformed = np.zeros((len(rows), width), np.bool_)
    values = _all_floats(rows, width)
    if values is None:
        values = []
        for place, row in enumerate(rows):
            parsed = _all_floats([row], width)
            if parsed is None:
                parsed = [_float(cell) for cell in row]
                malformed[place] = [value is not None and math.isnan(value) for value in parsed]
            values += parsed
    try:
        numbers = np.fromiter(values, np.float64, len(values))  # None raises
    except TypeError:
        numbers = np.array(values, np.float64)
    return numbers.reshape(len(rows), width), malformed


def _all_floats(rows: Sequence[list[Cell]], width: int) -> list[float | None] | None:
    """The numbers in all cells, or None unless each is one JSON number or null.

    Joining is safe because the count is exact: a cell always adds at least one element, or the JSON does not parse.
    """
    try:
        text = b",".join(map(b",".join, rows))  # type: ignore[arg-type] # None raises: most windows pay no check
    except TypeError:
        text = b",".join([b"null" if cell is None else cell for row in rows for cell in row])
    try:
        values = _decode_floats(b"[" + text + b"]")
    except _NOT_PARSED:
        return None
    return values if len(values) == len(rows) * width else None


def _float(cell: Cell) -> float | None:
    """One number; None where missing, NaN where malformed."""
    if cell is None or cell.strip() == b"null":
        return None
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) and b"_" not in cell else math.nan


def integers(cells: list[Cell]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    try:
        text = b",".join([_MISSING_INTEGER_TEXT if cell is None else cell for cell in cells])
        values = np.array(_decode_integers(b"[" + text + b"]"), np.int64)
        if len(values) == len(cells):
            return values, np.zeros(len(cells), np.bool_)
    except (*_NOT_PARSED, OverflowError):
        pass  # some cell is no int64: each is read by itself
    parsed = [_integer(cell) for cell in cells]
    return (
        np.array([MISSING_INTEGER if value is None else value for value in parsed], np.int64),
        np.array([value is None for value in parsed], np.bool_),
    )


def _integer(cell: Cell) -> int | None:
    """One int64, MISSING_INTEGER where missing, None where malformed. `3.0` is 3, as other writers put it."""
    if cell is None or cell.strip() == b"null":
        return MISSING_INTEGER
    if b"_" in cell:
        return None
    try:
        value = int(cell)
    except ValueError:
        number = _float(cell)
        if number is None or not number.is_integer() or abs(number) > LARGEST_EXACT:
            return None
        value = int(number)
    return value if MISSING_INTEGER <= value < 2**63 else None


def bools(cells: list[Cell]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    return bools_of(*distinct(cells))


def bools_of(places: NDArray[np.intp], texts: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The same of cells given as places among different texts, -1 where missing."""
    read = [*map(_BOOLS.get, texts), MISSING_INTEGER]
    values = np.array([MISSING_INTEGER if value is None else value for value in read], np.int64)
    return values[places], np.array([value is None for value in read], np.bool_)[places]


def strings(cells: list[Cell]) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """The strings, None where missing or malformed, and which are malformed."""
    return strings_of(*distinct(cells))


def strings_of(places: NDArray[np.intp], texts: Sequence[bytes]) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """The same of cells given as places among different texts, -1 where missing."""
    read = np.full(len(texts) + 1, None, object)
    read[:-1] = [_string(text) for text in texts]
    malformed = np.array([*(text is None for text in read[:-1]), False], np.bool_)
    return read[places], malformed[places]


def _string(text: bytes) -> str | None:
    """None where malformed. A category repeats in thousands of cached rows: they share one string."""
    try:
        return sys.intern(text.decode())
    except UnicodeDecodeError:
        return None


def vectors(cells: list[Cell], width: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    text = b",".join([b"null" if cell is None else cell for cell in cells])
    try:
        decoded: list[list[float] | None] | None = _decode_vectors(b"[" + text + b"]")
    except _NOT_PARSED:
        decoded = None
    if decoded is None or len(decoded) != len(cells):
        decoded = [_vector(cell) for cell in cells]
    malformed = np.array([vector is not None and len(vector) != width for vector in decoded], np.bool_)
    nothing = [math.nan] * width
    kept = [vector if vector is not None and len(vector) == width else nothing for vector in decoded]
    with np.errstate(over="ignore"):
        values = np.array(kept, np.float64).reshape(len(cells), width).astype(np.float32)
    overflowed = np.isinf(values).any(axis=1)
    values[overflowed] = np.nan
    malformed |= overflowed
    return values, malformed


def _vector(cell: Cell) -> list[float] | None:
    """One vector; None where missing, an empty list, which is no feature's length, where malformed."""
    if cell is None:
        return None
    try:
        return cast("list[float] | None", _decode_vector(cell))
    except _NOT_PARSED:
        return []
