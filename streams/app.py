"""The only wiring: a role and its settings become a Faust app."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from penstock.schemas.errors import ConfigurationError
from penstock.streams.kafka import client_options, faust_options
from penstock.streams.settings import Settings
from penstock.streams.settings.sections import ROLES
from penstock.streams.transport import BlockApp, BlockOptions
from penstock.streams.transport.options import FETCH_BYTES, IN_FLIGHT_WINDOWS

SESSION_TIMEOUT_S = 6.0
"""A worker that died without a word is missed after this: the least that brokers allow by default."""

STATIC_SESSION_TIMEOUT_S = 30.0
"""So long the partitions of a static member wait for it: for a restart, with a model to load."""

HEARTBEAT_S, SHADOW_HEARTBEAT_S = 0.2, 1.0
"""How soon the others notice that somebody joins or leaves: heartbeats carry the news. Nobody waits for shadow."""

LOG_WINDOWS = 2
"""In flight: who reads the log works on one record at a time."""

WATCH_FETCH_BYTES = 1 << 20
"""Small, so that one which catches up reads its partitions side by side: the judge sees them in event time."""

GATHER, SHADOW_GATHER = (32 << 10, 1), (1 << 20, 500)
"""Bytes, and milliseconds that a fetch waits for them while records come. Nobody waits for shadow, and for it few large
fetches cost least, broker and reader; watch reads its partitions side by side only where it reads little at once.
"""

TRANSACTION_GATHER = 128 << 10, 5
"""Of score, exactly once: what it scores is seen when a transaction ends, which takes four times as long at least. With
a window every other millisecond, each answer that a commit waits for would wait for windows, too.
"""

IDLE_MS, SHADOW_IDLE_MS = 100, 500
"""How long a fetch waits while nothing comes: partitions just acquired wait for its end."""

METADATA_AGE_MS = 5_000
"""How soon a consumer group takes new partitions up; Kafka's clients take five minutes."""

PATIENCE_S = {"shadow": 24 * 3600.0}
"""How long a worker may be busy with what it fetched before its group takes it for dead: a candidate may be slow."""


def group_of(role: str, settings: Settings) -> str:
    """The consumer group of a role."""
    return f"{settings.pipeline.name}.{role}"


def create_app(role: str, settings: Settings) -> BlockApp:
    """The Faust app of a role, ready to be run by `penstock.streams.worker`. Its id is the consumer group.

    Each role has a module of its name, whose `install` adds it to the app: only score imports torch.

    Raises ConfigurationError for an unknown role.
    """
    if role not in ROLES:
        raise ConfigurationError("penstock worker", "ROLE", found=repr(role), expected=" or ".join(ROLES))
    shadow = role == "shadow"
    in_transactions = role == "score" and settings.delivery.mode == "exactly_once"
    gather_bytes, gather_ms = SHADOW_GATHER if shadow else TRANSACTION_GATHER if in_transactions else GATHER
    app = BlockApp(
        group_of(role, settings),
        blocks=BlockOptions(
            kafka=client_options(settings.kafka),
            max_rows=settings.window.max_rows,
            max_bytes=settings.window.max_bytes,
            in_flight_windows=IN_FLIGHT_WINDOWS if role == "score" else LOG_WINDOWS,
            exactly_once=role != "score" or settings.delivery.mode == "exactly_once",
            co_partitioned=role == "watch",
            instance_id=settings.kafka.instance_id,
            fetch_bytes=WATCH_FETCH_BYTES if role == "watch" else FETCH_BYTES,
            fetch_wait_ms=SHADOW_IDLE_MS if shadow else IDLE_MS,
            gather_bytes=gather_bytes,
            gather_ms=gather_ms,
        ),
        **faust_options(settings.kafka),
        broker_session_timeout=STATIC_SESSION_TIMEOUT_S if settings.kafka.instance_id else SESSION_TIMEOUT_S,
        broker_heartbeat_interval=SHADOW_HEARTBEAT_S if shadow else HEARTBEAT_S,
        broker_rebalance_timeout=10.0,
        broker_max_poll_interval=PATIENCE_S.get(role, 1_000.0),
        broker_request_timeout=15.0,
        broker_commit_interval=settings.delivery.commit_interval_ms / 1000,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=METADATA_AGE_MS,
        stream_buffer_maxsize=16,  # blocks
        stream_wait_empty=True,
        topic_allow_declare=False,  # `penstock topics create` makes them
        topic_disable_leader=True,
        web_enabled=False,
        store="memory://",
        datadir=Path(tempfile.gettempdir()) / f"penstock-{settings.pipeline.name}-{role}",
    )
    install: Callable[[BlockApp, Settings], None] = import_module(f"penstock.streams.{role}").install
    install(app, settings)
    return app
