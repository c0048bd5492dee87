"""Faust's tables, of which Penstock has none: state is kept in topics of its own, beside what is written of it."""

from __future__ import annotations

from faust.tables.manager import TableManager


class NoTables(TableManager):
    """Stock Faust waits a second here, so that tables can be declared, and subscribes to the topics only then: a second
    in which the partitions of a worker that was killed are served by nobody.
    """

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()
