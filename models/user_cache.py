"""Where Penstock keeps what it can find out or fetch again, for this user on this host."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """`penstock` under the user's cache directory (`$XDG_CACHE_HOME`, or `~/.cache`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penstock"
