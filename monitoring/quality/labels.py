"""Label runs: the labels of one partition, kept until what was predicted is read again and wants them.

State is the labels alone: 20 bytes each, in sorted runs that merge as they grow, so that a store of n labels has a few
dozen runs at most and a look-up is a few binary searches. What came first does not matter: repeated, corrected, early
and replayed labels all come to the same. Every run is its own changelog; the records that `changes` gives restore it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.schemas.label_runs import (
    LABEL_BYTES,
    CorruptLabels,
    Manifest,
    Run,
    decode_manifest,
    decode_run,
    encode_manifest,
    encode_run,
    merge,
    records_of,
    sorted_run,
)

OPEN_ROWS = 2048
"""The newest run takes so many labels at most, and its record is written again each time; then it is sealed."""
_BATCH_ROWS = 1 << 16
_LARGEST_RUN = 1 << 20
"""Labels: 21 MB, the most that one merge writes again."""
_MANIFEST, _OPEN = "manifest", "open"
_OPEN_NUMBER = 2**64 - 1
_NEVER = int(np.iinfo(np.int64).min)
_EMPTY = Run(np.empty(0, np.uint64), np.empty(0, np.float32), np.empty(0, np.int64))

Change = tuple[str, bytes | None]
"""A record of the state: its key, and its value or None for a tombstone."""


class Joined(NamedTuple):
    """What is known of n events.

    values  [n] float64, NaN where nothing is known
    times   [n] int64 Unix ms, of the label; the lowest int64 where nothing is known
    found   [n] bool
    """

    values: NDArray[np.float64]
    times: NDArray[np.int64]
    found: NDArray[np.bool_]


class LabelRuns:
    """The labels of one partition: at most `limit`; when there are more, an eighth that came first goes.

    Of several labels of one event the one with the latest time counts, at equal times the one that came last.

    >>> runs = LabelRuns()
    >>> runs.put(np.array([7, 9], np.uint64), np.array([1.0, 0.0]), np.array([100, 100]))
    >>> runs.put(np.array([7], np.uint64), np.array([0.0]), np.array([90]))  # older than what is known: nothing new
    >>> runs.join(np.array([9, 8, 7], np.uint64)).values
    array([ 0., nan,  1.])
    >>> restored = LabelRuns.restore(runs.changes())
    >>> restored.join(np.array([9, 8, 7], np.uint64)).values
    array([ 0., nan,  1.])
    """

    def __init__(self, limit: int = 10_000_000, *, open_rows: int = OPEN_ROWS) -> None:
        if limit < 16:
            raise ValueError(f"a limit of {limit} labels; expected at least 16")
        self.limit = limit
        self.evicted = 0
        self.outdated = 0
        self._horizon = _NEVER
        self._open = _EMPTY
        self._sealed: dict[int, Run] = {}  # in the order of their numbers, which is the order of arrival
        self._latest: dict[int, int] = {}  # time of each sealed run's latest label
        self._next = 0
        self._largest = min(_LARGEST_RUN, limit // 8)
        self._open_rows = min(open_rows, self._largest, OPEN_ROWS)
        self._published: dict[str, int] = {}  # keys of the records that restore would find → run
        self._manifest: Manifest | None = None
        self._open_published: Run = _EMPTY

    @property
    def rows(self) -> int:
        """Labels that are kept; an event's corrections count until their runs merge."""
        return self._open.rows + sum(run.rows for run in self._sealed.values())

    @property
    def horizon(self) -> int:
        """Labels whose time is earlier are forgotten, Unix ms; the lowest int64 before anything was."""
        return self._horizon

    @property
    def size_bytes(self) -> int:
        return LABEL_BYTES * self.rows

    @property
    def runs(self) -> int:
        return len(self._sealed) + (self._open.rows > 0)

    def put(self, hashes: NDArray[np.uint64], values: NDArray[np.floating[Any]], times: NDArray[np.int64]) -> None:
        """Take labels, in the order of their arrival. Those older than `expire` was told are counted as outdated.

        Args:
            hashes: [n] uint64 of the events' ids.
            values: [n] float, finite.
            times: [n] int64 Unix ms.

        Raises:
            ValueError: a value is NaN or does not fit float32; then nothing was taken.
        """
        narrow = _float32(values)
        step = min(_BATCH_ROWS, self._largest)
        for start in range(0, len(hashes), step):
            rows = slice(start, start + step)
            batch = Run(hashes[rows], narrow[rows], times[rows])
            current = batch.times >= self._horizon
            if not current.all():
                self.outdated += int(batch.rows - current.sum())
                batch = batch.take(current)
            if batch.rows:
                self._open = merge(self._open, sorted_run(*batch))
            if self._open.rows > self._open_rows:
                self._seal()
        self._evict()

    def join(self, hashes: NDArray[np.uint64]) -> Joined:
        """What is known of the events with these hashes, in any order, repeats allowed: [n] uint64."""
        order = np.argsort(hashes)  # neighbours in a run stay in the processor's cache
        wanted = hashes[order]
        values = np.full(len(wanted), np.nan, np.float32)
        times = np.full(len(wanted), _NEVER, np.int64)
        for run in (*self._sealed.values(), self._open):
            if not run.rows:
                continue
            at = np.searchsorted(run.hashes, wanted)
            at[at == run.rows] = 0
            [hit] = np.nonzero(run.hashes[at] == wanted)
            at = at[hit]
            newer = run.times[at] >= np.maximum(times[hit], self._horizon)
            hit, at = hit[newer], at[newer]
            values[hit], times[hit] = run.values[at], run.times[at]
        joined = Joined(np.empty(len(wanted), np.float64), np.empty_like(times), np.empty(len(wanted), bool))
        joined.values[order], joined.times[order], joined.found[order] = values, times, ~np.isnan(values)
        return joined

    def expire(self, before_ms: int) -> None:
        """Forget labels whose time is earlier, those that are still to come too. It never goes back."""
        if before_ms <= self._horizon:
            return
        self._horizon = before_ms
        for number in [number for number, latest in self._latest.items() if latest < before_ms]:
            self._drop(number)
        if self._open.rows:
            self._open = self._current(self._open)

    def changes(self) -> list[Change]:
        """The records that differ from those of the last call, for a compacted topic; each at most 900 kB.

        They restore the store when they are written in one transaction. Without one they may break off anywhere, as
        they stand in this order: new runs, then the manifest that names them, then the open run that they came from, at
        last the tombstones of runs that the manifest names no more.
        """
        changed: list[Change] = []
        live = {key: number for number, run in self._sealed.items() for key in _keys(number, records_of(run.rows))}
        for number, run in self._sealed.items():
            keys = _keys(number, records_of(run.rows))
            if keys[0] not in self._published:
                changed += zip(keys, encode_run(run, number), strict=True)
        manifest = Manifest(
            [(number, records_of(run.rows)) for number, run in self._sealed.items()],
            self._next, self._horizon, self.evicted, self.outdated,
        )  # fmt: skip
        if manifest != self._manifest:
            changed.append((_MANIFEST, encode_manifest(manifest)))
        if self._open is not self._open_published:
            changed.append((_OPEN, next(encode_run(self._open, _OPEN_NUMBER))))
        changed += [(key, None) for key in self._published if key not in live]
        self._published, self._manifest, self._open_published = live, manifest, self._open
        return changed

    @classmethod
    def restore(
        cls, items: Iterable[tuple[str, bytes | None]], limit: int = 10_000_000, *, open_rows: int = OPEN_ROWS
    ) -> LabelRuns:
        """The store whose `changes` left these records, the latest of each key. No record at all is an empty store.

        Raises CorruptLabels when a record is missing or is not what was written.
        """
        records = {key: value for key, value in dict(items).items() if value is not None}
        store = cls(limit, open_rows=open_rows)
        if (found := records.pop(_MANIFEST, None)) is not None:
            manifest = decode_manifest(_MANIFEST, found)
            store._manifest, store._next, store._horizon = manifest, manifest.next, manifest.horizon
            store.evicted, store.outdated = manifest.evicted, manifest.outdated
            for number, parts in manifest.runs:
                store._keep(number, _run(records, number, parts))
        if (value := records.pop(_OPEN, None)) is not None:
            store._open = store._open_published = decode_run(_OPEN, value, _OPEN_NUMBER, 0, 1)
        store._published = dict.fromkeys(records, -1)
        return store

    def _current(self, run: Run) -> Run:
        current = run.times >= self._horizon
        return run if current.all() else run.take(current)

    def _seal(self) -> None:
        run, self._open = self._open, _EMPTY
        while self._sealed:
            number, before = next(reversed(self._sealed.items()))
            if before.rows >= 2 * run.rows or before.rows + run.rows > self._largest:
                break
            run = merge(self._current(self._drop(number)), run)
        self._keep(self._next, run)
        self._next += 1

    def _keep(self, number: int, run: Run) -> None:
        self._sealed[number], self._latest[number] = run, int(run.times.max(initial=_NEVER))

    def _drop(self, number: int) -> Run:
        del self._latest[number]
        return self._sealed.pop(number)

    def _evict(self) -> None:
        while self.rows > self.limit and self._sealed:
            self.evicted += self._current(self._drop(next(iter(self._sealed)))).rows


def _float32(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise ValueError("a label is not a finite float32")
    return narrow


def _keys(number: int, records: int) -> list[str]:
    return [f"run/{number}/{part}" for part in range(records)]


def _run(records: dict[str, bytes], number: int, parts: int) -> Run:
    found = []
    for part, key in enumerate(_keys(number, parts)):
        if key not in records:
            raise CorruptLabels(key, "it is missing")
        found.append(decode_run(key, records[key], number, part, parts))
    return found[0] if parts == 1 else Run(*map(np.concatenate, zip(*found, strict=True)))
