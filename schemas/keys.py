"""The one hash of keys: routing, sampling, key groups and joins all start from it.

xxh3_64, chosen by measurement: uniform, 50 ns a key, and stable across versions and machines. Experiments differ by a
salt that is mixed in afterwards (seeding the hash itself is not independent for every hash function: crc32 fails).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xxhash
from numpy.typing import NDArray


def hash_keys(keys: Iterable[bytes | None], rows: int) -> NDArray[np.uint64]:
    """One uint64 per key, [rows]; a missing key hashes like an empty one.

    >>> hash_keys([b"JFK", None, b""], 3)
    array([2907997725854834415, 3244421341483603138, 3244421341483603138],
          dtype=uint64)
    """
    digest = xxhash.xxh3_64_intdigest
    return np.fromiter((digest(key or b"") for key in keys), np.uint64, rows)
