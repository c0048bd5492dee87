"""Partitions that are suspected of an event which kills the process: what is noted, tried, given up and let go again.

`penstock.streams.scoring.crashes` says what to do; here it is done, with Kafka.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

from faust.types import TP

from penstock.monitoring.metrics.score import ScoreMetrics
from penstock.schemas.events import ConsumedRecord
from penstock.streams.delivery import Delivery, Outputs, fatal
from penstock.streams.scoring.crashes import ALONE, Note, Search
from penstock.streams.transport.blocks import Block, cut

log = logging.getLogger("penstock.score")


class Trials:
    """The partitions of this worker, and which of them are suspected.

    While none is, only the first windows after an assignment are of interest: `starting`. While any is `suspicious`,
    every block of whatever partition is a trial of its own, and nothing else is under way meanwhile: `begin`, score and
    encode, `survived`, deliver by `commit`.

    `notes` reads what was noted beside the committed offsets; `waits` says whether more of a partition waits.
    """

    def __init__(
        self,
        *,
        max_rows: int,
        max_crashes: int,
        notes: Callable[[Iterable[TP]], Awaitable[Mapping[TP, str]]],
        waits: Callable[[TP], bool],
        delivery: Delivery,
        metrics: ScoreMetrics,
        fatal: Callable[[BaseException], None] = fatal,
    ) -> None:
        self._max_rows, self._max_crashes, self._metrics = max_rows, max_crashes, metrics
        self._notes, self._waits, self._delivery, self._fatal = notes, waits, delivery, fatal
        self._searches: dict[TP, Search] = {}
        self._fresh: set[TP] = set()
        self._trying = Note()
        self.suspicious = False
        """Whether any partition is suspected."""

    async def assigned(self, assigned: Iterable[TP]) -> None:
        """These partitions, and no others. Call when their former owners can commit nothing more."""
        try:
            notes = await self._notes(assigned)
        except Exception as error:
            self._fatal(error)  # aiokafka would log it and go on
            return
        self._fresh, self._searches = set(assigned), {}
        for tp in self._fresh:
            note = Note.read(notes.get(tp, ""))
            self._searches[tp] = Search(note, max_rows=self._max_rows, max_crashes=self._max_crashes)
            if self._searches[tp].suspected:
                log.warning("Partition %d of %s is suspected: %s", tp.partition, tp.topic, _why(note))
        self._count()

    def revoked(self) -> None:
        """None of them any more."""
        self._fresh, self._searches = set(), {}
        self._count()

    def cut(
        self, topic: str, partition: int, records: Sequence[ConsumedRecord], *, max_rows: int, max_bytes: int
    ) -> Iterator[Block]:
        """Blocks as `penstock.streams.transport.blocks.cut` makes them; of what is suspected, what to try together."""
        search = self._searches.get(TP(topic, partition))
        if search is None or not search.suspected:
            yield from cut(topic, partition, records, max_rows=max_rows, max_bytes=max_bytes)
            return
        for start, stop in search.pieces([record.offset for record in records]):
            yield from cut(topic, partition, records[start:stop], max_rows=max_rows, max_bytes=max_bytes)

    async def starting(self, blocks: Iterable[tuple[Block, int]]) -> None:
        """Blocks and their generations, about to be scored: a start is noted for what has just been assigned."""
        if not self._fresh:
            return
        first: dict[TP, tuple[Block, int]] = {}
        for block, generation in blocks:
            if _tp(block) in self._fresh:
                first.setdefault(_tp(block), (block, generation))
        self._fresh -= first.keys()
        starts = {tp: self._searches[tp].starting() for tp in first}
        await asyncio.gather(*(self._note(*first[tp], note) for tp, note in starts.items()))

    def given_up(self, block: Block) -> bool:
        """Whether the block is one event that has killed enough workers."""
        search = self._searches.get(_tp(block))
        first = block.records[0].offset
        if search is None or not search.given_up(first=first, rows=block.rows):
            return False
        search.found(first)
        log.error("The event at %s %d-%d kills the worker: a dead letter", block.topic, block.partition, first)
        return True

    async def begin(self, block: Block, generation: int) -> bool:
        """Note that the block is tried. False: its partition was taken away, and nobody here must score it."""
        search = self._searches.get(_tp(block))
        if search is None:
            return False
        first = block.records[0].offset
        self._trying = search.trying(first=first, stop=block.next_offset, rows=block.rows)
        noted = await self._note(block, generation, self._trying)
        if noted:
            self._fresh.discard(_tp(block))
        return noted

    async def survived(self, block: Block, generation: int) -> None:
        """The process outlived the block: what fails from here on is not the block's fault, and must not condemn it."""
        if self._trying.condemns and (search := self._searches.get(_tp(block))) is not None:
            await self._note(block, generation, search.survived())

    async def commit(self, block: Block, outputs: Outputs) -> None:
        """Deliver what came of the block, and see whether the suspicion ends with it."""
        tp, search = _tp(block), self._searches.get(_tp(block))
        if search is None or not await self._delivery.deliver_alone(outputs, search.survived().text()):
            return  # taken away: whoever owns the partition now fetches the block again
        if search.passed(block.next_offset, caught_up=not self._waits(tp)):
            await self._delivery.deliver_alone(outputs._replace(records={}, acknowledge=_nothing, scored=None), "")
            log.warning("Partition %d of %s is suspected no longer: what killed is behind", tp.partition, tp.topic)
            self._count()

    async def _note(self, block: Block, generation: int, note: Note) -> bool:
        nothing = Outputs(_tp(block), {}, block.records[0].offset, generation, _nothing)
        return await self._delivery.deliver_alone(nothing, note.text())

    def _count(self) -> None:
        suspected = sum(search.suspected for search in self._searches.values())
        self.suspicious = suspected > 0
        self._metrics.suspected.set(suspected)


def _nothing() -> None:
    """What a note acknowledges."""


def _tp(block: Block) -> TP:
    return TP(block.topic, block.partition)


def _why(note: Note) -> str:
    if note.condemns:
        return f"the event before offset {note.stop} killed {ALONE} workers that tried it alone."
    if note.rows == 1:
        return f"a worker died of the event before offset {note.stop}, which it tried alone. It is tried once more."
    if note.rows:
        return f"a worker died of {note.rows} events before offset {note.stop}. Fewer of them are tried at a time."
    workers = "a worker" if note.starts == 1 else f"{note.starts} workers"
    return f"{workers} got no further. A few events are tried at a time, to find one that kills."
