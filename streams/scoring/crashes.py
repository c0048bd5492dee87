"""Which event kills the process: found by trying fewer and fewer of them, each trial noted before it begins.

A process that dies of an event (a crash in a native library, no memory left) says nothing, and whoever goes on in its
place meets the event again. So what is about to be tried is noted where the next owner of the partition finds it: in
the metadata of the partition's committed offset. Every ordinary commit moves the offset on and leaves no note.

1. Before the first events of a partition that was just assigned, the note counts a start at this offset.
2. After `max_crashes` starts that never got beyond it, the partition is suspected. Its events are tried a few at a
   time, alone and one trial after another, each noted and committed before the next one begins.
3. The trial in which the process died is divided in `FINER` parts, and these are tried; down to an event alone.
4. An event that killed `ALONE` processes by itself is given up: it becomes a dead letter, and the stream goes on.

Trials that pass cost milliseconds, those that kill cost a start; hence many small parts rather than halves.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import msgspec

FINER = 64
"""Into so many parts a range is divided that killed the process: 4,096 rows need two deaths to be down to one row."""

ALONE = 2
"""So many processes an event must kill by itself: the first one may have been killed by somebody else."""

WINDOWS = 8
"""A suspicion holds for so many windows of rows: more are rarely under way without a commit. Behind an event that was
found it holds for one more."""


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands beside a committed offset.

    starts  of workers that began at this offset
    rows    that are being tried, from this offset on; 0: none
    stop    the offset behind them
    deaths  of workers that tried the same single row before
    until   the offset up to which rows are suspected, where it is known

    >>> Note.read(Note(starts=2).text())
    Note(starts=2, rows=0, stop=0, deaths=0, until=0)
    >>> Note.read("") == Note.read("written by another tool") == Note()
    True
    """

    starts: int = 0
    rows: int = 0
    stop: int = 0
    deaths: int = 0
    until: int = 0

    @property
    def condemns(self) -> bool:
        """Whether a death in this trial gives the event up."""
        return self.rows == 1 and self.deaths + 1 >= ALONE

    def text(self) -> str:
        """For the offset's metadata: JSON, below 200 bytes."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, text: str) -> Note:
        """The note; an empty one where there is none, or where the text is not ours."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError:
            return cls()


class Search:
    """How to go on with a partition, from the note at its committed offset.

    Three workers died at offset 100. The fourth one tries 64 rows at a time of windows of 4,096:

    >>> search = Search(Note(starts=3), max_rows=4096, max_crashes=3)
    >>> list(search.pieces(range(100, 260)))
    [(0, 64), (64, 128), (128, 160)]
    >>> note = search.trying(first=164, stop=228, rows=64)

    It dies. The next one goes on row by row, and dies of one of them; so does another one:

    >>> search = Search(note, max_rows=4096, max_crashes=3)
    >>> list(search.pieces(range(164, 300)))[62:]
    [(62, 63), (63, 64), (64, 128), (128, 136)]
    >>> for deaths in range(ALONE):
    ...     search = Search(search.trying(first=170, stop=171, rows=1), max_rows=4096, max_crashes=3)
    >>> search.given_up(first=170, rows=1), search.given_up(first=171, rows=1)
    (True, False)
    """

    def __init__(self, note: Note, *, max_rows: int, max_crashes: int) -> None:
        self._note, self._max_rows, self._max_crashes = note, max_rows, max_crashes
        self._until = note.until
        self.suspected = note.rows > 0 or note.starts >= max_crashes

    @property
    def starts(self) -> int:
        """Of workers that began here before this one."""
        return self._note.starts

    def starting(self) -> Note:
        """To be noted before the first rows, where the partition is not suspected."""
        return Note(starts=self._note.starts + 1)

    def pieces(self, offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
        """What of these rows to try together, in order: positions [start, stop). `offsets` ascend, with holes."""
        position, count = 0, len(offsets)
        if self.suspected and not self._until and count:
            self._until = offsets[0] + WINDOWS * self._max_rows
        while position < count:
            offset = offsets[position]
            if not self.suspected or offset >= self._until:
                stop = count
            elif offset < self._note.stop:
                stop = min(position + _part(self._note.rows), bisect_left(offsets, self._note.stop))
            else:
                stop = min(position + _part(self._max_rows), count)
            yield position, stop
            position = stop

    def given_up(self, *, first: int, rows: int) -> bool:
        """Whether these rows, from offset `first` on, are one event that has killed enough."""
        return self._known(first, rows) and self._note.condemns

    def found(self, offset: int) -> None:
        """The event there is given up: if there are more, they are close to it."""
        self._until = min(self._until, offset + 1 + self._max_rows)

    def trying(self, *, first: int, stop: int, rows: int) -> Note:
        """To be noted, beside the offset `first`, before `rows` rows from there to `stop` are tried."""
        deaths = self._note.deaths + 1 if self._known(first, rows) else 0
        until = max(self._until, stop)
        return msgspec.structs.replace(self.survived(), rows=rows, stop=stop, deaths=deaths, until=until)

    def survived(self) -> Note:
        """To be noted when the process outlived a trial whose outputs may yet fail to be written: nobody died of it."""
        starts = max(self._note.starts, self._max_crashes) if self.suspected else self._note.starts
        return Note(starts=starts, until=self._until)

    def passed(self, stop: int, *, caught_up: bool) -> bool:
        """Everything before offset `stop` is committed. Returns whether that ends the suspicion.

        `caught_up`: nothing more waits in the partition, so that what killed was among it.
        """
        ends = self.suspected and (caught_up or stop >= self._until)
        self.suspected = self.suspected and not ends
        return ends

    def _known(self, first: int, rows: int) -> bool:
        """Whether this is the single row that the process before died of."""
        return rows == self._note.rows == 1 and first < self._note.stop


def _part(rows: int) -> int:
    return -(-rows // FINER)
