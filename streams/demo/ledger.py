"""The demo's books: every record that was sent, and what came of it, by its place in the events topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Account:
    """What became of the records, in the order in which they were sent, [records].

    predictions, dead_letters  how many of each came of a record
    score    of its first prediction, float64; NaN: none
    version  of the model that made it; 0: none did
    sent_at, settled_at  seconds of the ledger's clock; settled by its first prediction or dead letter, NaN: by none
    """

    predictions: NDArray[np.int64]
    dead_letters: NDArray[np.int64]
    score: NDArray[np.float64]
    version: NDArray[np.int64]
    sent_at: NDArray[np.float64]
    settled_at: NDArray[np.float64]
    strays: int
    """Predictions and dead letters of records that were never sent."""

    @property
    def lost(self) -> int:
        """Records that came to nothing."""
        return int((self.predictions + self.dead_letters == 0).sum())

    @property
    def doubled(self) -> int:
        """Predictions and dead letters beyond the first of a record."""
        return int(np.maximum(self.predictions + self.dead_letters - 1, 0).sum())


class _Partition:
    """What is known of one partition's records, by their offset less the first one's."""

    def __init__(self, first_offset: int) -> None:
        self.first_offset = first_offset
        self.records: list[int] = []
        self.sent_at: list[float] = []
        self.settled_at: list[float] = []
        self.score: list[float] = []
        self.version: list[int] = []
        self.predictions: list[int] = []
        self.dead_letters: list[int] = []


class Ledger:
    """Counts outcomes by source partition and offset, as they come. Times are seconds of one clock.

    >>> ledger = Ledger([100])
    >>> ledger.sent(0, [0, 1, 2], at=5.0)
    >>> ledger.predicted(0, 100, score=0.9, at=5.5)
    >>> ledger.predicted(0, 100, score=0.9, at=5.6)
    >>> ledger.dead_lettered(0, 102, at=5.7)
    >>> ledger.settled, ledger.outstanding
    (2, 1)
    >>> account = ledger.account()
    >>> account.lost, account.doubled, account.predictions.tolist()
    (1, 1, [2, 0, 0])
    """

    def __init__(self, first_offsets: Sequence[int]) -> None:
        """One entry per partition of the events topic: where it ended before the first record was sent."""
        self._partitions = [_Partition(offset) for offset in first_offsets]
        self._sent = 0
        self._strays = 0
        self.settled = 0
        """Records with an outcome."""

    @property
    def outstanding(self) -> int:
        return self._sent - self.settled

    @property
    def predicted_records(self) -> int:
        """Records with a prediction."""
        return sum(len(held.predictions) - held.predictions.count(0) for held in self._partitions)

    def sent(self, partition: int, records: Sequence[int], *, at: float) -> None:
        """`records` (their positions) are about to be appended to a partition, in this order, by its only writer."""
        held, count = self._partitions[partition], len(records)
        held.records += records
        held.sent_at += [at] * count
        held.settled_at += [np.nan] * count
        held.score += [np.nan] * count
        held.version += [0] * count
        held.predictions += [0] * count
        held.dead_letters += [0] * count
        self._sent += count

    def predicted(self, partition: int, offset: int, *, score: float, at: float, version: int = 1) -> None:
        held, index = self._partitions[partition], offset - self._partitions[partition].first_offset
        if self._settle(held, index, at):
            held.score[index], held.version[index] = score, version
        if 0 <= index < len(held.records):
            held.predictions[index] += 1

    def dead_lettered(self, partition: int, offset: int, *, at: float) -> None:
        held, index = self._partitions[partition], offset - self._partitions[partition].first_offset
        self._settle(held, index, at)
        if 0 <= index < len(held.records):
            held.dead_letters[index] += 1

    def _settle(self, held: _Partition, index: int, at: float) -> bool:
        """Whether this is the record's first outcome."""
        if not 0 <= index < len(held.records):
            self._strays += 1
            return False
        if held.predictions[index] or held.dead_letters[index]:
            return False
        held.settled_at[index] = at
        self.settled += 1
        return True

    def account(self) -> Account:
        order = np.argsort(np.concatenate([np.array(held.records, np.int64) for held in self._partitions]))

        def column(name: str) -> NDArray[np.float64]:
            return np.concatenate([np.array(getattr(held, name), np.float64) for held in self._partitions])[order]

        return Account(
            predictions=column("predictions").astype(np.int64),
            dead_letters=column("dead_letters").astype(np.int64),
            score=column("score"),
            version=column("version").astype(np.int64),
            sent_at=column("sent_at"),
            settled_at=column("settled_at"),
            strays=self._strays,
        )
