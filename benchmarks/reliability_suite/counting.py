"""Counting what came out for each event: pure arithmetic, and not a line of the service in it."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
from numpy.typing import NDArray

PAUSE_MS = 200
"""Times without a prediction that are worth a note."""
BUCKET_MS = 50
SHOWN = 5
"""Numbers of lost and doubled events that are told."""
MOST = np.iinfo(np.uint8).max


class Pause(msgspec.Struct, frozen=True):
    """A partition got no prediction between these two, Unix ms."""

    partition: int
    begun: int
    ended: int


class Repeat(msgspec.Struct, frozen=True):
    """So many outputs of a partition's batch were of events that had one already; the first came at `time`, Unix ms."""

    partition: int
    time: int
    count: int


class Verdict(msgspec.Struct, frozen=True):
    """What became of events 0 … `events` - 1.

    lost        neither prediction nor dead letter
    doubled     outputs beside the first one
    misjudged   a good event's dead letter, a bad event's prediction, or an output of an event that nobody sent
    disordered  predictions behind one of a later event of their partition; repeats are, too
    """

    events: int
    predictions: int
    dead_letters: int
    lost: int
    doubled: int
    misjudged: int
    disordered: int
    lost_numbers: list[int]
    doubled_numbers: list[int]


class Counts:
    """Outputs by event number: two bytes for each event, whatever the number of outputs.

    >>> counts = Counts(partitions=1)
    >>> counts.predictions(0, np.array([0, 1, 1, 3]), np.array([10, 10, 20, 900]))
    >>> counts.dead_letters(0, np.array([2]), np.array([900]))
    >>> verdict = counts.verdict(5, bad=np.array([False, False, True, False, False]))
    >>> verdict.lost, verdict.lost_numbers, verdict.doubled, verdict.doubled_numbers, verdict.misjudged
    (1, [4], 1, [1], 0)
    >>> counts.pauses, counts.repeats
    ([Pause(partition=0, begun=20, ended=900)], [Repeat(partition=0, time=20, count=1)])
    """

    def __init__(self, partitions: int) -> None:
        self._outputs: NDArray[np.uint8] = np.zeros(1 << 16, np.uint8)
        self._letters: NDArray[np.uint8] = np.zeros(1 << 16, np.uint8)
        self._last_time = [0] * partitions
        self._last_number = [-1] * partitions
        self._strange = self._disordered = 0
        self.predicted = self.lettered = 0
        self.seen = 0
        """Events that have an output."""
        self.written: Counter[int] = Counter()
        """Time in units of `BUCKET_MS` → predictions written then."""
        self.pauses: list[Pause] = []
        self.repeats: list[Repeat] = []

    @property
    def last_times(self) -> list[int]:
        """Of each partition's last prediction, Unix ms; 0 where there is none."""
        return list(self._last_time)

    def predictions(self, partition: int, numbers: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        """Predictions of one partition in order: their events' numbers and when they were written, Unix ms."""
        if not len(numbers):
            return
        self.predicted += len(numbers)
        self._note_pauses(partition, times)
        before = np.concatenate(([self._last_number[partition]], numbers))
        self._disordered += int((numbers <= np.maximum.accumulate(before)[:-1]).sum())
        self._last_number[partition] = int(before.max())
        self._count(partition, numbers, times)
        buckets, counts = np.unique(times // BUCKET_MS, return_counts=True)
        self.written.update(dict(zip(buckets.tolist(), counts.tolist(), strict=True)))

    def dead_letters(self, partition: int, numbers: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        """Dead letters of one partition: those of its events."""
        self.lettered += len(numbers)
        self._count(partition, numbers, times)
        added = np.bincount(numbers)
        self._letters[: len(added)] += added.astype(np.uint8)

    def strange(self, count: int) -> None:
        """Outputs that do not say which event they are of, or two different ones."""
        self._strange += count

    def verdict(self, events: int, bad: NDArray[np.bool_]) -> Verdict:
        """`bad` [events]: those that should have become dead letters."""
        self._grow(events)
        outputs, letters = self._outputs[:events], self._letters[:events] > 0
        lost, doubled = outputs == 0, outputs > 1
        return Verdict(
            events=events,
            predictions=self.predicted,
            dead_letters=self.lettered,
            lost=int(lost.sum()),
            doubled=int(outputs[doubled].sum(dtype=np.int64) - doubled.sum()),
            misjudged=int(((letters != bad) & ~lost).sum() + self._outputs[events:].sum(dtype=np.int64))
            + self._strange,
            disordered=self._disordered,
            lost_numbers=np.flatnonzero(lost)[:SHOWN].tolist(),
            doubled_numbers=np.flatnonzero(doubled)[:SHOWN].tolist(),
        )

    def _count(self, partition: int, numbers: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        if not len(numbers):
            return
        first, end = int(numbers.min()), int(numbers.max()) + 1
        self._grow(end)
        before = self._outputs[first:end]
        added = np.bincount(numbers - first)
        fresh = int(((before == 0) & (added > 0)).sum())
        self.seen += fresh
        if fresh < len(numbers):
            again = before[numbers - first] > 0
            again[np.setdiff1d(np.arange(len(numbers)), np.unique(numbers, return_index=True)[1])] = True
            self.repeats.append(Repeat(partition, int(times[again][0]), len(numbers) - fresh))
        np.minimum(before + added, MOST, out=before, casting="unsafe")

    def _note_pauses(self, partition: int, times: NDArray[np.int64]) -> None:
        moments = np.concatenate(([self._last_time[partition] or times[0]], times))
        self._last_time[partition] = int(moments[-1])
        for at in np.flatnonzero(np.diff(moments) >= PAUSE_MS).tolist():
            self.pauses.append(Pause(partition, int(moments[at]), int(moments[at + 1])))

    def _grow(self, events: int) -> None:
        if events > (room := len(self._outputs)):
            more = np.zeros(max(events, 2 * room) - room, np.uint8)
            self._outputs, self._letters = np.concatenate((self._outputs, more)), np.concatenate((self._letters, more))
