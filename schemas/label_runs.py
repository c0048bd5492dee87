"""Runs of labels: sorted columns, how two become one, and their form as records of the state topic.

A run is as many records as it needs, each at most 900 kB: a header, then the columns little-endian. The manifest says
which runs make up a store, so records that were written before a crash but are not in it mean nothing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.schemas.errors import PenstockError
from penstock.schemas.topics import SCORED_RECORD_LIMIT

LABEL_BYTES = 20
_HEADER = struct.Struct("<4sIQIII")
_MAGIC = b"LR/1"
_CRC = struct.Struct("<I")
RECORD_ROWS = (SCORED_RECORD_LIMIT - _HEADER.size) // LABEL_BYTES


class CorruptLabels(PenstockError):
    """Kept labels that are not what was written.

    >>> print(CorruptLabels("run/7/0", "its checksum does not match"))
    The kept labels cannot be restored: run/7/0: its checksum does not match. Delete the watch role's state, and it \
reads the labels again.
    """

    def __init__(self, key: str, cause: str) -> None:
        self.key, self.cause = key, cause
        super().__init__(
            f"The kept labels cannot be restored: {key}: {cause}. Delete the watch role's state, and it reads the "
            "labels again."
        )


class Run(NamedTuple):
    """One label per event, ascending by hash.

    hashes  [n] uint64
    values  [n] float32
    times   [n] int64 Unix ms
    """

    hashes: NDArray[np.uint64]
    values: NDArray[np.float32]
    times: NDArray[np.int64]

    @property
    def rows(self) -> int:
        return len(self.hashes)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Run:
        return Run(self.hashes[rows], self.values[rows], self.times[rows])


def sorted_run(hashes: NDArray[np.uint64], values: NDArray[np.float32], times: NDArray[np.int64]) -> Run:
    """Labels in the order of their arrival as a run: of one event's labels the latest time wins, then the last to come.

    >>> sorted_run(np.array([9, 4, 9], np.uint64), np.array([1, 1, 0], np.float32), np.array([7, 5, 7])).values
    array([1., 0.], dtype=float32)
    """
    run = Run(hashes, values, times).take(np.lexsort((times, hashes)))  # stable: arrivals stay in order
    last = np.empty(run.rows, bool)
    last[-1:] = True
    np.not_equal(run.hashes[1:], run.hashes[:-1], out=last[:-1])
    return run if last.all() else run.take(last)


def merge(older: Run, newer: Run) -> Run:
    """Both runs as one; of two labels of one event the later time wins, at equal times the newer run's.

    >>> old = sorted_run(np.array([4, 9], np.uint64), np.array([1, 1], np.float32), np.array([7, 7]))
    >>> new = sorted_run(np.array([4, 9], np.uint64), np.array([0, 0], np.float32), np.array([6, 7]))
    >>> merge(old, new).values
    array([1., 0.], dtype=float32)
    """
    if not older.rows or not newer.rows:
        return older if older.rows else newer
    both = Run(*map(np.concatenate, zip(older, newer, strict=True)))  # type: ignore[arg-type]
    both = both.take(np.argsort(both.hashes, kind="stable"))  # two ascending stretches: linear
    [first] = np.nonzero(both.hashes[1:] == both.hashes[:-1])
    if not len(first):
        return both
    keep = np.ones(both.rows, bool)
    newer_wins = both.times[first + 1] >= both.times[first]
    keep[np.where(newer_wins, first, first + 1)] = False
    return both.take(keep)


def encode_run(run: Run, number: int) -> Iterator[bytes]:
    """The records of a run, in order; at least one.

    >>> run = sorted_run(np.array([4], np.uint64), np.array([1], np.float32), np.array([7]))
    >>> [record] = encode_run(run, 3)
    >>> decode_run("run/3/0", record, 3, 0, 1) == run
    True
    """
    records = records_of(run.rows)
    for part in range(records):
        rows = slice(part * RECORD_ROWS, (part + 1) * RECORD_ROWS)
        hashes, values, times = run.hashes[rows], run.values[rows], run.times[rows]
        body = b"".join((
            np.asarray(hashes, "<u8").tobytes(), np.asarray(times, "<i8").tobytes(), np.asarray(values, "<f4").tobytes()
        ))  # fmt: skip
        head = _HEADER.pack(_MAGIC, zlib.crc32(body), number, part, records, len(hashes))
        yield head + body


def records_of(rows: int) -> int:
    """How many records a run of so many labels takes."""
    return max(1, -(-rows // RECORD_ROWS))


def decode_run(key: str, record: bytes, number: int, part: int, records: int) -> Run:
    """Raises CorruptLabels unless `record` is that part of that run."""
    if len(record) < _HEADER.size:
        raise CorruptLabels(key, f"it has {len(record)} bytes")
    magic, crc, *found, rows = _HEADER.unpack_from(record)
    body = memoryview(record)[_HEADER.size :]
    if magic != _MAGIC or found != [number, part, records]:
        raise CorruptLabels(key, "it is another record")
    if len(body) != rows * LABEL_BYTES or zlib.crc32(body) != crc:
        raise CorruptLabels(key, "its checksum does not match")
    return Run(
        np.frombuffer(body, "<u8", rows),
        np.frombuffer(body, "<f4", rows, 16 * rows),
        np.frombuffer(body, "<i8", rows, 8 * rows),
    )


class Manifest(msgspec.Struct, frozen=True):
    """What makes up a store of labels.

    runs      number and records of each sealed run, the oldest first
    next      number of the run that will be sealed next
    horizon   labels before it are gone, Unix ms
    evicted   labels that went because there were too many
    outdated  labels that came when they were older than the horizon
    """

    runs: list[tuple[int, int]] = []
    next: int = 0
    horizon: int = -(2**63)
    evicted: int = 0
    outdated: int = 0


def encode_manifest(manifest: Manifest) -> bytes:
    """One record; its checksum stands in front.

    >>> decode_manifest("manifest", encode_manifest(Manifest([(0, 1)], 1))).runs
    [(0, 1)]
    """
    body = msgspec.msgpack.encode(manifest)
    return _CRC.pack(zlib.crc32(body)) + body


def decode_manifest(key: str, record: bytes) -> Manifest:
    """Raises CorruptLabels."""
    body = memoryview(record)[_CRC.size :]
    if len(record) < _CRC.size or _CRC.unpack_from(record)[0] != zlib.crc32(body):
        raise CorruptLabels(key, "its checksum does not match")
    try:
        return msgspec.msgpack.decode(body, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptLabels(key, f"it is no manifest: {error}") from error
