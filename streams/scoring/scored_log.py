"""Writing the scored log: small blocks of a partition are gathered for a moment and written as one record.

A record of the log costs a third of a millisecond and three kilobytes before its first row. Windows of a few events,
as they come at a few thousand a second, would spend most of their time on it; gathered, their predictions need not
wait for it, and every reader of the log has a hundredth of the records to read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from penstock.schemas.scored import ScoredBlock, encode
from penstock.schemas.scored_joining import join, joinable
from penstock.schemas.topics import SCORED_RECORD_LIMIT
from penstock.streams.delivery import OutputRecord

_ROOM = 64 * 1024
"""Of a record, for what is neither a value nor a string: Arrow's own, and LZ4 where nothing can be compressed."""


class ScoredLog:
    """Encodes the rows of one pipeline; the features in `withhold` stay out of the log."""

    def __init__(self, topic: str, withhold: Collection[str]) -> None:
        self.topic, self._withhold = topic, withhold

    def records(self, blocks: Sequence[ScoredBlock]) -> list[OutputRecord]:
        """Blocks of one partition in order, as few records."""
        return [
            (None, record.value, record.headers)
            for alike in _joinable(blocks)
            for record in encode(join(alike), self._withhold)
        ]

    def check(self, block: ScoredBlock) -> None:
        """Raises RowTooLarge where a row would not fit into a record of its own."""
        if _most_bytes(block) > SCORED_RECORD_LIMIT:
            encode(block, self._withhold)


def _joinable(blocks: Sequence[ScoredBlock]) -> Iterator[list[ScoredBlock]]:
    """Runs of blocks whose rows can stand in one record."""
    alike: list[ScoredBlock] = []
    for block in blocks:
        if alike and not (joinable(alike[-1], block) and alike[-1].runtime == block.runtime):
            yield alike
            alike = []
        alike.append(block)
    if alike:
        yield alike


def _most_bytes(block: ScoredBlock) -> int:
    """No fewer than the record takes."""
    strings = 4 * sum(map(len, block.ids)) + sum(map(len, filter(None, block.keys)))
    columns = block.columns
    values = 4 * sum(len(value) for category in columns.categories for value in category.values)
    arrays = columns.floats.nbytes + columns.integers.nbytes + block.ages.nbytes + block.defaulted.nbytes
    arrays += sum(vector.nbytes for vector in columns.vectors)
    arrays += 0 if block.scores is None else block.scores.nbytes
    return strings + values + arrays + block.rows * (64 + 4 * len(columns.categories)) + _ROOM
