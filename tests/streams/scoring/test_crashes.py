"""Whatever events kill the process, and wherever they stand: they are found, and every other one is scored once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from penstock.streams.scoring.crashes import ALONE, FINER, WINDOWS, Note, Search

MAX_CRASHES = 3


@dataclass
class Partition:
    """A partition's offsets, those among them that kill, and what the group has committed."""

    offsets: list[int]
    poison: frozenset[int]
    committed: int = 0
    metadata: str = ""
    outcomes: Counter[tuple[int, str]] = field(default_factory=Counter)

    def commit(self, offset: int, outcomes: list[tuple[int, str]], note: Note | None = None) -> None:
        """Outcomes and offset together, as exactly-once delivery does."""
        assert offset >= self.committed
        self.committed, self.metadata = offset, "" if note is None else note.text()
        self.outcomes.update(outcomes)

    @property
    def waiting(self) -> list[int]:
        return [offset for offset in self.offsets if offset >= self.committed]


class Killed(Exception):
    pass


@dataclass
class Worker:
    """Takes windows of the partitions in turn; `lag` of them are scored before the first one is committed."""

    partitions: list[Partition]
    max_rows: int
    lag: int
    fetch: int

    def run(self) -> None:
        """From the committed offsets until nothing waits, or an event kills it."""
        self.searches = [
            Search(Note.read(each.metadata), max_rows=self.max_rows, max_crashes=MAX_CRASHES)
            for each in self.partitions
        ]
        self.fresh = set(range(len(self.partitions)))
        self.uncommitted: list[tuple[Partition, list[int]]] = []
        for number, rows in self._blocks():
            if any(search.suspected for search in self.searches):
                self._flush(0)
                self._try(number, rows)
            else:
                self._score(number, rows)
                self._flush(self.lag)
        self._flush(0)

    def _blocks(self) -> Iterator[tuple[int, list[int]]]:
        fetched = [each.waiting for each in self.partitions]
        while any(fetched):
            for number, waiting in enumerate(fetched):
                taken, fetched[number] = waiting[: self.fetch], waiting[self.fetch :]
                for start, stop in self.searches[number].pieces(taken):
                    for first in range(start, stop, self.max_rows):
                        yield number, taken[first : min(first + self.max_rows, stop)]

    def _score(self, number: int, rows: list[int]) -> None:
        partition = self.partitions[number]
        if number in self.fresh:
            self.fresh.discard(number)
            partition.commit(rows[0], [], self.searches[number].starting())
        self._survive(partition, rows)
        self.uncommitted.append((partition, rows))

    def _try(self, number: int, rows: list[int]) -> None:
        partition, search, stop = self.partitions[number], self.searches[number], rows[-1] + 1
        self.fresh.discard(number)
        if search.given_up(first=rows[0], rows=len(rows)):
            search.found(rows[0])
            partition.commit(stop, [(rows[0], "dead letter")], search.survived())
        else:
            partition.commit(rows[0], [], search.trying(first=rows[0], stop=stop, rows=len(rows)))
            self._survive(partition, rows)
            partition.commit(stop, [(row, "prediction") for row in rows], search.survived())
        if search.passed(stop, caught_up=not partition.waiting):
            partition.commit(stop, [])

    def _survive(self, partition: Partition, rows: list[int]) -> None:
        if partition.poison.intersection(rows):
            raise Killed

    def _flush(self, keep: int) -> None:
        while len(self.uncommitted) > keep:
            partition, rows = self.uncommitted.pop(0)
            partition.commit(rows[-1] + 1, [(row, "prediction") for row in rows])


def crashes(partitions: list[Partition], bound: int, *, max_rows: int, lag: int, fetch: int) -> int:
    """Until all is done; fails beyond `bound`."""
    for crash in range(bound + 1):
        try:
            Worker(partitions, max_rows, lag, fetch).run()
        except Killed:
            continue
        return crash
    raise AssertionError(f"more than {bound} crashes: {partitions}")


def levels(rows: int) -> int:
    """Deaths until a range of so many rows is down to one row."""
    return 0 if rows == 1 else 1 + levels(-(-rows // FINER))


@st.composite
def a_partition(draw: st.DrawFn) -> Partition:
    steps = draw(st.lists(st.integers(1, 3), min_size=1, max_size=400))
    offsets = [sum(steps[: n + 1]) for n in range(len(steps))]
    return Partition(offsets, frozenset(draw(st.lists(st.sampled_from(offsets), max_size=5))))


@given(
    st.lists(a_partition(), min_size=1, max_size=3),
    st.integers(1, 300),
    st.integers(0, 4),
    st.integers(1, 500),
)
@example([Partition([*range(300)], frozenset([0, 1, 299]))], 256, 2, 300)
@example([Partition([*range(900)], frozenset([17, 800]))] * 1, 10, 4, 900)
def test_every_killer_is_found_and_every_other_event_is_scored_once(
    partitions: list[Partition], max_rows: int, lag: int, fetch: int
) -> None:
    killers = sum(len(each.poison) for each in partitions)
    per_killer = (1 + lag) + MAX_CRASHES + levels(max_rows) + ALONE  # the first ones may still have got on
    crashes(partitions, killers * per_killer * len(partitions), max_rows=max_rows, lag=lag, fetch=fetch)
    for each in partitions:
        assert each.outcomes == {
            (offset, "dead letter" if offset in each.poison else "prediction"): 1 for offset in each.offsets
        }


def test_one_killer_in_a_large_window_costs_few_starts() -> None:
    partition = Partition([*range(20_000)], frozenset([3_333]))
    assert crashes([partition], 99, max_rows=4096, lag=2, fetch=20_000) == MAX_CRASHES + 2 + ALONE - 1


def test_a_worker_that_is_killed_for_no_event_of_its_own_gives_none_up() -> None:
    """Killed by hand in every trial: the range shrinks to an event, and one more start clears it."""
    note = Note(starts=MAX_CRASHES)
    for _ in range(2):
        search = Search(note, max_rows=4096, max_crashes=MAX_CRASHES)
        [(start, stop), *_] = search.pieces(range(100, 5_000))
        note = search.trying(first=100, stop=100 + stop, rows=stop - start)
    search = Search(note, max_rows=4096, max_crashes=MAX_CRASHES)
    assert (note.rows, note.deaths) == (1, 0)
    assert not search.given_up(first=100, rows=1)


def test_who_outlived_the_trial_did_not_die_of_it() -> None:
    search = Search(Note(starts=MAX_CRASHES, rows=1, stop=101), max_rows=64, max_crashes=MAX_CRASHES)
    again = Search(search.survived(), max_rows=64, max_crashes=MAX_CRASHES)
    assert again.suspected
    assert not again.given_up(first=100, rows=1)


def test_suspicion_ends_behind_the_windows_that_may_have_killed_or_where_nothing_more_waits() -> None:
    def suspicious() -> Search:
        search = Search(Note(starts=MAX_CRASHES), max_rows=10, max_crashes=MAX_CRASHES)
        assert list(search.pieces(range(1_000, 1_200))) == [
            *((n, n + 1) for n in range(WINDOWS * 10)),
            (WINDOWS * 10, 200),
        ]
        return search

    search = suspicious()
    assert not search.passed(1_079, caught_up=False)
    assert search.passed(1_080, caught_up=False)
    assert not search.suspected
    search = suspicious()
    assert search.passed(1_001, caught_up=True)
    assert not search.suspected
    search = suspicious()
    search.found(1_003)
    assert not search.passed(1_013, caught_up=False)
    assert search.passed(1_014, caught_up=False)
