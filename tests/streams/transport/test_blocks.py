"""Blocks cover what was fetched; only the end of an unbroken run of finished blocks is ever committed."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from penstock.streams.transport.blocks import BlockOffsets, InFlight, cut


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes | None = b""
    key: bytes | None = None
    timestamp: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


@st.composite
def fetched(draw: st.DrawFn) -> list[Record]:
    """Records in offset order, with the holes that transaction markers leave."""
    gaps = draw(st.lists(st.integers(1, 3), max_size=40))
    offsets = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    return [Record(offset, draw(st.none() | st.binary(max_size=30))) for offset in offsets]


@given(records=fetched(), max_rows=st.integers(1, 10), max_bytes=st.integers(1, 60))
def test_blocks_hold_every_record_once_in_order_within_the_limits(
    records: list[Record], max_rows: int, max_bytes: int
) -> None:
    blocks = list(cut("events", 3, records, max_rows=max_rows, max_bytes=max_bytes))
    assert [record for block in blocks for record in block.records] == records
    for block in blocks:
        assert 1 <= block.rows <= max_rows
        assert block.size <= max_bytes or block.rows == 1
        assert block.size == sum(len(record.value or b"") for record in block.records)
        assert block.next_offset == block.records[-1].offset + 1


@given(st.permutations(range(8)), st.data())
def test_what_is_committed_never_passes_a_block_in_flight(order: list[int], data: st.DataObject) -> None:
    offsets: BlockOffsets[str] = BlockOffsets()
    for block in range(8):
        offsets.delivered("p", 10 * block + 9)
    finished: set[int] = set()
    committed = 0
    for block in order:
        offsets.done("p", 10 * block + 9)
        finished.add(block)
        if data.draw(st.booleans()):
            committed = offsets.committable("p") or committed
            unbroken = next(b for b in range(9) if b not in finished)
            assert committed == 10 * unbroken
    assert (offsets.committable("p") or committed) == 80


def test_partitions_do_not_wait_for_each_other() -> None:
    offsets: BlockOffsets[str] = BlockOffsets()
    offsets.delivered("slow", 9)
    offsets.delivered("quick", 4)
    offsets.done("quick", 4)
    assert offsets.unfinished("slow")
    assert not offsets.unfinished("quick")
    assert offsets.committable("quick") == 5
    assert offsets.committable("slow") is None


def test_a_block_that_was_delivered_before_a_seek_is_ignored_when_it_is_done() -> None:
    offsets: BlockOffsets[str] = BlockOffsets()
    offsets.delivered("p", 9)
    offsets.forget()
    offsets.done("p", 9)
    offsets.delivered("p", 4)
    assert offsets.committable("p") is None
    offsets.done("p", 4)
    assert offsets.committable("p") == 5


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 500)), max_size=30), st.data())
def test_no_more_is_in_flight_than_the_limits_allow(blocks: list[tuple[int, int]], data: st.DataObject) -> None:
    in_flight: InFlight[str] = InFlight(max_rows=100, max_bytes=1000)
    held: dict[int, tuple[int, int]] = {}
    for number, (rows, size) in enumerate(blocks):
        while not in_flight.has_room(rows=rows, size=size):
            done = data.draw(st.sampled_from(sorted(held)))
            in_flight.remove(("p", done))
            del held[done]
        in_flight.add(("p", number), rows=rows, size=size)
        held[number] = rows, size
        assert sum(rows for rows, _ in held.values()) <= 100
        assert sum(size for _, size in held.values()) <= 1000
    in_flight.forget()
    in_flight.remove(("p", 0))
    assert in_flight.has_room(rows=10**6, size=10**9), "alone, a block goes however large it is"
