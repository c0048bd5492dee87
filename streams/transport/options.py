"""How the transport fetches and cuts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FETCH_BYTES = 4 << 20

IN_FLIGHT_WINDOWS = 8
"""Delivered and not done, in windows: three stages work on one each, the others wait for Kafka's confirmation."""

IN_FLIGHT_ROWS = 1 << 15
"""May be in flight however small a window is: a transaction takes longer than many small windows."""


@dataclass(frozen=True, slots=True)
class BlockOptions:
    """How the transport fetches and cuts.

    kafka           aiokafka's connection options: bootstrap_servers, security_protocol, ssl_context, sasl_…
    max_rows        rows of a window, and of a block, at most
    max_bytes       bytes of either; a larger single record is a block of its own
    in_flight_windows   delivered and not done at most, in windows
    fetch_bytes     what one fetch asks of a partition at most
    fetch_wait_ms   how long the broker may wait for data; short, so that partitions just acquired start at once
    gather_bytes    while events come, a fetch is answered when this much is there, or
    gather_ms       after this time
    drain_s         how long a rebalance or a stop waits for blocks in flight
    exactly_once    offsets travel in transactions; Faust commits nothing
    instance_id     static membership of the consumer group
    co_partitioned  give a worker the same partition numbers of every topic
    """

    kafka: Mapping[str, Any]
    max_rows: int = 4096
    max_bytes: int = 8 << 20
    in_flight_windows: int = IN_FLIGHT_WINDOWS
    fetch_bytes: int = FETCH_BYTES
    fetch_wait_ms: int = 100
    gather_bytes: int = 32 << 10
    gather_ms: int = 1
    drain_s: float = 5.0
    exactly_once: bool = False
    instance_id: str | None = None
    co_partitioned: bool = False
