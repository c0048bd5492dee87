"""NumPy arrays in MessagePack: little-endian bytes with dtype and shape, never unpickled. Hooks for msgspec."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

DTYPES = ("<f4", "<f8", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "|b1")


class _Array(msgspec.Struct, array_like=True):
    dtype: str
    shape: tuple[int, ...]
    data: bytes


def from_array(value: Any) -> Any:
    """The `enc_hook` of an encoder."""
    if not isinstance(value, np.ndarray):
        raise NotImplementedError(f"{type(value).__name__} is no array")
    little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
    return _Array(little.dtype.str, value.shape, little.tobytes())


def to_array(_: type, value: Any) -> NDArray[Any]:
    """The `dec_hook` of a decoder; the array is a read-only view of the message.

    >>> data = msgspec.msgpack.encode(np.array([[1, 2]], np.uint16), enc_hook=from_array)
    >>> msgspec.msgpack.decode(data, type=np.ndarray, dec_hook=to_array)
    array([[1, 2]], dtype=uint16)
    """
    array = msgspec.convert(value, _Array)
    if array.dtype not in DTYPES or any(length < 0 for length in array.shape):
        raise ValueError(f"an array of dtype {array.dtype!r} and shape {array.shape}; expected one of {DTYPES}")
    return np.frombuffer(array.data, array.dtype).reshape(array.shape)
