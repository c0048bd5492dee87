"""A bounded local cache of hashes: a dictionary from key to row, and rows in numpy slabs, read a window at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.streams.features.values import HashFormat, HashRows

_LONGEST_KEY = 512
"""Longer keys are not kept, so that keys made from hostile events cannot fill the memory."""


class Found(NamedTuple):
    """What the cache holds for some keys.

    rows     [keys] the values; those of keys it does not hold are missing; None where it holds none of them
    current  [keys] True where the row is held and its time limit is not over
    expired  [keys] True where the row is held only to stand in while Redis is down
    """

    rows: HashRows | None
    current: NDArray[np.bool_]
    expired: NDArray[np.bool_]


class FeatureCache:
    """Up to `capacity` hashes of one entity.

    A row is current for `ttl_s` seconds, one without any value for `missing_ttl_s`: a key that was asked for too early
    is seen soon after it was written. For another `stale_s` seconds a row may stand in while Redis is down. A full
    cache evicts by second chance (the clock algorithm: Corbató, "A Paging Experiment with the Multics System", 1968):
    a row that was asked for again since the hand passed survives one more turn, so a scan over new keys does not
    drive out those in use.
    """

    def __init__(
        self,
        format: HashFormat,
        *,
        capacity: int,
        ttl_s: float,
        missing_ttl_s: float,
        stale_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.capacity = capacity
        self._ttl_s, self._missing_ttl_s, self._stale_s = ttl_s, missing_ttl_s, stale_s
        self._clock = clock
        self._row_of: dict[str | None, int] = {}
        # Row 0 is a missing one and belongs to every key that is not held: a window is read in one step.
        self._key_of = np.full(capacity + 1, None, object)
        self._rows = format.reserve(capacity + 1)
        self._rows.put(np.zeros(1, np.intp), format.missing(1))
        self._expires = np.full(capacity + 1, -np.inf)
        self._referenced = np.zeros(capacity + 1, np.bool_)
        self._taken = 0
        self._hand = 1

    def __len__(self) -> int:
        return len(self._row_of)

    def find(self, keys: Sequence[str | None]) -> Found:
        """What is held for `keys`; None stands for an event without a key."""
        held = np.fromiter(map(self._row_of.get, keys, repeat(0)), np.intp, len(keys))
        if not held.any():
            nothing = np.zeros(len(keys), np.bool_)
            return Found(None, nothing, nothing)
        expires = self._expires[held]
        now = self._clock()
        current = expires > now
        expired = ~current & (expires + self._stale_s > now)
        if not current.all():
            held[~(current | expired)] = 0
        self._referenced[held] = True
        return Found(self._rows.take(held), current, expired)

    def put(self, keys: Sequence[str], rows: HashRows, found: NDArray[np.bool_]) -> None:
        """Keeps `rows` for `keys`, which are distinct; `found` [keys] says which hold any value."""
        if max(map(len, keys), default=0) > _LONGEST_KEY or len(keys) > self.capacity:
            chosen = [place for place, key in enumerate(keys) if len(key) <= _LONGEST_KEY][: self.capacity]
            keys, some = [keys[place] for place in chosen], np.array(chosen, np.intp)
            rows, found = rows.take(some), found[some]
        if not keys:
            return
        held = np.fromiter(map(self._row_of.get, keys, repeat(0)), np.intp, len(keys))
        new = np.flatnonzero(held == 0)
        if len(new):
            claimed = self._claim(len(new), held[held > 0])
            held[new] = claimed
            new_keys = keys if len(new) == len(keys) else [keys[place] for place in new.tolist()]
            self._key_of[claimed] = new_keys
            self._row_of.update(zip(new_keys, claimed.tolist(), strict=True))
        self._rows.put(held, rows)
        self._expires[held] = self._clock() + np.where(found, self._ttl_s, self._missing_ttl_s)

    def _claim(self, count: int, in_use: NDArray[np.intp]) -> NDArray[np.intp]:
        """`count` rows to write to, none of them `in_use`: unused ones first, then the hand goes round."""
        unused = min(count, self.capacity - self._taken)
        rows = [np.arange(self._taken + 1, self._taken + 1 + unused)]
        self._taken += unused
        count -= unused
        if count:
            spared = np.zeros(self.capacity + 1, np.bool_)
            spared[in_use] = True
            spared[rows[0]] = True
        while count:
            stop = min(self._hand + max(4 * count, 256), self.capacity + 1)
            passed = np.arange(self._hand, stop)
            victims = passed[~(self._referenced[passed] | spared[passed])][:count]
            if len(victims) == count:
                stop = int(victims[-1]) + 1
            self._referenced[self._hand : stop] = False
            spared[victims] = True
            for key in self._key_of[victims].tolist():
                del self._row_of[key]
            rows.append(victims)
            count -= len(victims)
            self._hand = stop if stop <= self.capacity else 1
        return np.concatenate(rows)
