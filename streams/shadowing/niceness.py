"""Stepping back for those who serve, where they share a machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICENESS = 10


def step_back() -> None:
    """This process computes when others leave the time for it.

    Linux groups processes by session, and niceness counts within each group only; the group's own niceness is lowered
    where this process leads its session. Elsewhere the group is a terminal's or a script's, and its other processes
    are not to be slowed.
    """
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # no Linux, or one without such groups
            Path("/proc/self/autogroup").write_text(str(NICENESS))
