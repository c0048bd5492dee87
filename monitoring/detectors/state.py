"""The wire form of a detector's state: MessagePack with the detector's name and a checksum, never a pickle."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from penstock.schemas.errors import PenstockError

VERSION = 1


class UnreadableState(PenstockError):
    """A detector's snapshot is damaged, of another detector, or of a newer Penstock.

    >>> print(UnreadableState("bernoulli_cusum", "it is of detector adwin"))
    The snapshot of detector bernoulli_cusum cannot be read: it is of detector adwin. Start the detector anew.
    """

    def __init__(self, detector: str, reason: str) -> None:
        self.detector, self.reason = detector, reason
        super().__init__(f"The snapshot of detector {detector} cannot be read: {reason}. Start the detector anew.")


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """What `snapshot()` writes: floats keep every bit, arrays go as `pack` has them."""

    detector: str
    version: int
    parameters: dict[str, Any]
    state: dict[str, Any]


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    checksum: int
    content: bytes


def encode(detector: str, parameters: dict[str, Any], state: dict[str, Any]) -> bytes:
    content = msgspec.msgpack.encode(Snapshot(detector, VERSION, parameters, state))
    return msgspec.msgpack.encode(_Sealed(xxhash.xxh3_64_intdigest(content), content))


def decode(data: bytes, detector: str | None = None) -> Snapshot:
    """Raises UnreadableState; `detector` is the one that it must be of.

    >>> decode(encode("adwin", {"delta": 0.1}, {"seen": 3}), "adwin").state
    {'seen': 3}
    """
    name = detector or "(unknown)"
    try:
        sealed = msgspec.msgpack.decode(data, type=_Sealed)
        if sealed.checksum != xxhash.xxh3_64_intdigest(sealed.content):
            raise UnreadableState(name, "it is damaged: the checksum does not fit")
        snapshot = msgspec.msgpack.decode(sealed.content, type=Snapshot)
    except msgspec.DecodeError as error:
        raise UnreadableState(name, str(error)) from error
    if detector is not None and snapshot.detector != detector:
        raise UnreadableState(name, f"it is of detector {snapshot.detector}")
    if snapshot.version > VERSION:
        raise UnreadableState(name, f"it has version {snapshot.version}; this Penstock reads up to {VERSION}")
    return snapshot


def pack(array: NDArray[np.float64]) -> tuple[list[int], bytes]:
    """Shape, and little-endian float64."""
    return list(array.shape), array.astype("<f8").tobytes()


def unpack(packed: tuple[list[int], bytes]) -> NDArray[np.float64]:
    """The inverse of `pack`, as an array of one's own.

    >>> unpack(pack(np.array([[1.5, np.inf]]))).tolist()
    [[1.5, inf]]
    """
    shape, data = packed
    return np.frombuffer(data, "<f8").reshape(shape).astype(np.float64)
