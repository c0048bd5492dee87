"""Memory that is freed after one record stays for the next: to ask the kernel for it again costs page by page."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as <malloc.h> numbers them
KEPT_BYTES = 64 << 20
"""Free at the end of an arena at most. glibc's own limit grows with the largest block that was freed, up to the same;
a candidate frees several of its largest at a time, which is over it.
"""
APART_BYTES = 32 << 20
"""Blocks as large as this are given back at once."""


def keep_freed_memory() -> None:
    """Of this process, where its C library is glibc; elsewhere nothing changes."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another library; on Windows there is none without a name
        return
    mallopt(_MMAP_THRESHOLD, APART_BYTES)
    mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
