"""The only wiring: a role and its settings become a Faust app."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from penstock.schemas.errors import ConfigurationError
from penstock.streams.kafka import client_options, faust_options
from penstock.streams.score import install as install_score
from penstock.streams.settings import Settings
from penstock.streams.transport import BlockApp, BlockOptions

SESSION_TIMEOUT_S = 6.0
"""A worker that died without a word is missed after this: the least that brokers allow by default."""

HEARTBEAT_S = 0.4
"""How soon the others notice that somebody joins or leaves: heartbeats carry the news."""

ROLES: dict[str, Callable[[BlockApp, Settings], None]] = {"score": install_score}
"""What each role adds to its app."""


def create_app(role: str, settings: Settings) -> BlockApp:
    """The Faust app of a role, ready to be run by `penstock.streams.worker`. Its id is the consumer group.

    Raises ConfigurationError for an unknown role.
    """
    if role not in ROLES:
        raise ConfigurationError("penstock worker", "ROLE", found=repr(role), expected=" or ".join(ROLES))
    app = BlockApp(
        f"{settings.pipeline.name}.{role}",
        blocks=BlockOptions(
            kafka=client_options(settings.kafka),
            max_rows=settings.window.max_rows,
            max_bytes=settings.window.max_bytes,
            exactly_once=settings.delivery.mode == "exactly_once",
        ),
        **faust_options(settings.kafka),
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_rebalance_timeout=10.0,
        broker_request_timeout=15.0,
        broker_commit_interval=settings.delivery.commit_interval_ms / 1000,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=16,  # blocks
        stream_wait_empty=True,
        topic_allow_declare=False,  # `penstock topics create` makes them
        topic_disable_leader=True,
        web_enabled=False,
        store="memory://",
        datadir=Path(tempfile.gettempdir()) / f"penstock-{settings.pipeline.name}-{role}",
    )
    ROLES[role](app, settings)
    return app
