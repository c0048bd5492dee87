"""What shadow knows of one partition: how far its rows were taken, and what is to be written about them. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from penstock.schemas.checksums import Header
from penstock.schemas.paired_wire import PairedRowTooLarge, encode, take
from penstock.schemas.scored import ScoredBlock
from penstock.streams.shadowing.scorer import Asked, ShadowScorer

STATE = "reading"
RUN_S = 0.02
"""So long are records answered one after another: from thread to thread and back takes as long as a small one."""

Record = tuple[bytes, Sequence[Header]]


class ShadowState(msgspec.Struct, frozen=True):
    """How far a partition was taken, at a checkpoint: the highest source offset of its rows."""

    offset: int = -1
    version: int = 1


class Answer(NamedTuple):
    """What there is to say about one record of the scored log.

    offset     the highest source offset of its rows
    rows       that are new; the others came before
    asked      what became of them, by candidate
    records    of shadow scores
    too_large  rows that no record could hold, and that were left out
    """

    offset: int
    rows: int
    asked: Sequence[Asked] = ()
    records: Sequence[Record] = ()
    too_large: Sequence[PairedRowTooLarge] = ()


class PartitionShadow:
    """One partition: scored blocks go in, records of shadow scores come out, each row at most once.

    The log may repeat rows, as it does after a crash of the score role: what is not above the highest offset that was
    taken is skipped. `answer` and `answers` compute and change nothing, so that a thread may do it; `take` applies what
    came of it.
    """

    def __init__(self, partition: int, state: Mapping[str, bytes] = {}) -> None:
        self.partition, self.is_new = partition, STATE not in state
        read = ShadowState() if self.is_new else msgspec.msgpack.decode(state[STATE], type=ShadowState)
        self.offset = read.offset
        self._written = None if self.is_new else self.offset
        self.waiting: list[Record] = []
        """Records that wait for their checkpoint, in order, and"""
        self.size = 0
        """their bytes."""

    def answer(self, block: ScoredBlock, record: int, scorer: ShadowScorer) -> Answer:
        """What the candidates say about the log's record at offset `record`."""
        return _answer(block, record, scorer, self.offset)

    def answers(
        self,
        blocks: Iterable[tuple[int, ScoredBlock | None]],
        scorer: ShadowScorer,
        *,
        enough_s: float = RUN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> list[Answer | None]:
        """The same about the log's records, offset and block, one after another: until `enough_s` have passed, and
        about one at least. None: it could not be read.
        """
        answers: list[Answer | None] = []
        offset, end = self.offset, clock() + enough_s
        for record, block in blocks:
            answers.append(answer := None if block is None else _answer(block, record, scorer, offset))
            offset = offset if answer is None else answer.offset
            if clock() >= end:
                break
        return answers

    def take(self, answer: Answer) -> None:
        """Count the record as taken; what is to be written about it waits for the next checkpoint."""
        self.offset = answer.offset
        self.waiting += answer.records
        self.size += sum(len(value) for value, _ in answer.records)

    def drained(self) -> list[Record]:
        """The records, which wait no longer."""
        records, self.waiting, self.size = self.waiting, [], 0
        return records

    def change(self) -> bytes | None:
        """What a new owner of the partition goes on from, under the name STATE; None where it was asked for before."""
        if self.offset == self._written:
            return None
        self._written = self.offset
        return msgspec.msgpack.encode(ShadowState(self.offset))


def _answer(block: ScoredBlock, record: int, scorer: ShadowScorer, after: int) -> Answer:
    """About the rows above the source offset `after`."""
    start = int(np.searchsorted(block.offsets, after, side="right"))
    if start == block.rows:
        return Answer(after, 0)
    paired = scorer.score(block.take(slice(start, block.rows)) if start else block, record)
    offset, rows, asked = int(block.offsets[-1]), block.rows - start, scorer.asked
    too_large: list[PairedRowTooLarge] = []
    while paired is not None:
        try:
            return Answer(offset, rows, asked, encode(paired), too_large)
        except PairedRowTooLarge as error:
            too_large.append(error)
            paired = take(paired, np.flatnonzero(paired.offsets != error.offset))
    return Answer(offset, rows, asked)
