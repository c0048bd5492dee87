"""Faust's consumer, delivering and acknowledging whole blocks: most of the corrections are here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from faust.types.tuples import ack_lock
from mode.utils.futures import notify

from penstock.streams.transport.blocks import Block, BlockOffsets, InFlight
from penstock.streams.transport.connection import BlockConsumerThread
from penstock.streams.transport.membership import leave
from penstock.streams.transport.options import IN_FLIGHT_ROWS

if TYPE_CHECKING:
    from penstock.streams.transport.app import BlockApp

log = logging.getLogger("penstock.transport")

ROOM_POLL_S = 0.1
"""How soon who waits for room notices that nothing more will be done: a rebalance, or the end."""

NOTHING_MORE_S = 0.05
"""Between two looks of the reader while the app stops: a rebalance that ends meanwhile makes it read again."""


class BlockConsumer(driver.Consumer):
    """Faust's consumer, delivering and acknowledging whole blocks."""

    app: BlockApp

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._offsets: BlockOffsets[TP] = BlockOffsets()
        limits = self.app.blocks
        self._in_flight: InFlight[TP] = InFlight(
            max_rows=max(limits.in_flight_windows * limits.max_rows, IN_FLIGHT_ROWS),
            max_bytes=limits.in_flight_windows * limits.max_bytes,
        )
        self._done = asyncio.Event()
        self._seek_lock = asyncio.Lock()
        self._seeks = 0
        self._sought = 0
        """The generation of the group in which the last take-over went to the committed offsets."""
        self._giving_up = False
        self._hand_over = asyncio.Lock()
        self._left = False

    def _new_consumer_thread(self) -> BlockConsumerThread:
        return BlockConsumerThread(self, loop=self.loop, thread_loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """One message per block. Its offset is that of the block's last record."""
        seeks, options = self._seeks, self.app.blocks
        fetched, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if self.app.should_stop:
            await asyncio.sleep(NOTHING_MORE_S)
            return
        if not fetched or self.should_stop:
            return
        if not self.flow_active or seeks != self._seeks:
            # Fetched across a seek: nothing of it was delivered, so go back to what is committed.
            await self._go_back()
            return
        blocks = [
            block
            for tp, records in fetched.items()
            if tp in active
            for block in self.app.cut(
                tp.topic, tp.partition, records, max_rows=options.max_rows, max_bytes=options.max_bytes
            )
        ]
        for block in [*(replace(block, followed=True) for block in blocks[:-1]), *blocks[-1:]]:
            if not await self._room(block, generation):
                return
            tp = TP(block.topic, block.partition)
            self._offsets.delivered(tp, block.last_offset)
            self._in_flight.add((tp, block.last_offset), rows=block.rows, size=block.size)
            yield tp, _message(tp, block, generation)

    # Correction 8: no more in flight than the limits allow; see also `penstock.streams.transport.fetching`.

    async def _room(self, block: Block, generation: int) -> bool:
        """Wait until there is room for the block, and it is ours; False where its partition is given up before."""
        while self.flow_active and self.app.consumer_generation_id == generation:
            if self._in_flight.has_room(rows=block.rows, size=block.size) and not self._thread.session.lapsed:
                return True
            self._done.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._done.wait(), ROOM_POLL_S)
        return False

    # Correction 1: acknowledgements and offsets, block by block.

    def ack(self, message: ConsumerMessage) -> bool:
        with ack_lock:
            if message.acked:
                return False
            message.acked = True
            self._unacked_messages.discard(message)
            try:
                if message.generation_id != self.app.consumer_generation_id:
                    return False
                self._offsets.done(message.tp, message.offset)
                self._in_flight.remove((message.tp, message.offset))
                self._done.set()
                self._acked[message.tp]  # its keys are the partitions that a commit looks at
                self._n_acked += 1
                return True
            finally:
                notify(self._waiting_for_ack)

    def _new_offset(self, tp: TP) -> int | None:
        return self._offsets.committable(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: a hole in the offsets lies inside or between blocks and is passed with them."""

    # Correction 2: finish and commit before the acknowledgements are forgotten.

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._giving_up = True
        async with self._hand_over:
            if self._left:
                return
            if revoked:
                self._stop_reading()
                await self._drain(self.app.blocks.drain_s)
            await super().on_partitions_revoked(revoked)
            if self.app.after_revoked is not None:
                await self.app.after_revoked(revoked)

    def _stop_reading(self) -> None:
        self.stop_flow()
        self.app.flow_control.suspend()
        self.app.flow_control.clear()

    async def wait_empty(self) -> None:
        """As stock Faust when it stops, without its full garbage collection after every acknowledgement."""
        await self._drain(self.app.blocks.drain_s)

    async def _drain(self, timeout_s: float) -> None:
        if self.app.crashed:
            timeout_s = 0.0  # a stage is gone: nothing more will be finished
        deadline = self.loop.time() + timeout_s
        self._clean_unacked_messages()
        while self._unacked_messages and (left := deadline - self.loop.time()) > 0:
            await self._next_ack(min(left, 0.05))
            self._clean_unacked_messages()
        if self._unacked_messages and timeout_s:
            log.warning(
                "%d blocks were still in flight after %.1f s; whoever owns their partitions next scores them again",
                len(self._unacked_messages),
                timeout_s,
            )
            self._unacked_messages.clear()  # they were waited for once: Faust asks again during a rebalance
        try:
            async with asyncio.timeout(self.app.blocks.drain_s):
                await self.maybe_wait_for_commit_to_finish()
                await self.force_commit()  # commit() does nothing while another commit runs
        except TimeoutError:
            log.warning(
                "The last offsets were not committed within %.1f s; whoever owns the partitions next scores some again",
                self.app.blocks.drain_s,
            )

    async def _next_ack(self, timeout_s: float) -> None:
        acked = self._waiting_for_ack = self.loop.create_future()
        try:
            await asyncio.wait([acked], timeout=timeout_s)
        finally:
            self._waiting_for_ack = None

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._thread.share_fetches(len(assigned))
        self._thread.session.heard()
        async with self._hand_over:
            if self.app.should_stop:
                return  # to take over what is given away in a moment would only fence its next owner
            if assigned and self.app.before_assigned is not None:
                await self.app.before_assigned(assigned)
            self._giving_up = False
        await super().on_partitions_assigned(assigned, generation_id)

    # Correction 7: one hand-over at a time, and the last one leaves the group.

    async def leave(self) -> None:
        """Finish and commit what is in flight, give all partitions up and leave the group: others take over at once."""
        consumer = self._thread._consumer
        if consumer is None or self._left:
            return
        self._giving_up = True
        async with self._hand_over:
            self._stop_reading()
            await self._drain(self.app.blocks.drain_s)
            self._left = True
            if self.app.after_revoked is not None:
                await self.app.after_revoked(self.assignment())
        await leave(consumer, patience_s=self.app.blocks.drain_s)

    def close(self) -> None:
        """Nothing: Faust would close the connections here while the group still waits to hear from this member."""

    # Correction 3: one seek at a time, and it forgets what was delivered before it.

    async def perform_seek(self) -> None:
        """Faust calls it at the end of each take-over, before it resumes the flow."""
        generation = self.app.consumer_generation_id
        await self._go_back()
        self._sought = generation

    def resume_flow(self) -> None:
        """Unless a newer rebalance has begun meanwhile: what was delivered before its own seek would come twice."""
        overtaken = self._sought != self.app.consumer_generation_id and bool(self.assignment())
        if not self._giving_up and not overtaken:
            super().resume_flow()

    async def _go_back(self) -> None:
        async with self._seek_lock:
            self._offsets.forget()
            self._in_flight.forget()
            await super().perform_seek()
            await self._seek_where_nothing_is_committed()
            self._seeks += 1

    async def _seek_where_nothing_is_committed(self) -> None:
        """Stock Faust leaves such a partition where it stands: behind what was fetched across the seek and dropped."""
        consumer = self._thread._consumer
        unread = [tp for tp in consumer.assignment() if not self._read_offset.get(TP(tp.topic, tp.partition))]
        if unread:
            await consumer.seek_to_beginning(*unread)

    # Correction 4: in exactly-once mode the transactions carry the offsets.

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        if self._left:
            return False
        if self.app.blocks.exactly_once:
            return True
        return bool(await super()._commit(offsets))

    # Correction 5: stock Faust empties the set of active partitions here, and its reader then sleeps a whole second.

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing: the reader waits for the full queue anyway."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Nothing: see on_buffer_full."""

    # Correction 9: stock Faust asserts here that every position is known, which after a rebalance ended the worker.

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: a partition that is stuck shows as lag, and in what a worker says of itself."""


def _message(tp: TP, block: Block, generation: int) -> ConsumerMessage:
    return ConsumerMessage(
        tp.topic,
        tp.partition,
        block.last_offset,
        block.records[0].timestamp / 1000.0,
        0,
        None,
        None,
        block,
        None,
        0,
        0,
        tp,
        generation_id=generation,
    )
