"""The float, int and bool features of decoded JSON events, packed in C loops into the rows of a NumPy array."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import chain, starmap
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from penstock.schemas.columns import MISSING_INTEGER, Floats
from penstock.schemas.json_struct import EventStruct

Event = Any
"""An instance of the generated Struct."""
_ALIGNED = 8


class Numbers:
    """Reads the numbers at some paths of events, a stretch of events at a time.

    One pack for each event while all are there; with None checks where one is missing.
    """

    def __init__(self, event: EventStruct, floats: Sequence[str], integers: Sequence[str]) -> None:
        attributes = [event.attribute(path) for path in (*floats, *integers)]
        self._floats, self._all = len(floats), len(attributes)
        # Where they are the first fields of the Struct, its tuple is packed as it is, which is the quickest. For what
        # stands behind them a byte is written that says whether it is there, and nobody reads it.
        leading = attributes == [f"f{number}" for number in range(self._all)]
        others = len(msgspec.structs.fields(event.type)) - self._all if leading else 0
        self._tuple: Callable[[Event], tuple[Any, ...]] = astuple if leading else _tuple_getter(attributes)
        # Native sizes: their packing looks for no overflow, which the decoder has ruled out.
        numbers = f"{len(floats)}f{len(integers)}q"
        filled = -(struct.calcsize(numbers) + others) % _ALIGNED
        row = struct.Struct(f"{numbers}{others}?{filled}x")
        self._pack = row.pack
        self._row = np.dtype({
            "names": ["floats", "integers"],
            "formats": [(np.float32, (len(floats),)), (np.int64, (len(integers),))],
            "offsets": [0, struct.calcsize(f"{len(floats)}f0q")],
            "itemsize": row.size,
        })  # fmt: skip

    def pack(self, events: Sequence[Event]) -> bytes:
        """The rows of a stretch."""
        if not self._all:
            return b""
        try:
            return b"".join(starmap(self._pack, map(self._tuple, events)))
        except struct.error:  # a None, which only an optional feature can be
            return self._packed_with_nulls(events)

    def unpack(self, packed: Sequence[bytes], rows: int) -> tuple[Floats, NDArray[np.int64]]:
        """[rows, floats] and [rows, integers] of all stretches."""
        if not self._all:
            return np.empty((rows, 0), np.float32), np.empty((rows, 0), np.int64)
        numbers = np.frombuffer(b"".join(packed), self._row, rows)
        return numbers["floats"], numbers["integers"]

    def _packed_with_nulls(self, events: Sequence[Event]) -> bytes:
        split, end = self._floats, self._all
        rows = [values[:end] for values in map(self._tuple, events)]
        floats = list(chain.from_iterable([row[:split] for row in rows]))
        integers = [MISSING_INTEGER if value is None else value for row in rows for value in row[split:]]
        packed = np.zeros(len(rows), self._row)
        packed["floats"] = np.array(floats, np.float64).reshape(len(rows), split)  # None becomes NaN
        packed["integers"] = np.array(integers, np.int64).reshape(len(rows), end - split)
        return packed.tobytes()


def _tuple_getter(attributes: Sequence[str]) -> Callable[[Event], tuple[Any, ...]]:
    """An attrgetter that gives a tuple however few attributes it is asked for."""
    if len(attributes) > 1:
        return attrgetter(*attributes)
    getters = [attrgetter(attribute) for attribute in attributes]
    return lambda event: tuple(get(event) for get in getters)
