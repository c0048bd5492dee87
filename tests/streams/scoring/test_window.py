"""Windows take what is ready, never exceed their limits unless one block does, and hold back what would not fit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from penstock.streams.scoring.window import WindowLimits, Windows


@dataclass(frozen=True)
class Block:
    rows: int
    size: int = 0
    followed: bool = False


async def test_a_window_takes_everything_that_waits() -> None:
    windows: Windows[Block] = Windows(WindowLimits(max_rows=10))
    for rows in (1, 2, 3):
        await windows.put(Block(rows))
    assert [block.rows for block in await windows.next()] == [1, 2, 3]


async def test_a_block_larger_than_the_limit_is_a_window_of_its_own() -> None:
    windows: Windows[Block] = Windows(WindowLimits(max_rows=10))
    await windows.put(Block(4))
    await windows.put(Block(15))
    assert await windows.next() == [Block(4)]
    assert await windows.next() == [Block(15)]


async def test_next_waits_for_a_block() -> None:
    windows: Windows[Block] = Windows(WindowLimits())
    waiting = asyncio.create_task(windows.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    await windows.put(Block(1))
    assert await waiting == [Block(1)]


async def test_a_window_waits_for_a_block_that_was_announced() -> None:
    windows: Windows[Block] = Windows(WindowLimits(max_rows=10))
    await windows.put(Block(1, followed=True))
    waiting = asyncio.create_task(windows.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    await windows.put(Block(2))
    assert await waiting == [Block(1, followed=True), Block(2)]


async def test_a_window_does_not_wait_for_ever_for_a_block_that_was_announced() -> None:
    windows: Windows[Block] = Windows(WindowLimits(max_rows=10))
    await windows.put(Block(1, followed=True))
    assert await windows.next() == [Block(1, followed=True)]


async def test_a_full_window_does_not_wait_for_what_was_announced() -> None:
    windows: Windows[Block] = Windows(WindowLimits(max_rows=10))
    await windows.put(Block(10, followed=True))
    async with asyncio.timeout(0.004):
        assert await windows.next() == [Block(10, followed=True)]


async def test_put_waits_while_two_windows_are_full() -> None:
    windows: Windows[Block] = Windows(WindowLimits(max_rows=10))
    await windows.put(Block(10))
    await windows.put(Block(10))
    held_back = asyncio.create_task(windows.put(Block(1)))
    await asyncio.sleep(0)
    assert not held_back.done()
    await windows.next()
    await held_back


async def test_a_window_with_a_wait_is_given_out_as_soon_as_it_is_full() -> None:
    windows: Windows[Block] = Windows(WindowLimits(max_rows=2, max_wait_s=3600))
    waiting = asyncio.create_task(windows.next())
    await windows.put(Block(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    await windows.put(Block(1))
    assert len(await waiting) == 2


async def test_a_window_with_a_wait_ends_when_the_wait_does() -> None:
    windows: Windows[Block] = Windows(WindowLimits(max_rows=2, max_wait_s=0.001))
    await windows.put(Block(1))
    assert await windows.next() == [Block(1)]


@given(
    blocks=st.lists(st.builds(Block, rows=st.integers(1, 20), size=st.integers(0, 100)), min_size=1, max_size=30),
    max_rows=st.integers(1, 30),
    max_bytes=st.integers(1, 200),
)
def test_every_block_comes_out_once_in_order_and_within_the_limits(
    blocks: list[Block], max_rows: int, max_bytes: int
) -> None:
    async def drain() -> list[list[Block]]:
        windows: Windows[Block] = Windows(WindowLimits(max_rows, max_bytes))
        putting = asyncio.create_task(_put_all(windows, blocks))
        out: list[list[Block]] = []
        while sum(map(len, out)) < len(blocks):
            out.append(await windows.next())
        await putting
        return out

    out = asyncio.run(drain())
    assert [block for window in out for block in window] == blocks
    for window in out:
        if len(window) > 1:
            assert sum(block.rows for block in window) <= max_rows
            assert sum(block.size for block in window) <= max_bytes


async def _put_all(windows: Windows[Block], blocks: list[Block]) -> None:
    for block in blocks:
        await windows.put(block)
