"""How Kafka's clients choose a record's partition by its key: labels must lie where their events do."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Literal, get_args

from aiokafka.partitioner import murmur2

Partitioner = Literal["murmur2", "crc32"]
"""murmur2: Java's clients, aiokafka, Penstock. crc32: librdkafka's default, so confluent-kafka and many others."""

CERTAIN = 20
"""Keys of a sample that must agree: by chance one in a million does, with two partitions."""

_HASHES: dict[Partitioner, Callable[[bytes], int]] = {
    "murmur2": lambda key: int(murmur2(key)) & 0x7FFFFFFF,
    "crc32": zlib.crc32,
}


def partition_of(key: bytes, partitions: int, partitioner: Partitioner) -> int:
    """Where a client with this partitioner puts the key.

    >>> partition_of(b"JFK", 4, "murmur2"), partition_of(b"JFK", 4, "crc32")
    (1, 3)
    """
    return _HASHES[partitioner](key) % partitions


def recognise(sample: Iterable[tuple[bytes, int]], partitions: int) -> Partitioner | None:
    """Which partitioner put all these keys where they are; None where none did, or there is too little to tell.

    >>> keys = [b"key-%d" % number for number in range(40)]
    >>> recognise([(key, partition_of(key, 4, "crc32")) for key in keys], 4)
    'crc32'
    >>> recognise([(key, 0) for key in keys], 4) is None
    True
    """
    placed = set(sample)
    if partitions < 2 or len(placed) < CERTAIN:
        return None
    for partitioner in get_args(Partitioner):
        if all(partition_of(key, partitions, partitioner) == partition for key, partition in placed):
            return partitioner  # type: ignore[no-any-return]
    return None
