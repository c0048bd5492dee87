"""The wire form of the gates' cells: the groups of keys that have rows, in as few bytes as hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.schemas.comparison import CellGroup, CellSums
from penstock.schemas.gates import KEY_GROUPS


class Sparse(msgspec.Struct, array_like=True):
    """Whole numbers, most of them 0: the places of the others in ascending order, unsigned, and what stands there."""

    places: NDArray[Any]
    values: NDArray[Any]


def pack_sparse(values: NDArray[np.int64]) -> Sparse:
    """Of an array of any shape.

    >>> pack_sparse(np.array([[0, 0, 300], [0, 7, 0]]))
    Sparse(places=array([2, 4], dtype=uint8), values=array([300,   7], dtype=uint16))
    """
    flat = values.ravel()
    [places] = np.nonzero(flat)
    return Sparse(narrow(places), narrow(flat[places]))


def unpack_sparse(wire: Sparse, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """What `pack_sparse` was given. Raises ValueError where the two do not fit the shape."""
    places, values = wire.places, wire.values
    if places.dtype.kind != "u" or values.dtype.kind not in "iu" or places.ndim != 1 or places.shape != values.shape:
        raise ValueError("places and values of a sparse array do not match")
    flat = np.zeros(int(np.prod(shape)), np.int64)
    if len(places) and int(places.max()) >= len(flat):
        raise ValueError("a place of a sparse array that does not exist")
    flat[places] = values
    return flat.reshape(shape)


def narrow(values: NDArray[np.int64]) -> NDArray[np.integer]:
    """In the smallest integers that hold them, unsigned where none is negative."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0:
        widest = max(-low - 1, high)
        return values.astype(next(kind for kind in (np.int16, np.int32, np.int64) if widest <= np.iinfo(kind).max))
    return values.astype(np.min_scalar_type(high))


class CellsOnWire(msgspec.Struct, array_like=True):
    """`rows` [groups, 64], and in the places of its rows alone `wholes` and `fractions` of the losses."""

    groups: list[CellGroup]
    rows: Sparse
    wholes: NDArray[Any]
    fractions: NDArray[Any]


def pack_cells(cells: Mapping[CellGroup, CellSums]) -> CellsOnWire:
    """The wire form of cells, the same whatever their order."""
    groups = sorted(cells)
    rows = np.array([cells[group].rows for group in groups], np.int64).reshape(-1, KEY_GROUPS)
    losses = np.array([cells[group].losses for group in groups], np.int64).reshape(-1, KEY_GROUPS, 2)[rows > 0]
    return CellsOnWire(groups, pack_sparse(rows), narrow(losses[:, 0]), narrow(losses[:, 1]))


def unpack_cells(wire: CellsOnWire) -> dict[CellGroup, CellSums]:
    """What `pack_cells` was given. Raises ValueError where it is nonsense."""
    rows = unpack_sparse(wire.rows, (len(wire.groups), KEY_GROUPS))
    if any(
        part.shape != wire.rows.places.shape or part.dtype.kind not in "iu" for part in (wire.wholes, wire.fractions)
    ):
        raise ValueError("rows and losses of the cells do not match")
    losses = np.zeros((rows.size, 2), np.int64)
    losses[wire.rows.places, 0], losses[wire.rows.places, 1] = wire.wholes, wire.fractions
    losses = losses.reshape(*rows.shape, 2)
    return {group: CellSums(rows[at], losses[at]) for at, group in enumerate(wire.groups)}
