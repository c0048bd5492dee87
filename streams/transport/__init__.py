"""Faust at block speed: one message per run of a partition's records instead of one per record.

Faust spends 88 µs on every message it delivers. Here a message carries a `Block`, the run of records that one fetch
returned for a partition, so that cost is paid once for thousands of events. Everything else is Faust's: the group, the
rebalance, the conductor, the streams and agents. `BlockApp` is the `faust.App` that is wired this way.

Stock Faust must be corrected in ten places for this (each was seen or read in its source):

1. Offsets: a block is acknowledged whole; the committed offset is the end of the acknowledged prefix of blocks.
2. Rebalance: what is in flight is finished and committed before Faust forgets its acknowledgements.
3. Seeks: serialised; records that were fetched across a seek are dropped and fetched again. A take-over that a newer
   rebalance has overtaken does not make the flow go on.
4. Exactly once: offsets travel inside the transactions (`penstock.streams.delivery`), Faust commits nothing.
5. A full buffer does not pause the fetcher for a second: a full queue blocks the one reader, which is enough.
6. Isolation: every consumer reads committed records only.
7. Stopping: as soon as what is in flight is committed the group is left, also in the middle of a rebalance.
8. Memory: what is fetched ahead, handed out and in flight has limits in rows and bytes. A slow stage, or a slow sink,
   holds back the fetching and nothing else: the group's heartbeats have a task of their own.
9. The look-out for a stream that is stuck: it reads positions that are not known yet, and would end the worker.
10. Tables: there are none, so nothing waits a second for them (`penstock.streams.transport.tables`).

What a worker holds of its input is at most, in bytes of keys and values,

    fetched ahead   fetching.FETCHED_BYTES over all partitions, as the brokers compress it
    handed out      max_bytes, and as many rows as max_rows
    in flight       in_flight_windows * max_bytes, and as many rows as in_flight_windows * max_rows or IN_FLIGHT_ROWS

and one record more of each. What comes of a record (columns, outputs, the batches in which they are sent) is there as
long as the record is in flight, and no longer.
"""

from __future__ import annotations

from penstock.streams.transport.app import BlockApp as BlockApp
from penstock.streams.transport.app import BlockSchema as BlockSchema
from penstock.streams.transport.options import BlockOptions as BlockOptions
from penstock.streams.transport.producer import new_producer as new_producer
