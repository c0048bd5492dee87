"""The control plane: what serves, who may change it and how, and the trail of what was decided.

changes, targeting  what can be done to the routing state: pure functions
plane               reads and writes the control record
follower            a running worker's view of it
trail               reads the decisions
signatures          who may write, where keys are configured
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.schemas.control import Control
from penstock.schemas.records import ModelRef
from penstock.streams.control.changes import Change as Change
from penstock.streams.control.changes import champion as champion
from penstock.streams.control.follower import ControlFollower as ControlFollower
from penstock.streams.control.plane import Contended as Contended
from penstock.streams.control.plane import ControlPlane as ControlPlane
from penstock.streams.control.plane import default_author as default_author

if TYPE_CHECKING:
    from penstock.streams.settings import Settings


async def read_control(settings: Settings) -> Control | None:
    """What serves now; see ControlPlane.read."""
    return await ControlPlane.of(settings).read()


async def change_control(
    settings: Settings,
    change: Change,
    *,
    command: str,
    author: str | None = None,
    reason: str,
    expected_revision: int | None = None,
) -> Control:
    """Change what serves; see ControlPlane.change."""
    return await ControlPlane.of(settings).change(
        change, command=command, author=author, reason=reason, expected_revision=expected_revision
    )


async def use_champion(
    settings: Settings, model: ModelRef, *, author: str | None = None, reason: str, expected_revision: int | None = None
) -> Control:
    """Let `model` answer from now on. Nothing is written where it answers already."""
    return await change_control(
        settings,
        champion(settings.pipeline.name, model),
        command=f"use {model}",
        author=author,
        reason=reason,
        expected_revision=expected_revision,
    )
