"""What the figures of a soak say about what was promised: pure arithmetic."""

from __future__ import annotations

from typing import Any

ROLES = ("score", "watch", "judge", "shadow")
GROWTH = 1.05
"""Memory at the end may be so many times what it was when the role had settled."""

Figures = dict[str, Any]


def broken(figures: Figures) -> list[str]:
    """What was promised and is not so.

    >>> broken({"mode": "exactly_once", "lost": 0, "doubled": 2})
    ['2 events doubled, exactly once']
    >>> broken({"mode": "at_least_once", "lost": 0, "doubled": 2})
    []
    """
    found = [f"{figures['lost']:,} events lost"] if figures["lost"] else []
    if figures["doubled"] and figures["mode"] == "exactly_once":
        found.append(f"{figures['doubled']:,} events doubled, exactly once")
    return found


def grown(figures: Figures) -> list[str]:
    """The roles whose memory grew beyond `GROWTH`.

    >>> grown({"memory": {"score": {"ratio": 1.06}, "watch": {"ratio": 1.0}, "broker": {"ratio": 2.0}}})
    ['score']
    """
    return [name for name, of in figures["memory"].items() if name in ROLES and of["ratio"] > GROWTH]
