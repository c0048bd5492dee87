"""Times, from what the counter saw: pure arithmetic on pauses. Times are Unix ms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from reliability_suite.counting import BUCKET_MS, Pause, Repeat


class Blow(NamedTuple):
    """What was done, when (Unix ms), and which partitions it took away; `in_order`: from a worker that finished."""

    what: str
    time: float
    partitions: list[int]
    in_order: bool = False


def longest_pause_s(pauses: Iterable[Pause], begun: float, ended: float) -> float:
    """The longest time in which one partition got no prediction, within a time.

    >>> longest_pause_s([Pause(0, 1_000, 2_500), Pause(1, 9_000, 99_000)], begun=2_000, ended=10_000)
    1.0
    """
    return max((min(each.ended, ended) - max(each.begun, begun) for each in pauses), default=0.0) / 1000


def longest_standstill_s(pauses: Iterable[Pause], partitions: int, begun: float, ended: float) -> float:
    """The longest time in which no partition at all got a prediction.

    >>> longest_standstill_s([Pause(0, 1_000, 5_000), Pause(1, 4_000, 9_000)], partitions=2, begun=0, ended=9_000)
    1.0
    """
    turns = []
    for pause in pauses:
        if (first := max(pause.begun, begun)) < (last := min(pause.ended, ended)):
            turns += [(first, 1), (last, -1)]
    longest, paused, since = 0.0, 0, 0.0
    for time, change in sorted(turns):
        if paused == partitions:
            longest = max(longest, time - since)
        paused += change
        since = time
    return longest / 1000


AT_ONCE_MS = 1_000
"""What was written before a blow may come to rest as late as this; a pause from then on is of another cause."""


def served_again_s(pauses: Iterable[Pause], blow: float, partitions: Collection[int]) -> float:
    """From a blow until each of `partitions` was served again.

    >>> served_again_s([Pause(0, 1_010, 8_000), Pause(0, 9_000, 20_000), Pause(1, 0, 99_000)], 1_000, {0})
    7.0
    """
    waited = [
        pause.ended - blow
        for pause in pauses
        if pause.partition in partitions and pause.begun <= blow + AT_ONCE_MS and pause.ended > blow
    ]
    return max(waited, default=0.0) / 1000


def busiest(written: Mapping[int, int], interval_ms: float) -> int:
    """The most predictions that were written in any interval.

    >>> busiest({0: 10, 1: 30, 2: 10, 9: 35}, 2 * BUCKET_MS)
    40
    """
    width = max(1, round(interval_ms / BUCKET_MS))
    return max((sum(written.get(first + i, 0) for i in range(width)) for first in written), default=0)


def repeated_after(blows: Sequence[Blow], repeats: Iterable[Repeat]) -> Counter[int]:
    """Blow by number → outputs that came again because of it; -1: because of none.

    That is the last one before that took the repeat's partition away.

    >>> blows = [Blow("kill", 10, [0, 1]), Blow("kill", 20, [2])]
    >>> sorted(repeated_after(blows, [Repeat(0, 25, 3), Repeat(2, 26, 4), Repeat(3, 30, 5)]).items())
    [(-1, 5), (0, 3), (1, 4)]
    """
    found: Counter[int] = Counter()
    for repeat in repeats:
        guilty = [n for n, blow in enumerate(blows) if blow.time <= repeat.time and repeat.partition in blow.partitions]
        found[guilty[-1] if guilty else -1] += repeat.count
    return found


def may_repeat(blows: Sequence[Blow], written: Mapping[int, int], interval_ms: float) -> list[int]:
    """For each blow, the most predictions that were written in any interval since the one before; 0: it took nothing.

    >>> blows = [Blow("kill", 1_000, [0]), Blow("kill", 9_000, []), Blow("stop", 9_500, [1], in_order=True)]
    >>> may_repeat(blows, {0: 5, 1: 6, 100: 7}, 2 * BUCKET_MS)
    [11, 0, 0]
    """
    begins = [0.0, *(blow.time for blow in blows)]
    spans = [
        {at: count for at, count in written.items() if begun <= at * BUCKET_MS < blow.time + AT_ONCE_MS}
        for begun, blow in zip(begins, blows, strict=False)
    ]
    return [
        busiest(span, interval_ms) if blow.partitions and not blow.in_order else 0
        for span, blow in zip(spans, blows, strict=True)
    ]


def running_totals(after: Mapping[int, int], limits: Sequence[int]) -> list[tuple[int, int]]:
    """What came again because of each blow and those before it, and what may have.

    One by one they cannot be told apart: what a blow left behind comes again when somebody serves its partitions, and
    that may be after the next blow to them.

    >>> running_totals({0: 3, 1: 9}, [5, 5])
    [(3, 5), (12, 10)]
    """
    repeated = accumulate(after.get(number, 0) for number in range(len(limits)))
    return list(zip(repeated, accumulate(limits), strict=True))


def rate(written: Mapping[int, int], warm_up: float = 0.1) -> float:
    """Predictions per second, from when the share `warm_up` of them was written to the last.

    >>> rate({bucket: 10 for bucket in range(100)})
    200.0
    """
    total, passed = sum(written.values()), 0
    for bucket in sorted(written):
        passed += written[bucket]
        if passed >= warm_up * total:
            return (total - passed) * 1000 / max((max(written) - bucket) * BUCKET_MS, 1)
    return 0.0
